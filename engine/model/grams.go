package model

import (
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
)

// OutputGrams returns W_Oᵀ·W_O for every head's slice W_O of the output
// projection, [layer][head][value dim * value dim]. With it, |W_O·x| is computed
// as √(xᵀ·W_Oᵀ·W_O·x), without a vector of the model's width.
func (m *Model) OutputGrams() ([][][]float64, error) {
	c := m.Config()
	out := make([][][]float64, c.Layers)
	for layer := range out {
		w, err := m.OutputProjection(layer) // [hidden, heads * value dim]
		if err != nil {
			return nil, err
		}
		out[layer] = make([][]float64, c.Heads)
		parallel.For(c.Heads, func(head int) {
			out[layer][head] = outputGram(w, c, head)
		})
	}
	return out, nil
}

// outputGram is W_Oᵀ·W_O for one head's slice of w, [hidden, heads * value dim].
func outputGram(w []float32, c Config, head int) []float64 {
	dim := c.ValueDim
	width := c.Heads * dim
	columns := make([]float32, dim*c.Hidden) // the slice, transposed
	for o := range c.Hidden {
		for d := range dim {
			columns[d*c.Hidden+o] = w[o*width+head*dim+d]
		}
	}
	column := func(d int) []float32 { return columns[d*c.Hidden : (d+1)*c.Hidden] }
	gram := make([]float64, dim*dim)
	for i := range dim {
		for k := range i + 1 {
			dot := float64(simd.Dot(column(i), column(k)))
			gram[i*dim+k] = dot
			gram[k*dim+i] = dot
		}
	}
	return gram
}
