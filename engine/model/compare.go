package model

import (
	"cmp"
	"context"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
)

// ComputeError measures how far the results of a rounded arithmetic are from exact
// ones, at the last token of a sequence.
type ComputeError struct {
	Tokens  int
	Logits  float64 // largest difference, relative to the largest logit
	Weights float64 // largest difference of an attention weight
	Rows    float64 // mean over layers and heads of the sum of differences in a row of weights, 0 to 2
}

// CompareExact runs tokens in the model's arithmetic and with exact weights, which it
// reads from the checkpoint. It is slow; a few hundred tokens are enough. The model must
// be on the processor.
func (m *Model) CompareExact(ctx context.Context, tokens []int32) (ComputeError, error) {
	rounded, err := m.observe(ctx, tokens)
	if err != nil {
		return ComputeError{}, err
	}
	if err := m.exact(true); err != nil {
		return ComputeError{}, err
	}
	exact, err := m.observe(ctx, tokens)
	if err := cmp.Or(m.exact(false), err); err != nil {
		return ComputeError{}, err
	}
	return exact.far(rounded), nil
}

// CompareWith runs tokens in the model's arithmetic and then in that of another model
// with the same weights, which load opens and CompareWith closes.
func (m *Model) CompareWith(ctx context.Context, load func() (*Model, error), tokens []int32) (ComputeError, error) {
	got, err := m.observe(ctx, tokens)
	if err != nil {
		return ComputeError{}, err
	}
	exact, err := load()
	if err != nil {
		return ComputeError{}, err
	}
	defer exact.Close()
	want, err := exact.observe(ctx, tokens)
	if err != nil {
		return ComputeError{}, err
	}
	return want.far(got), nil
}

// far returns the differences between a rounded arithmetic and an exact one.
func (exact *observation) far(rounded *observation) ComputeError {
	e := ComputeError{Tokens: exact.last + 1}
	largest := 0.0
	for i, v := range exact.logits {
		largest = max(largest, math.Abs(float64(v)))
		e.Logits = max(e.Logits, math.Abs(float64(v-rounded.logits[i])))
	}
	e.Logits /= largest
	total := 0.0
	rows := 0
	for at, row := range exact.rows {
		for j, v := range row {
			d := math.Abs(float64(v - rounded.rows[at][j]))
			e.Weights = max(e.Weights, d)
			total += d
		}
		rows++
	}
	e.Rows = total / float64(max(1, rows))
	return e
}

// exact switches between the model's arithmetic and the exact weights. It returns the
// error of an exact weight that could not be read.
func (m *Model) exact(on bool) error {
	var failed error
	for i := range m.weights.layers {
		for _, w := range m.weights.layers[i].matrices() {
			failed = cmp.Or(failed, w.Exact(on))
		}
	}
	return failed
}

// observation holds the logits of a sequence's last token and its attention weights in
// each layer and head.
type observation struct {
	last   int
	logits []float32
	rows   [][]float32 // layer*heads + head
	heads  int
}

func (m *Model) observe(ctx context.Context, tokens []int32) (*observation, error) {
	c := &m.config
	o := &observation{last: len(tokens) - 1, logits: make([]float32, c.Vocab), rows: make([][]float32, c.Layers*c.Heads), heads: c.Heads}
	for i := range o.rows {
		o.rows[i] = make([]float32, len(tokens))
	}
	s := m.NewSession()
	defer s.Close()
	err := s.Forward(ctx, tokens, Pass{LogitsFrom: o.last, Logits: func(_ int, l []float32) { copy(o.logits, l) }, Recorder: &Recorder{Tile: o.tile}, RecordFrom: o.last})
	return o, err
}

// tile keeps the weights of the last token.
func (o *observation) tile(layer int, t *cpu.Tile) {
	for i := range t.Rows {
		if t.Pos0+i == o.last {
			copy(o.rows[layer*o.heads+t.Head][t.Key0:], t.Weights[i*t.Stride:][:t.Keys])
		}
	}
}
