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
// the layer in the model, with all rows of the prompt that were recorded. Sums,
// queries, keys and values are nil if they were not recorded. It returns an error if
// not all heads were recorded.
func ReadLayer(r *dumps.Reader, prompt, layer int) (*Layer, error) {
	return readLayer(r, prompt, layer, r.Prompts()[prompt].WindowRows)
}

// readLayer is [ReadLayer] with the last n rows of the prompt; n is at most the number
// of rows that were recorded.
func readLayer(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	l, source, err := openLayer(r, prompt, layer, n)
	if err != nil {
		return nil, err
	}
	defer source.Release()
	if l.Reply, err = source.Weights(dumps.Decode, 0, r.Prompts()[prompt].ReplyTokens); err != nil {
		return nil, err
	}
	l.sumReply()
	if l.Sums, err = r.Sums(prompt, layer); err != nil && !errors.Is(err, dumps.ErrAbsent) {
		return nil, err
	}
	if queries, keys := source.States(); keys != nil {
		l.Keys = keys
		l.Queries = queries[len(queries)-n*l.Heads*l.Dim:]
	}
	l.Values, err = r.Values(prompt, layer)
	return l, err
}

// readRows reads the shape of a layer and the weights of the last n rows of the prompt.
func readRows(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	l, source, err := openLayer(r, prompt, layer, n)
	if err != nil {
		return nil, err
	}
	source.Release()
	return l, nil
}

// openLayer is readRows, and returns the reader of the layer as well.
func openLayer(r *dumps.Reader, prompt, layer, n int) (*Layer, *dumps.LayerReader, error) {
	h := r.Header()
	p := &r.Prompts()[prompt]
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all",
			r.Path(), len(h.Plan.Heads), h.Model.Heads)
	}
	source, err := r.LayerOf(prompt, layer)
	if err != nil {
		return nil, nil, err
	}
	rows, err := source.Weights(dumps.Prefill, p.WindowRows-n, n)
	if err != nil {
		source.Release()
		return nil, nil, err
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
		Rows:     rows.Data,
	}}
	return l, source, nil
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
