package view

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// selectBytes bounds the window rows of all heads that a selection looks at.
const selectBytes = 256 << 20

// keptKey names a selection.
type keptKey struct {
	at     place
	method string
	cfg    string
}

// apiKept gives the prefix positions that a method keeps for a head, ascending.
// head -1 gives, for each position that any head keeps, by how many heads.
func (s *Server) apiKept(r *http.Request) (any, error) {
	p := query(r)
	at, prompt := s.place(p)
	m, c := p.selection(prompt)
	id := p.int("head", allHeads, allHeads, 1<<30)
	if p.err != nil {
		return nil, p.err
	}
	heads := s.captures[at.capture].Header().Model.Heads
	if id >= heads {
		return nil, fmt.Errorf("head %d: the model has %d", id, heads)
	}
	keep, err := s.kept(r.Context(), at, m, c)
	if err != nil {
		return nil, err
	}
	prefix := prompt.PromptTokens - c.Window
	out := map[string]any{"prefix": prefix, "window": c.Window, "heads": heads, "whole": c.Passthrough(prompt.PromptTokens)}
	if id >= 0 {
		out["kept"] = keep[id]
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

// kept selects, [heads][...], as analysis.Indices does; one layer at a time, and
// of the prompt's rows only the window's.
func (s *Server) kept(ctx context.Context, at place, m snapkv.Method, c snapkv.Config) ([][]int32, error) {
	ctx = context.WithoutCancel(ctx) // others may wait for the result
	return lookup(s.cache, keptKey{at, m.Name, fmt.Sprint(c)}, func() ([][]int32, int, error) {
		budget, err := s.budget(ctx, at, m, c)
		if err != nil {
			return nil, 0, err
		}
		l, err := s.layerOf(ctx, at, m.Needs, c)
		if err != nil {
			return nil, 0, err
		}
		keep, err := m.Select(l, c, budget)
		if err != nil {
			return nil, 0, err
		}
		bytes := 64
		for _, list := range keep {
			bytes += 4 * len(list)
		}
		return snapkv.ByQueryHead(keep, l.Heads), bytes, nil
	})
}

// budget is a layer's budget a head; some methods look at all layers for it.
func (s *Server) budget(ctx context.Context, at place, m snapkv.Method, c snapkv.Config) (int, error) {
	h := s.captures[at.capture].Header()
	key := keptKey{place{at.capture, at.prompt, -1}, m.Name, fmt.Sprint(c)}
	list, err := lookup(s.cache, key, func() ([]int, int, error) {
		stats := make([]float64, h.Model.Layers)
		for _, layer := range h.Plan.Layers {
			if m.Stat == nil {
				break
			}
			l, err := s.layerOf(ctx, place{at.capture, at.prompt, layer}, m.Needs, c)
			if err != nil {
				return nil, 0, err
			}
			if err := m.Check(l, c); err != nil {
				return nil, 0, err
			}
			stats[layer] = m.Stat(l, c)
		}
		return m.LayerBudgets(stats, c), 8 * len(stats), nil
	})
	if err != nil {
		return 0, err
	}
	return list[at.layer], nil
}

// layerOf reads what a method needs of a layer.
func (s *Server) layerOf(ctx context.Context, at place, needs snapkv.Needs, c snapkv.Config) (*snapkv.Layer, error) {
	src, err := s.source(at)
	if err != nil {
		return nil, err
	}
	s.heavy <- struct{}{}
	defer func() { <-s.heavy }()
	r := s.captures[at.capture]
	h, p := r.Header(), src.prompt
	if len(h.Plan.Heads) != h.Model.Heads {
		return nil, fmt.Errorf("%s: %d of %d heads were recorded; a selection needs all: capture with --heads all", r.name, len(h.Plan.Heads), h.Model.Heads)
	}
	l := &snapkv.Layer{Index: at.layer, Layers: h.Model.Layers, Heads: h.Model.Heads, KVHeads: h.Model.KVHeads, Len: p.PromptTokens,
		N: p.WindowRows, Dim: h.Model.HeadDim, ValueDim: h.Model.ValueDim}
	if needs.Sums {
		if l.Sums, err = r.Sums(at.prompt, at.layer); err != nil && !errors.Is(err, dumps.ErrAbsent) {
			return nil, err
		}
	}
	if (needs.Keys || needs.Queries) && p.Store == "factors" {
		st, err := r.States(at.prompt, at.layer)
		if err != nil {
			return nil, err
		}
		l.Keys, l.Queries, l.Values = st.Keys, st.Queries, st.Values
	} else if needs.Values {
		if l.Values, err = r.Values(at.prompt, at.layer); err != nil {
			return nil, err
		}
	}
	if needs.Rows {
		err = src.window(ctx, l, c.Window)
	}
	if needs.Generated && err == nil {
		err = src.generated(ctx, l)
	}
	return l, err
}

// window reads the last rows of all heads.
func (src *source) window(ctx context.Context, l *snapkv.Layer, n int) error {
	if n > src.promptRows {
		return fmt.Errorf("window %d, but the last %d prompt rows were recorded: capture with --window-rows %d", n, src.promptRows, n)
	}
	if need := 4 * l.Heads * n * l.Len; need > selectBytes {
		return fmt.Errorf("%d heads of %d rows by %d keys take %d MiB, the viewer's bound is %d: choose a smaller window, or use attnscope snapkv --indices", l.Heads, n, l.Len, need>>20, selectBytes>>20)
	}
	l.N, l.Rows = n, make([]float32, l.Heads*n*l.Len)
	buf := make([]float32, n*src.keys)
	for h := range l.Heads {
		if err := src.read(ctx, buf, h, src.promptRows-n, n); err != nil {
			return err
		}
		for i := range n {
			copy(l.Rows[(h*n+i)*l.Len:(h*n+i+1)*l.Len], buf[i*src.keys:])
		}
	}
	return nil
}

// generated sums the reply's rows of all heads.
func (src *source) generated(ctx context.Context, l *snapkv.Layer) error {
	l.Generated = make([]float64, l.Heads*l.Len)
	buf := make([]float32, tileRows*src.keys)
	for h := range l.Heads {
		sum := l.Generated[h*l.Len : (h+1)*l.Len]
		for row := src.promptRows; row < src.rows; row += tileRows {
			n := min(tileRows, src.rows-row)
			if err := src.read(ctx, buf, h, row, n); err != nil {
				return err
			}
			for i := range n {
				for j, v := range buf[i*src.keys:][:l.Len] {
					sum[j] += float64(v)
				}
			}
		}
	}
	return nil
}
