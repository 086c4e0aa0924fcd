package dumps

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/internal/parallel"
)

// States holds the factors of one layer, after the rotation. Fields that were not
// recorded are nil. R is the number of recorded prompt rows; P and G are the numbers
// of tokens of prompt and reply.
type States struct {
	Queries  []float32 // of the recorded prompt rows, [R, heads of the layer, dim]
	Replies  []float32 // of the reply's rows, [G, heads of the layer, dim]
	LSE      []float32 // log-sum-exps of the scores of Queries, [heads of the layer, R]
	ReplyLSE []float32 // log-sum-exps of the scores of Replies, [heads of the layer, G]
	Keys     []float32 // of the cache that the layer reads, [P+G, kvHeads, dim]
	Values   []float32 // of the same cache, [P+G, kvHeads, valueDim]
}

// States reads the factors of a layer. For a prompt in the rows form the error is
// [ErrAbsent].
func (r *Reader) States(prompt, layer int) (*States, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	if p.Store != StoreFactors {
		return nil, fmt.Errorf("%s: queries and keys: %w (capture with --store factors)", r.path, ErrAbsent)
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, err
	}
	s := &States{}
	m := &r.header.Model
	n := p.PromptTokens + p.ReplyTokens
	for _, part := range []struct {
		dst *[]float32
		of  stackShape
	}{
		{&s.Queries, stackOf(m, layer, kindQueries, Prefill, p.WindowRows)},
		{&s.Replies, stackOf(m, layer, kindQueries, Decode, p.ReplyTokens)},
		{&s.LSE, stackOf(m, layer, kindLSE, Prefill, p.WindowRows)},
		{&s.ReplyLSE, stackOf(m, layer, kindLSE, Decode, p.ReplyTokens)},
		{&s.Keys, stackOf(m, layer, kindKeys, Prefill, n)},
	} {
		if *part.dst, err = r.stack(prompt, part.of); err != nil {
			return nil, err
		}
	}
	s.Values, err = r.Values(prompt, layer)
	return s, err
}

// Values returns the values of all positions, [P+G, kvHeads, valueDim], or nil if they
// were not recorded. In the factors form, those of a latent cache are parts of its keys.
func (r *Reader) Values(prompt, layer int) ([]float32, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, err
	}
	m := &r.header.Model
	n := p.PromptTokens + p.ReplyTokens
	s := m.Layer(layer)
	if !s.Latent || p.Store != StoreFactors {
		return r.stack(prompt, stackOf(m, layer, kindValues, Prefill, n))
	}
	if !r.header.Plan.Values {
		return nil, nil
	}
	keys, err := r.stack(prompt, stackOf(m, layer, kindKeys, Prefill, n))
	if err != nil {
		return nil, err
	}
	return s.values(keys), nil
}

// values cuts the values of a latent cache out of its keys, [n, key dim].
func (s *LayerShape) values(keys []float32) []float32 {
	n := len(keys) / s.KeyDim
	out := make([]float32, 0, n*s.ValueDim)
	for i := range n {
		out = append(out, keys[i*s.KeyDim:][:s.ValueDim]...)
	}
	return out
}

// stackShape describes blocks that together form one array, [rows, heads, width]; the
// arrays of log-sum-exps and of sinks are [heads, rows].
type stackShape struct {
	layer int
	kind  kind
	phase Phase

	rows, heads, width int
}

// stackOf returns the shape of the queries, log-sum-exps, keys or values of a layer. Keys
// and values are stored with the layer whose cache it reads.
func stackOf(m *ModelInfo, layer int, k kind, ph Phase, rows int) stackShape {
	of := m.Layer(layer)
	s := stackShape{layer: layer, kind: k, phase: ph, rows: rows}
	switch k {
	case kindQueries:
		s.heads, s.width = of.Heads, of.KeyDim
	case kindLSE:
		s.heads, s.width = of.Heads, 1
	case kindKeys:
		s.layer = of.CacheOf
		s.heads, s.width = of.KVHeads, of.KeyDim
	case kindValues:
		s.layer = of.CacheOf
		s.heads, s.width = of.KVHeads, of.ValueDim
	}
	return s
}

// stack joins blocks into one array. It returns nil if there are none and none are
// required.
func (r *Reader) stack(prompt int, s stackShape) ([]float32, error) {
	list, err := r.blocksOf(prompt, s)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	out, err := r.allocate(s.kind.String(), s.rows, s.heads, s.width)
	if err != nil {
		return nil, err
	}
	return out, r.eachBlock(list, s, func(rec *record, x []float32) {
		row0, n := int(rec.Row0), int(rec.Rows)
		if s.kind != kindLSE && s.kind != kindSinks {
			copy(out[row0*s.heads*s.width:], x)
			return
		}
		for h := range s.heads {
			copy(out[h*s.rows+row0:], x[h*n:(h+1)*n])
		}
	})
}

// blocksOf lists the blocks of a stack and checks that they hold its rows. Values,
// and stacks of no rows, may have no blocks.
func (r *Reader) blocksOf(prompt int, s stackShape) ([]record, error) {
	list := r.find(prompt, s.layer, s.kind, s.phase)
	if len(list) == 0 && (s.kind == kindValues || s.rows == 0) {
		return nil, nil
	}
	return list, r.checkRows(prompt, s.layer, s.kind, list, s.rows)
}

// eachBlock decodes blocks of a stack on all cores and calls f with their values,
// which are valid until f returns.
func (r *Reader) eachBlock(list []record, s stackShape, f func(rec *record, x []float32)) error {
	return parallel.Try(context.Background(), len(list), func(i int) error {
		rec := &list[i]
		if int(rec.NH) != s.heads || int(rec.Keys) != s.width || int(rec.Row0)+int(rec.Rows) > s.rows {
			return r.misfit(rec)
		}
		if rec.Rows == 0 {
			return nil
		}
		b := buffers.Get().(*buffer)
		defer buffers.Put(b)
		x, err := r.decode(rec, b)
		if err == nil {
			f(rec, x)
		}
		return err
	})
}
