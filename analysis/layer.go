package analysis

import (
	"errors"
	"fmt"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// Layer is one recorded layer of a prompt: what methods look at, and the rows
// of the reply that judge them.
type Layer struct {
	snapkv.Layer
	Reply *dumps.Attention // [heads, G, P+G]
}

// ReadLayer reads a layer, a true id, of a prompt. States are read where they
// are recorded.
func ReadLayer(r *dumps.Reader, prompt, layer int) (*Layer, error) {
	h, p := r.Header(), &r.Prompts()[prompt]
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all", r.Path(), len(h.Plan.Heads), h.Model.Heads)
	}
	rows, err := r.Weights(prompt, layer, dumps.Prefill)
	if err != nil {
		return nil, err
	}
	reply, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return nil, err
	}
	l := &Layer{Reply: reply, Layer: snapkv.Layer{
		Index: layer, Layers: h.Model.Layers, Heads: h.Model.Heads, KVHeads: h.Model.KVHeads, Len: p.PromptTokens,
		N: rows.Rows, Rows: rows.Data, Dim: h.Model.HeadDim, ValueDim: h.Model.ValueDim,
	}}
	if l.Sums, err = r.Sums(prompt, layer); err != nil && !errors.Is(err, dumps.ErrAbsent) {
		return nil, err
	}
	if p.Store == dumps.StoreFactors {
		s, err := r.States(prompt, layer)
		if err != nil {
			return nil, err
		}
		l.Keys, l.Values, l.Queries = s.Keys, s.Values, s.Queries
	} else if l.Values, err = r.Values(prompt, layer); err != nil {
		return nil, err
	}
	l.Generated = make([]float64, l.Heads*l.Len)
	for head := range l.Heads {
		w, sum := reply.Head(head), l.Generated[head*l.Len:(head+1)*l.Len]
		for i := range reply.Rows {
			for j, v := range w[i*reply.Keys:][:l.Len] {
				sum[j] += float64(v)
			}
		}
	}
	return l, nil
}
