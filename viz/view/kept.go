package view

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// selectBytes bounds the window rows that a selection looks at.
const selectBytes = 144 << 20

// span is a range of query heads, whole groups of a kv head or single heads.
type span struct{ from, n int }

// keptKey names scores or budgets under a setting.
type keptKey struct {
	at     place
	heads  span
	method string
	cfg    string
}

// apiKept gives the prefix positions that a method keeps for a head, ascending.
// head -1 gives, for each position that any head keeps, by how many heads.
func (s *Server) apiKept(r *http.Request) (any, error) {
	p := query(r)
	at, prompt := s.place(p)
	m, c := p.selection(prompt)
	id := p.int("head", digest.AllHeads, digest.AllHeads, 1<<30)
	if p.err != nil {
		return nil, p.err
	}
	heads := s.captures[at.capture].Header().Model.Heads
	if id >= heads {
		return nil, fmt.Errorf("head %d: the model has %d", id, heads)
	}
	from, n := max(0, id), 1
	if id < 0 {
		from, n = 0, heads
	}
	keep, err := s.kept(r.Context(), at, m, c, from, n)
	if err != nil {
		return nil, err
	}
	prefix := prompt.PromptTokens - c.Window
	out := map[string]any{"prefix": prefix, "window": c.Window, "heads": heads, "whole": c.Passthrough(prompt.PromptTokens)}
	if id >= 0 {
		out["kept"] = keep[0]
		return out, nil
	}
	count := make([]int, prefix)
	for _, list := range keep {
		for _, j := range list {
			count[j]++
		}
	}
	out["count"] = count
	return out, nil
}

// kept gives what is kept for query heads [from, from+n), as analysis.Indices
// does. Methods that look at one head, or one kv head's group, at a time are given
// no more.
func (s *Server) kept(ctx context.Context, at place, m snapkv.Method, c snapkv.Config, from, n int) ([][]int32, error) {
	ctx = context.WithoutCancel(ctx) // others may wait for the result
	h := s.captures[at.capture].Header()
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all", s.captures[at.capture].name, len(h.Plan.Heads), h.Model.Heads)
	}
	budget, err := s.budget(ctx, at, m, c)
	if err != nil {
		return nil, err
	}
	step := m.ScopeWith(c.Group).Heads(h.Model.Heads, h.Model.KVHeads)
	out := make([][]int32, 0, n)
	for head := from / step * step; head < from+n; head += step {
		heads := span{head, step}
		scores, err := s.scores(ctx, at, heads, m, c)
		if err != nil {
			return nil, err
		}
		l, err := s.layerOf(ctx, at, heads, snapkv.Needs{}, c)
		if err != nil {
			return nil, err
		}
		keep, err := m.Cut(scores, l, c, budget)
		if err != nil {
			return nil, err
		}
		for i, list := range snapkv.ByQueryHead(keep, step) {
			if head+i >= from && head+i < from+n {
				out = append(out, list)
			}
		}
	}
	return out, nil
}

// scores are what a selection cuts; a method whose scores do not depend on the
// capacity is asked once for all capacities.
func (s *Server) scores(ctx context.Context, at place, heads span, m snapkv.Method, c snapkv.Config) ([][]float64, error) {
	if m.KeepsAll(c, s.captures[at.capture].Prompts()[at.prompt].PromptTokens) {
		return nil, nil
	}
	key := c
	if !m.ByCapacity {
		key.Capacity = 0
	}
	need := 8 * heads.n * c.Window * s.captures[at.capture].Prompts()[at.prompt].PromptTokens
	return lookup(s.cache, keptKey{at, heads, m.Name, fmt.Sprint(key)}, need, func() ([][]float64, int, error) {
		l, err := s.layerOf(ctx, at, heads, m.Needs, c)
		if err != nil {
			return nil, 0, err
		}
		scores, err := m.Rank(l, c)
		bytes := 64
		for _, list := range scores {
			bytes += 8 * len(list)
		}
		return scores, bytes, err
	})
}

// budget is a layer's budget a head; some methods look at all layers for it.
func (s *Server) budget(ctx context.Context, at place, m snapkv.Method, c snapkv.Config) (int, error) {
	h := s.captures[at.capture].Header()
	stats := make([]float64, h.Model.Layers)
	if m.LayerStat != nil {
		all, like := span{0, h.Model.Heads}, c
		if !m.ByCapacity {
			like.Capacity = 0
		}
		key := keptKey{place{at.capture, at.prompt, -1}, all, m.Name, fmt.Sprint(like)}
		var err error
		if stats, err = lookup(s.results, key, 0, func() ([]float64, int, error) {
			stats := make([]float64, h.Model.Layers)
			for _, layer := range h.Plan.Layers {
				l, err := s.layerOf(ctx, place{at.capture, at.prompt, layer}, all, m.Needs, c)
				if err != nil {
					return nil, 0, err
				}
				if err := m.Check(l, c); err != nil {
					return nil, 0, err
				}
				stats[layer] = m.LayerStat(l, c)
				s.cache.last(place{at.capture, at.prompt, layer})
			}
			return stats, 8 * len(stats), nil
		}); err != nil {
			return 0, err
		}
	}
	return m.LayerBudgets(stats, c)[at.layer], nil
}

// layerOf reads what a method needs of some heads of a layer.
func (s *Server) layerOf(ctx context.Context, at place, heads span, needs snapkv.Needs, c snapkv.Config) (*snapkv.Layer, error) {
	defer s.reserve(workBytes)()
	src, err := s.layer(at)
	if err != nil {
		return nil, err
	}
	return s.lay(ctx, src, at, heads, needs, c)
}

// lay is layerOf for who holds the source and the room.
func (s *Server) lay(ctx context.Context, src *digest.LayerRows, at place, heads span, needs snapkv.Needs, c snapkv.Config) (*snapkv.Layer, error) {
	r := s.captures[at.capture]
	l, err := bare(r.Header(), src.Prompt, at.layer, heads), error(nil)
	if needs.Sums {
		sums, err := r.Sums(at.prompt, at.layer)
		if err != nil && !errors.Is(err, dumps.ErrAbsent) {
			return nil, err
		}
		if sums != nil {
			l.Sums = sums[heads.from*l.Len : (heads.from+heads.n)*l.Len]
		}
	}
	if needs.Keys || needs.Queries {
		l.Queries, l.Keys = src.States()
	}
	if needs.Keys || needs.Queries || needs.Values { // some methods use values where there are any
		if l.Values, err = r.Values(at.prompt, at.layer); err != nil {
			return nil, err
		}
	}
	if needs.Rows {
		err = window(ctx, src, l, heads.from, c.Window)
	}
	if needs.Generated && err == nil {
		err = generated(ctx, src, l, heads.from)
	}
	return l, err
}

// bare is a layer of which nothing was read.
func bare(h *dumps.Header, p *dumps.Prompt, layer int, heads span) *snapkv.Layer {
	return &snapkv.Layer{
		Index: layer, Layers: h.Model.Layers, Heads: heads.n, KVHeads: max(1, heads.n*h.Model.KVHeads/h.Model.Heads), Len: p.PromptTokens,
		N: p.WindowRows, Dim: h.Model.HeadDim, ValueDim: h.Model.ValueDim,
	}
}

// window reads the last n rows of the layer's heads, the first of them at from.
func window(ctx context.Context, src *digest.LayerRows, l *snapkv.Layer, from, n int) error {
	if n > src.Prompt.WindowRows {
		return fmt.Errorf("window %d, but the last %d prompt rows were recorded: capture with --window-rows %d", n, src.Prompt.WindowRows, n)
	}
	if need := 4 * l.Heads * n * l.Len; need > selectBytes {
		return fmt.Errorf("%d heads of %d rows by %d keys take %d MiB, the viewer's bound is %d: choose a smaller window, or use attnscope snapkv --indices", l.Heads, n, l.Len, need>>20, selectBytes>>20)
	}
	l.N, l.Rows = n, make([]float32, l.Heads*n*l.Len)
	var work errgroup.Group
	work.SetLimit(runtime.GOMAXPROCS(0))
	for h := range l.Heads {
		work.Go(func() error {
			buf := make([]float32, n*src.Keys)
			if err := src.Read(ctx, buf, from+h, src.Prompt.WindowRows-n, n); err != nil {
				return err
			}
			for i := range n {
				copy(l.Rows[(h*n+i)*l.Len:(h*n+i+1)*l.Len], buf[i*src.Keys:])
			}
			return nil
		})
	}
	return work.Wait()
}

// generated sums the reply's rows of the layer's heads.
func generated(ctx context.Context, src *digest.LayerRows, l *snapkv.Layer, from int) error {
	l.Generated = make([]float64, l.Heads*l.Len)
	buf := make([]float32, min(tileRows, src.Rows)*src.Keys)
	for h := range l.Heads {
		sum := l.Generated[h*l.Len : (h+1)*l.Len]
		for row := src.Prompt.WindowRows; row < src.Rows; row += tileRows {
			n := min(tileRows, src.Rows-row)
			if err := src.Read(ctx, buf, from+h, row, n); err != nil {
				return err
			}
			for i := range n {
				for j, v := range buf[i*src.Keys:][:l.Len] {
					sum[j] += float64(v)
				}
			}
		}
	}
	return nil
}
