package model

import (
	"context"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
)

// ComputeError is what a narrow arithmetic changes, seen on some tokens.
type ComputeError struct {
	Tokens  int
	Logits  float64 // largest difference, of the largest logit's size
	Weights float64 // largest difference of an attention weight
	Rows    float64 // mean over rows of the differences' sum: 2 if nothing agrees
}

// CompareExact runs tokens in the model's arithmetic and with the weights as they
// lie in the checkpoint, which must still be open. It is slow: a few hundred
// tokens are enough.
func (m *Model) CompareExact(ctx context.Context, tokens []int32) (ComputeError, error) {
	narrow, err := m.observe(ctx, tokens)
	if err != nil {
		return ComputeError{}, err
	}
	m.exact(true)
	defer m.exact(false)
	exact, err := m.observe(ctx, tokens)
	if err != nil {
		return ComputeError{}, err
	}
	return exact.far(narrow), nil
}

// CompareWith runs tokens in the model's arithmetic and then in that of another,
// which has the same weights: load opens it, and it is closed again.
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

// far tells how far a narrow arithmetic is from an exact one.
func (exact *observation) far(narrow *observation) ComputeError {
	e := ComputeError{Tokens: exact.last + 1}
	largest := 0.0
	for i, v := range exact.logits {
		largest = max(largest, math.Abs(float64(v)))
		e.Logits = max(e.Logits, math.Abs(float64(v-narrow.logits[i])))
	}
	e.Logits /= largest
	total, rows := 0.0, 0
	for at, row := range exact.rows {
		for j, v := range row {
			d := math.Abs(float64(v - narrow.rows[at][j]))
			e.Weights = max(e.Weights, d)
			total += d
		}
		rows++
	}
	e.Rows = total / float64(max(1, rows))
	return e
}

// exact switches between the model's arithmetic and the exact weights.
func (m *Model) exact(on bool) {
	for i := range m.weights.layers {
		for _, w := range m.weights.layers[i].matrices() {
			w.Exact(on)
		}
	}
}

// observation is what a run over some tokens showed: the logits of the last, and
// its row of each layer and head.
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
