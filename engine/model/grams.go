package model

import (
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
)

// OutputGrams returns W_Oᵀ·W_O for every head's slice W_O of the output projection,
// [layer][head][value dim * value dim]; nil for layers without attention. With it,
// |W_O·x| is computed as √(xᵀ·W_Oᵀ·W_O·x), without a vector of the model's width.
func (m *Model) OutputGrams() ([][][]float64, error) {
	c := m.Config()
	out := make([][][]float64, c.Layers)
	for _, layer := range c.AttentionLayers() {
		w, err := m.OutputProjection(layer) // [hidden, heads * value dim]
		if err != nil {
			return nil, err
		}
		shape := &c.Shapes[layer]
		out[layer] = make([][]float64, shape.Heads)
		parallel.For(shape.Heads, func(head int) {
			out[layer][head] = outputGram(w, c.Hidden, shape, head)
		})
	}
	return out, nil
}

// outputGram is W_Oᵀ·W_O for one head's slice of w, [hidden, heads * value dim].
func outputGram(w []float32, hidden int, shape *LayerShape, head int) []float64 {
	dim := shape.ValueDim
	width := shape.outputWidth()
	columns := make([]float32, dim*hidden) // the slice, transposed
	for o := range hidden {
		for d := range dim {
			columns[d*hidden+o] = w[o*width+head*dim+d]
		}
	}
	column := func(d int) []float32 { return columns[d*hidden : (d+1)*hidden] }
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
