package analysis

import (
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
)

// Grams are W_Oᵀ·W_O of every head's slice of the output projection,
// [layer][head][value dim * value dim]: with them |W_O·x| needs no vector of the
// model's width.
func Grams(m *model.Model) ([][][]float64, error) {
	c := m.Config()
	out := make([][][]float64, c.Layers)
	for l := range out {
		w, err := m.OutputProjection(l) // [hidden, heads*vd]
		if err != nil {
			return nil, err
		}
		out[l] = make([][]float64, c.Heads)
		width, vd := c.Heads*c.ValueDim, c.ValueDim
		parallel.For(c.Heads, func(h int) {
			columns := make([]float32, vd*c.Hidden) // the slice, transposed
			for o := range c.Hidden {
				for d := range vd {
					columns[d*c.Hidden+o] = w[o*width+h*vd+d]
				}
			}
			gram := make([]float64, vd*vd)
			for i := range vd {
				for k := range i + 1 {
					dot := float64(simd.Dot(columns[i*c.Hidden:(i+1)*c.Hidden], columns[k*c.Hidden:(k+1)*c.Hidden]))
					gram[i*vd+k], gram[k*vd+i] = dot, dot
				}
			}
			out[l][h] = gram
		})
	}
	return out, nil
}
