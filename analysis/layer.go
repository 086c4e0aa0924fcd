package analysis

import (
	"errors"
	"fmt"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// Layer is a recorded layer of a prompt: the input of selection methods, and the rows
// of the reply by which their selections are measured.
type Layer struct {
	snapkv.Layer
	Reply *dumps.Attention // [head, row, position of prompt and reply]
}

// ReadLayer reads a layer of a prompt, given by its index in the dump and the id of
// the layer in the model. Sums, queries, keys and values are nil if they were not
// recorded. It returns an error if not all heads were recorded.
func ReadLayer(r *dumps.Reader, prompt, layer int) (*Layer, error) {
	h := r.Header()
	p := &r.Prompts()[prompt]
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all",
			r.Path(), len(h.Plan.Heads), h.Model.Heads)
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
		l.Keys = s.Keys
		l.Values = s.Values
		l.Queries = s.Queries
	} else if l.Values, err = r.Values(prompt, layer); err != nil {
		return nil, err
	}
	l.sumReply()
	return l, nil
}

// sumReply sums the rows of the reply over the positions of the prompt.
func (l *Layer) sumReply() {
	l.Generated = make([]float64, l.Heads*l.Len)
	for head := range l.Heads {
		weights := l.Reply.Head(head)
		sum := l.Generated[head*l.Len : (head+1)*l.Len]
		for i := range l.Reply.Rows {
			for j, v := range weights[i*l.Reply.Keys:][:l.Len] {
				sum[j] += float64(v)
			}
		}
	}
}
