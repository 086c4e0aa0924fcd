package digest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// HeadRange is the range of query heads [From, From+N): single heads, whole groups
// of a kv head, or all heads of a layer.
type HeadRange struct{ From, N int }

// AllOf returns the range of all heads of a layer.
func AllOf(h *dumps.Header, layer int) HeadRange { return HeadRange{0, h.Model.Layer(layer).Heads} }

// together returns the number of heads of a layer that a method ranks together. of has
// all heads of the layer, or of all layers that read the same cache.
func together(m *snapkv.Method, g snapkv.Group, of *snapkv.Layer) int {
	if len(of.Readers) > 1 {
		return of.Heads
	}
	return m.ScopeWith(g, of.Joint()).Heads(of.Heads, of.KVHeads)
}

// emptyLayer describes some heads of a layer of a prompt, without data. If several layers
// read the same cache, it has the heads of this layer only.
func emptyLayer(h *dumps.Header, p *dumps.Prompt, layer int, heads HeadRange) *snapkv.Layer {
	l := analysis.EmptyLayer(&h.Model, layer, p.PromptTokens)
	l.KVHeads = max(1, heads.N*l.KVHeads/l.Heads)
	l.Heads = heads.N
	l.N = p.WindowRows
	if readers := h.Model.Readers(h.Model.Layer(layer).CacheOf); len(readers) > 1 {
		l.Readers = readers
	}
	return &l
}

// empty is emptyLayer of the rows' layer.
func (r *LayerRows) empty(heads HeadRange) *snapkv.Layer {
	return emptyLayer(r.dump.Header(), r.Prompt, r.layer, heads)
}

// all returns the range of all heads of the layer.
func (r *LayerRows) all() HeadRange { return AllOf(r.dump.Header(), r.layer) }

// Layer reads the parts that needs names for a range of heads, with the last window
// rows. Unlike [analysis.ReadLayer], it reads nothing else. Parts that were not
// recorded stay nil. If other layers read the same cache, the result has all heads of all
// of them.
func (r *LayerRows) Layer(
	ctx context.Context, heads HeadRange, needs snapkv.Needs, window int,
) (*snapkv.Layer, error) {
	readers := r.empty(heads).Readers
	if len(readers) < 2 {
		return r.one(ctx, heads, needs, window)
	}
	plan := &r.dump.Header().Plan
	list := make([]*snapkv.Layer, len(readers))
	for i, layer := range readers {
		if !slices.Contains(plan.Layers, layer) {
			return nil, fmt.Errorf("layer %d, which reads the same cache, was not recorded; a selection pools the votes of "+
				"all layers that read a cache: capture with --layers all", layer)
		}
		rows := r
		if layer != r.layer {
			var err error
			if rows, err = OpenLayer(r.dump, r.index, layer); err != nil {
				return nil, err
			}
			defer rows.Release()
		}
		l, err := rows.one(ctx, rows.all(), needs, window)
		if err != nil {
			return nil, err
		}
		list[i] = l
	}
	return snapkv.JoinReaders(list), nil
}

// one is Layer without the heads of other layers.
func (r *LayerRows) one(
	ctx context.Context, heads HeadRange, needs snapkv.Needs, window int,
) (*snapkv.Layer, error) {
	l := r.empty(heads)
	l.Readers = nil
	if needs.Sums {
		sums, err := r.dump.Sums(r.index, r.layer)
		if err != nil && !errors.Is(err, dumps.ErrAbsent) {
			return nil, err
		}
		if sums != nil {
			l.Sums = sums[heads.From*l.Len : (heads.From+heads.N)*l.Len]
		}
	}
	if needs.Keys || needs.Queries {
		l.Queries, l.Keys = r.reader.States()
	}
	if needs.States() { // some methods use values only if there are any
		var err error
		if l.Values, err = r.dump.Values(r.index, r.layer); err != nil {
			return nil, err
		}
	}
	if needs.Rows {
		if err := r.readWindow(ctx, l, heads, window); err != nil {
			return nil, err
		}
	}
	if needs.Generated {
		if err := r.sumReply(ctx, l, heads); err != nil {
			return nil, err
		}
	}
	return l, nil
}

// windowBytes bounds the memory of the window rows that are read for one selection.
const windowBytes = 144 << 20

// readWindow reads the last n prompt rows of some heads.
func (r *LayerRows) readWindow(ctx context.Context, l *snapkv.Layer, heads HeadRange, n int) error {
	recorded := r.Prompt.WindowRows
	if n > recorded {
		return fmt.Errorf(
			"window %d, but the last %d prompt rows were recorded: capture with --window-rows %d", n, recorded, n)
	}
	if need := 4 * l.Heads * n * l.Len; need > windowBytes {
		return fmt.Errorf(
			"%d heads of %d rows by %d keys take %d MiB, more than the %d MiB that the viewer allows: "+
				"choose a smaller window, or use attnscope snapkv --indices",
			l.Heads, n, l.Len, need>>20, windowBytes>>20)
	}
	l.N = n
	l.Rows = make([]float32, l.Heads*n*l.Len)
	return parallel.Try(ctx, l.Heads, func(h int) error {
		buf := make([]float32, n*r.Keys)
		if err := r.Read(ctx, buf, heads.From+h, recorded-n, n); err != nil {
			return err
		}
		for i := range n {
			copy(l.Rows[(h*n+i)*l.Len:(h*n+i+1)*l.Len], buf[i*r.Keys:])
		}
		return nil
	})
}

// sumReply sums the reply's rows of some heads.
func (r *LayerRows) sumReply(ctx context.Context, l *snapkv.Layer, heads HeadRange) error {
	const strip = 128 // rows at a time: bounds the memory
	l.Generated = make([]float64, l.Heads*l.Len)
	buf := make([]float32, min(strip, r.Rows)*r.Keys)
	for h := range l.Heads {
		sum := l.Generated[h*l.Len : (h+1)*l.Len]
		for row := r.Prompt.WindowRows; row < r.Rows; row += strip {
			n := min(strip, r.Rows-row)
			if err := r.Read(ctx, buf, heads.From+h, row, n); err != nil {
				return err
			}
			for i := range n {
				for j, v := range buf[i*r.Keys:][:l.Len] {
					sum[j] += float64(v)
				}
			}
		}
	}
	return nil
}

// Inputs holds the data of one layer that several methods use, so that it is read
// once.
type Inputs struct {
	rows   *LayerRows
	stats  []HeadStats
	window int
	all    *snapkv.Layer // all heads; nil if each method reads its own heads
}

// inputBytes bounds the memory of the window rows in Inputs.
const inputBytes = 64 << 20

// Inputs reads the data that the methods of entries need. If the window rows of all
// heads take too much memory, or if some data cannot be read, every method later reads
// its own heads, so that one method's error does not affect the others. stats are the
// statistics of the layer's heads.
func (r *LayerRows) Inputs(ctx context.Context, entries []Entry, window int, stats []HeadStats) *Inputs {
	in := &Inputs{rows: r, stats: stats, window: window}
	readers := max(1, len(r.empty(r.all()).Readers))
	if 4*len(r.Heads)*readers*window*r.Prompt.PromptTokens > inputBytes {
		return in
	}
	var needs snapkv.Needs
	for i := range entries {
		needs = needs.Union(entries[i].Method.Needs)
	}
	// The digests have the reply's mean rows, but only those of this layer.
	needs.Generated = needs.Generated && readers > 1
	if all, err := r.Layer(ctx, r.all(), needs, window); err == nil {
		in.all = all
	}
	return in
}

// Complete reports whether the layer is not read again and may be released.
func (in *Inputs) Complete() bool { return in.all != nil }

// layer returns the data that a method needs for a range of heads. In place of the
// reply's sums, it has the digests' means, which give the same order.
func (in *Inputs) layer(ctx context.Context, heads HeadRange, needs snapkv.Needs) (*snapkv.Layer, error) {
	if of := in.rows.empty(heads); len(of.Readers) > 1 {
		if in.all != nil {
			return in.all, nil
		}
		return in.rows.Layer(ctx, heads, needs, in.window)
	}
	generated := needs.Generated
	needs.Generated = false
	var l *snapkv.Layer
	if in.all != nil {
		l = in.part(heads, needs)
	} else {
		var err error
		if l, err = in.rows.Layer(ctx, heads, needs, in.window); err != nil {
			return nil, err
		}
	}
	if generated {
		for _, st := range in.stats[heads.From : heads.From+heads.N] {
			l.Generated = append(l.Generated, st.digest.meanRow()...)
		}
	}
	return l, nil
}

// part returns the parts that needs names for a range of heads, as slices of all.
func (in *Inputs) part(heads HeadRange, needs snapkv.Needs) *snapkv.Layer {
	l := in.rows.empty(heads)
	end := heads.From + heads.N
	if needs.Rows {
		size := in.window * l.Len
		l.N = in.window
		l.Rows = in.all.Rows[heads.From*size : end*size]
	}
	if needs.Sums && in.all.Sums != nil {
		l.Sums = in.all.Sums[heads.From*l.Len : end*l.Len]
	}
	if needs.Keys || needs.Queries {
		l.Queries = in.all.Queries
		l.Keys = in.all.Keys
	}
	if needs.States() {
		l.Values = in.all.Values
	}
	return l
}
