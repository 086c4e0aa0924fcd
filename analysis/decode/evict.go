package decode

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// eviction keeps a cache within its budget while a reply is decoded: after every so many
// tokens, the method selects again among all slots of the cache, those of the prompt and
// those of the reply alike. What it reads are the weights, queries, keys and values that
// the compressed cache really has.
type eviction struct {
	record  *record // of the prompt
	entry   snapkv.Entry
	every   int   // tokens between two selections
	targets []int // [layer], slots per store that a selection leaves, the window included
	start   evicted
	evicted
}

// evicted is the state of an eviction.
type evicted struct {
	since   int             // tokens since the last selection
	queries [][]float32     // [layer][row, heads*dim], rotated; the last rows are the last queries
	sums    []*capture.Sums // [layer], by slot: weights over all queries so far; nil: the method does not read them
}

// newEviction returns the eviction of an entry from a cache of the record's prompt, which
// holds the chosen slots.
func newEviction(r *record, e snapkv.Entry, every int, chosen selection) *eviction {
	v := &eviction{record: r, entry: e, every: every, targets: chosen.targets}
	v.start.queries = make([][]float32, r.config.Layers)
	if e.Method.Needs.Sums {
		v.start.sums = make([]*capture.Sums, r.config.Layers)
	}
	rows := min(r.rows, e.Config.Window)
	for _, l := range r.config.AttentionLayers() {
		q := r.queries[l]
		v.start.queries[l] = q[len(q)/r.rows*(r.rows-rows):]
		if v.start.sums != nil {
			v.start.sums[l] = r.sums[l].Pick(chosen.keep[r.config.Shapes[l].CacheOf])
		}
	}
	v.rewind()
	return v
}

// rewind returns to the end of the prompt.
func (v *eviction) rewind() {
	v.evicted = evicted{queries: slices.Clone(v.start.queries), sums: slices.Clone(v.start.sums)}
	for l, q := range v.queries {
		v.queries[l] = slices.Clip(q) // rows are appended to a copy
	}
	for l, sums := range v.sums {
		if sums != nil {
			v.sums[l] = sums.Clone()
		}
	}
}

// left returns the number of tokens until the next selection.
func (v *eviction) left() int { return v.every - v.since }

// recorder returns a recorder of a pass over n tokens of the reply.
func (v *eviction) recorder(n int) *model.Recorder {
	rec := &model.Recorder{States: func(layer, _, _ int, q, _, _ []float32) {
		v.queries[layer] = append(v.queries[layer], q...)
	}}
	if v.sums == nil {
		return rec
	}
	for _, sums := range v.sums {
		if sums != nil {
			sums.Grow(n)
		}
	}
	rec.Tile = func(layer int, t *cpu.Tile) {
		part := make([]float32, t.Keys)
		simd.SumRows(part, t.Weights, t.Stride, t.Rows)
		v.sums[layer].Add(t.Head, t.Key0, part)
	}
	return rec
}

// appended follows a pass over n tokens of the reply, and returns the cache that is left
// of s, if a selection is due, or s.
func (v *eviction) appended(s *model.Session, n int) (*model.Session, error) {
	v.since += n
	if v.since < v.every {
		return s, nil
	}
	v.since = 0
	for l, q := range v.queries {
		shape := &v.record.config.Shapes[l]
		v.queries[l] = slices.Clone(q[max(0, len(q)-v.entry.Config.Window*shape.Heads*shape.KeyDim):])
	}
	over := false
	for _, l := range v.record.about.Caches() {
		slots, err := s.Slots(l)
		if err != nil {
			return nil, err
		}
		over = over || slots[0] > v.targets[l]
	}
	if !over {
		return s, nil
	}
	out, err := s.Compress(func(layer int) ([][]int32, error) { return v.choose(s, layer) })
	if err != nil {
		return nil, err
	}
	s.Close()
	return out, nil
}

// choose returns the slots that are left of a layer, [head or kv head].
func (v *eviction) choose(s *model.Session, id int) ([][]int32, error) {
	stores, err := s.Stores(id)
	if err != nil {
		return nil, err
	}
	slots := len(stores[0].Positions)
	readers := v.record.about.Readers(id)
	list := make([]*snapkv.Layer, len(readers))
	for i, reader := range readers {
		list[i] = v.layer(stores, reader, s.Len())
	}
	keep := make([][]int32, len(stores))
	if slots <= v.targets[id] {
		for h := range keep {
			keep[h] = ascending(0, slots)
		}
	} else {
		l := list[0]
		if len(list) > 1 {
			l = snapkv.JoinReaders(list)
		}
		if keep, err = v.entry.Method.SelectAgain(l, v.entry.Config, v.targets[id]); err != nil {
			return nil, fmt.Errorf("layer %d: %w", id, err)
		}
	}
	for _, reader := range readers {
		if v.sums != nil {
			v.sums[reader] = v.sums[reader].Pick(keep)
		}
	}
	return keep, nil
}

// ascending returns the numbers from lo to hi-1.
func ascending(lo, hi int) []int32 {
	list := make([]int32, hi-lo)
	for i := range list {
		list[i] = int32(lo + i)
	}
	return list
}

// layer returns a layer of a cache of which length tokens were seen as the input of
// methods. Its positions are the slots of the stores, which all have the same number.
func (v *eviction) layer(stores []model.Store, id, length int) *snapkv.Layer {
	r := v.record
	l := r.empty(id, len(stores[0].Positions))
	l.KVHeads = len(stores)
	l.N = v.entry.Config.Window
	q := v.queries[id]
	l.Queries = q[len(q)-l.N*l.Heads*l.Dim:]
	l.Keys = make([]float32, l.Len*l.KVHeads*l.Dim)
	l.Values = make([]float32, l.Len*l.KVHeads*l.ValueDim)
	for h, s := range stores {
		for slot := range l.Len {
			copy(l.Keys[(slot*l.KVHeads+h)*l.Dim:][:l.Dim], s.Keys[slot*l.Dim:])
			copy(l.Values[(slot*l.KVHeads+h)*l.ValueDim:][:l.ValueDim], s.Values[slot*l.ValueDim:])
		}
	}
	if v.sums != nil {
		l.Sums = v.sums[id].Floats(l.Len)
	}
	r.weigh(l, id, length, func(kv int) []int32 { return stores[kv].Positions })
	return l
}
