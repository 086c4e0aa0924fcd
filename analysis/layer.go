package analysis

import (
	"context"
	"errors"
	"fmt"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// Layer is a recorded layer of a prompt: the input of selection methods, and the rows
// of the reply by which their selections are measured.
type Layer struct {
	snapkv.Layer
	Reply *dumps.Attention // [head, row, position of prompt and reply]
}

// ReadLayer reads a layer of a prompt, given by its index in the dump and the id of
// the layer in the model, with all rows of the prompt that were recorded. Sums,
// queries, keys and values are nil if they were not recorded. It returns an error if
// not all heads were recorded.
func ReadLayer(r *dumps.Reader, prompt, layer int) (*Layer, error) {
	return readLayer(r, prompt, layer, r.Prompts()[prompt].WindowRows)
}

// readLayer is [ReadLayer] with the last n rows of the prompt; n is at most the number
// of rows that were recorded.
func readLayer(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	l, err := readRows(r, prompt, layer, n)
	if err != nil {
		return nil, err
	}
	if l.Reply, err = r.Weights(prompt, layer, dumps.Decode); err != nil {
		return nil, err
	}
	l.sumReply()
	if l.Sums, err = r.Sums(prompt, layer); err != nil && !errors.Is(err, dumps.ErrAbsent) {
		return nil, err
	}
	if r.Prompts()[prompt].Store != dumps.StoreFactors {
		l.Values, err = r.Values(prompt, layer)
		return l, err
	}
	s, err := r.States(prompt, layer)
	if err != nil {
		return nil, err
	}
	l.Keys = s.Keys
	l.Values = s.Values
	l.Queries = s.Queries[len(s.Queries)-n*l.Heads*l.Dim:]
	return l, nil
}

// readRows reads the shape of a layer and the weights of the last n rows of the prompt.
func readRows(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	h := r.Header()
	p := &r.Prompts()[prompt]
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all",
			r.Path(), len(h.Plan.Heads), h.Model.Heads)
	}
	l := &Layer{Layer: snapkv.Layer{
		Index:    layer,
		Layers:   h.Model.Layers,
		Heads:    h.Model.Heads,
		KVHeads:  h.Model.KVHeads,
		Len:      p.PromptTokens,
		N:        n,
		Dim:      h.Model.HeadDim,
		ValueDim: h.Model.ValueDim,
	}}
	if n == p.WindowRows {
		rows, err := r.Weights(prompt, layer, dumps.Prefill)
		if err != nil {
			return nil, err
		}
		l.Rows = rows.Data
		return l, nil
	}
	source, err := r.LayerOf(prompt, layer)
	if err != nil {
		return nil, err
	}
	defer source.Release()
	l.Rows = make([]float32, l.Heads*n*l.Len)
	return l, parallel.Try(context.Background(), l.Heads, func(head int) error {
		return source.Rows(l.Rows[head*n*l.Len:], dumps.Prefill, head, p.WindowRows-n, n)
	})
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
