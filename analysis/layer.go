package analysis

import (
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// Layer is a recorded layer of a prompt: the input of selection methods, and the rows
// of the reply by which their selections are measured. Layers that read one cache are one
// Layer; [snapkv.Layer.Place] says which head of which layer a head is.
type Layer struct {
	snapkv.Layer
	Reply *dumps.Attention // [head, row, position of prompt and reply]
	// ReplySinks has the shares of the sinks in the rows of the reply, [head, row]; nil:
	// the layer has none.
	ReplySinks []float32
}

// ReadLayer reads a layer of a prompt, given by its index in the dump and the id of the
// layer in the model, with all rows of the prompt that were recorded, and with it all
// layers that read the same cache. Sums, queries, keys and values are nil if they were
// not recorded. It returns an error if not all heads, or not all of these layers, were
// recorded.
func ReadLayer(r *dumps.Reader, prompt, layer int) (*Layer, error) {
	return readLayer(r, prompt, layer, r.Prompts()[prompt].WindowRows)
}

// readLayer is [ReadLayer] with the last n rows of the prompt; n is at most the number
// of rows that were recorded.
func readLayer(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	return readGroup(r, layer, func(reader int) (*Layer, error) { return readOne(r, prompt, reader, n) })
}

// readGroup reads, with read, all layers that read the cache of a layer, and joins them.
func readGroup(r *dumps.Reader, layer int, read func(reader int) (*Layer, error)) (*Layer, error) {
	readers, err := readersOf(r, layer)
	if err != nil {
		return nil, err
	}
	if len(readers) == 1 {
		return read(layer)
	}
	var list []*Layer
	for _, reader := range readers {
		l, err := read(reader)
		if err != nil {
			return nil, err
		}
		list = append(list, l)
	}
	return joinLayers(list), nil
}

// readersOf lists the layers that read the cache of a layer. It returns an error if some
// of them were not recorded.
func readersOf(r *dumps.Reader, layer int) ([]int, error) {
	h := r.Header()
	readers := h.Model.Readers(h.Model.Layer(layer).CacheOf)
	for _, reader := range readers {
		if reader != layer && !slices.Contains(h.Plan.Layers, reader) {
			return nil, fmt.Errorf("%s: layer %d shares a cache with layer %d, which was not recorded; a selection pools "+
				"the votes of all layers that read a cache: capture with --layers all", r.Path(), layer, reader)
		}
	}
	return readers, nil
}

// joinLayers joins layers that read one cache.
func joinLayers(list []*Layer) *Layer {
	parts := make([]*snapkv.Layer, len(list))
	for i, l := range list {
		parts[i] = &l.Layer
	}
	all := &Layer{Layer: *snapkv.JoinReaders(parts)}
	first := list[0].Reply
	if first == nil {
		return all
	}
	reply := *first
	reply.Heads = all.Heads
	size := reply.Rows * reply.Keys
	reply.Data = make([]float32, all.Heads*size)
	for i, l := range list {
		for h := range l.Heads {
			copy(reply.Data[all.Joined(i, h)*size:][:size], l.Reply.Head(h))
		}
	}
	all.Reply = &reply
	if list[0].ReplySinks == nil {
		return all
	}
	all.ReplySinks = make([]float32, all.Heads*reply.Rows)
	for i, l := range list {
		for h := range l.Heads {
			copy(all.ReplySinks[all.Joined(i, h)*reply.Rows:][:reply.Rows], l.ReplySinks[h*reply.Rows:])
		}
	}
	return all
}

// cachesOf lists the layers that own the caches of which a dump recorded readers, in
// ascending order.
func cachesOf(h *dumps.Header) []int {
	return slices.DeleteFunc(h.Model.Caches(), func(cache int) bool {
		return !slices.ContainsFunc(h.Model.Readers(cache), func(l int) bool { return slices.Contains(h.Plan.Layers, l) })
	})
}

// readOne reads a single layer.
func readOne(r *dumps.Reader, prompt, layer, n int) (*Layer, error) {
	l, source, err := openLayer(r, prompt, layer, n)
	if err != nil {
		return nil, err
	}
	defer source.Release()
	if l.Reply, err = source.Weights(dumps.Decode, 0, r.Prompts()[prompt].ReplyTokens); err != nil {
		return nil, err
	}
	if l.ReplySinks, err = r.Sinks(prompt, layer, dumps.Decode); err != nil {
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
	return readGroup(r, layer, func(reader int) (*Layer, error) {
		l, source, err := openLayer(r, prompt, reader, n)
		if err == nil {
			source.Release()
		}
		return l, err
	})
}

// openLayer reads the shape of a single layer and the weights of the last n rows of the
// prompt, and returns the reader of the layer.
func openLayer(r *dumps.Reader, prompt, layer, n int) (*Layer, *dumps.LayerReader, error) {
	h := r.Header()
	p := &r.Prompts()[prompt]
	if !h.AllHeads(layer) {
		return nil, nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all",
			r.Path(), len(h.HeadsOf(layer)), h.Model.Layer(layer).Heads)
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
	l := &Layer{Layer: EmptyLayer(&h.Model, layer, p.PromptTokens)}
	l.N = n
	l.Rows = rows.Data
	return l, source, nil
}

// EmptyLayer describes a layer of a model for a prompt of length tokens, without any
// data.
func EmptyLayer(m *dumps.ModelInfo, layer, length int) snapkv.Layer {
	s := m.Layer(layer)
	l := snapkv.Layer{
		Index:    layer,
		Layers:   m.Layers,
		Heads:    s.Heads,
		KVHeads:  s.KVHeads,
		Len:      length,
		Dim:      s.KeyDim,
		ValueDim: s.ValueDim,
		Latent:   s.Latent,
	}
	if len(m.LayerShapes) > 0 { // what version 1 describes is scored as the sources do
		l.Scale = s.Scale
	}
	return l
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
