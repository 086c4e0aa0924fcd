package model

import (
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// layerEmbeddings holds the weights that make the separate input of each layer (Gemma 3n
// and 4): a small embedding of the token, and a projection of its ordinary embedding.
type layerEmbeddings struct {
	table      tensor.Tensor // [LayerVocab, Layers*LayerInput]; its rows are read from the file
	projection *cpu.Matrix   // [Layers*LayerInput, Hidden]
	norm       []float32     // of the projection, by layer: [LayerInput]
}

// layerInput holds the weights through which a layer's own input is added to its output.
type layerInput struct {
	gate *cpu.Matrix // [LayerInput, Hidden]
	out  *cpu.Matrix // [Hidden, LayerInput]
	norm []float32
}

// layerEmbeddings reads the weights that all layers' inputs are made with.
func (l *loader) layerEmbeddings() (*layerEmbeddings, error) {
	c := l.c
	if c.LayerInput == 0 {
		return nil, nil
	}
	width := c.Layers * c.LayerInput
	var e layerEmbeddings
	var err error
	if e.table, err = l.tensor("own_embed", -1, ".weight", c.LayerVocab, width); err != nil {
		return nil, err
	}
	if e.projection, err = l.matrices(-1, c.Hidden, part{"own_projection", width}); err != nil {
		return nil, err
	}
	e.norm, err = l.vector("own_projection_norm", -1, ".weight", c.LayerInput, 0)
	return &e, err
}

// layerInput reads the weights of a layer's own input.
func (l *loader) layerInput(at int) (*layerInput, error) {
	c := l.c
	if c.LayerInput == 0 {
		return nil, nil
	}
	var w layerInput
	var err error
	if w.gate, err = l.matrices(at, c.Hidden, part{"own_gate", c.LayerInput}); err != nil {
		return nil, err
	}
	if w.out, err = l.matrices(at, c.LayerInput, part{"own_out", c.Hidden}); err != nil {
		return nil, err
	}
	w.norm, err = l.vector("own_norm", at, ".weight", c.Hidden, 0)
	return &w, err
}

// layerInputs computes the own inputs of all layers for the tokens of a chunk, whose
// embeddings are in in.x, and leaves them in in.own.
func (s *cpuSequence) layerInputs(tokens []int32, in *chunk) error {
	c := s.config
	size := c.LayerInput
	if size == 0 {
		return nil
	}
	width := c.Layers * size
	in.own = in.room(&s.buf.own, in.n*width)
	own := in.own
	s.multiply(s.own.projection, cpu.Dense(own, in.n, width), cpu.Dense(in.x, in.n, c.Hidden), false)
	toHidden := float32(1 / math.Sqrt(float64(c.Hidden)))
	embedScale := float32(math.Sqrt(float64(size)))
	embed := make([]float32, width)
	for i, id := range tokens {
		if int(id) >= c.LayerVocab { // as in transformers
			id = 0
		}
		if err := s.own.table.Row(embed, int(id)); err != nil {
			return err
		}
		for at := 0; at < width; at += size {
			x := own[i*width+at : i*width+at+size]
			for j := range x {
				x[j] *= toHidden
			}
			cpu.RMSNorm(x, x, s.own.norm, c.NormEps)
			for j, v := range embed[at : at+size] {
				x[j] = (x[j] + float32(v*embedScale)) * float32(math.Sqrt2/2)
			}
		}
	}
	return nil
}

// ownInput returns what a layer's own input adds to the states x of the rows of a chunk
// from row from on, [n, hidden].
func (s *cpuSequence) ownInput(l int, in *chunk, from int, x []float32) []float32 {
	c := s.config
	n := in.n - from
	w := s.layers[l].own
	size := c.LayerInput
	gate := grow(&s.buf.gateUp, n*size)
	act := grow(&s.buf.act, n*size)
	y := grow(&s.buf.mixed, n*c.Hidden)
	s.multiply(w.gate, cpu.Dense(gate, n, size), cpu.Dense(x, n, c.Hidden), false)
	s.rows(n, func(i int, scratch *cpu.Scratch) {
		own := in.own[((from+i)*c.Layers+l)*size:][:size]
		cpu.Activate(c.Activation, act[i*size:(i+1)*size], gate[i*size:(i+1)*size], own, scratch)
	})
	s.multiply(w.out, cpu.Dense(y, n, c.Hidden), cpu.Dense(act, n, size), false)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := y[i*c.Hidden : (i+1)*c.Hidden]
		cpu.RMSNorm(row, row, w.norm, c.NormEps)
	})
	return y
}
