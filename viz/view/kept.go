package view

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/snapkv"
)

// voteQuery names the vote of a window in a head.
type voteQuery struct {
	headQuery
	config snapkv.Config
}

func (s *Server) readVote(p *params) voteQuery {
	q := s.readHead(p)
	return voteQuery{q, p.config(s.prompt(q.at), p.capacity())}
}

// voteAnswer is the pooled vote of a window on every prefix position.
type voteAnswer struct {
	Vote   []float64 `json:"vote"`
	Window int       `json:"window"`
}

func (s *Server) vote(ctx context.Context, q voteQuery) (voteAnswer, error) {
	m, err := s.pyramid(ctx, q.headQuery)
	if err != nil {
		return voteAnswer{}, err
	}
	window := q.config.Window
	prompt := m.layer.Prompt
	rows, err := m.weights(ctx, prompt.WindowRows-window, window)
	if err != nil {
		return voteAnswer{}, err
	}
	vote := snapkv.Vote(rows, window, m.layer.Keys, window, prompt.PromptTokens-window)
	vote, err = snapkv.Pool(vote, q.config.Kernel, q.config.Pooling)
	return voteAnswer{vote, window}, err
}

// keptQuery names a selection: a method under a config, in a head.
type keptQuery struct {
	headQuery
	method snapkv.Method
	config snapkv.Config
}

func (s *Server) readKept(p *params) keptQuery {
	method, err := snapkv.FindMethod(p.choice("method", snapkv.MethodNames()...))
	if err != nil {
		p.failWith(err)
	}
	q := s.readHead(p)
	return keptQuery{q, method, p.config(s.prompt(q.at), p.capacity())}
}

// keptAnswer is what a method keeps of the prefix. It has Kept for one head, and
// Count for all heads together.
type keptAnswer struct {
	Count  []int    `json:"count,omitempty"` // heads that keep each prefix position
	Heads  int      `json:"heads"`
	Kept   *[]int32 `json:"kept,omitempty"` // positions, ascending
	Prefix int      `json:"prefix"`
	Whole  bool     `json:"whole"` // the prompt is shorter than the capacity
	Window int      `json:"window"`
}

func (s *Server) kept(ctx context.Context, q keptQuery) (keptAnswer, error) {
	h := s.header(q.at)
	prompt := s.prompt(q.at)
	heads := digest.AllOf(h, q.at.layer)
	if q.head != digest.AllHeads {
		heads = digest.HeadRange{From: q.head, N: 1}
	}
	keep, err := s.selectHeads(ctx, q, heads)
	if err != nil {
		return keptAnswer{}, err
	}
	out := keptAnswer{
		Heads:  digest.AllOf(h, q.at.layer).N,
		Prefix: prompt.PromptTokens - q.config.Window,
		Whole:  q.config.Passthrough(prompt.PromptTokens),
		Window: q.config.Window,
	}
	if q.head != digest.AllHeads {
		out.Kept = &keep[0]
		return out, nil
	}
	out.Count = make([]int, out.Prefix)
	for _, list := range keep {
		for _, j := range list {
			out.Count[j]++
		}
	}
	return out, nil
}

// selectHeads returns the positions kept for some heads. Scores and budgets stay in
// the caches.
func (s *Server) selectHeads(ctx context.Context, q keptQuery, heads digest.HeadRange) ([][]int32, error) {
	ctx = context.WithoutCancel(ctx) // other requests may wait for the results
	budget, err := s.budget(ctx, q.at, q.method, q.config)
	if err != nil {
		return nil, err
	}
	selection := digest.Selection{
		Header: s.header(q.at),
		Prompt: s.prompt(q.at),
		Layer:  q.at.layer,
		Method: q.method,
		Config: q.config,
		Budget: budget,
		Rank: func(ctx context.Context, heads digest.HeadRange) ([][]float64, error) {
			return s.scores(ctx, q, heads)
		},
	}
	return selection.Heads(ctx, heads)
}

// rankKey names the scores of some heads of a layer in the cache or, with layer
// allLayers, the statistics of all layers.
type rankKey struct {
	at     place
	heads  digest.HeadRange
	method string
	config string
}

// allLayers stands for all layers in keys of the cache.
const allLayers = -1

// rankKeyOf returns one key for all configs under which a method ranks alike.
func rankKeyOf(at place, heads digest.HeadRange, m *snapkv.Method, c snapkv.Config) rankKey {
	if !m.ByCapacity {
		c.Capacity = 0
	}
	return rankKey{at, heads, m.Name, fmt.Sprint(c)}
}

// scores returns the scores by which a method selects in some heads.
func (s *Server) scores(ctx context.Context, q keptQuery, heads digest.HeadRange) ([][]float64, error) {
	need := 8 * heads.N * q.config.Window * s.prompt(q.at).PromptTokens
	key := rankKeyOf(q.at, heads, &q.method, q.config)
	return lookup(s.cache, key, need, func() ([][]float64, int, error) {
		l, err := s.readHeads(ctx, q.at, heads, q.method.Needs, q.config.Window)
		if err != nil {
			return nil, 0, err
		}
		scores, err := q.method.Rank(l, q.config)
		bytes := 64
		for _, list := range scores {
			bytes += 8 * len(list)
		}
		return scores, bytes, err
	})
}

// budget returns the number of positions per head that a method keeps of a layer.
func (s *Server) budget(ctx context.Context, at place, m snapkv.Method, c snapkv.Config) (int, error) {
	source := s.source(at, c)
	stats := make([]float64, source.Layers)
	if m.LayerStat != nil {
		var err error
		if stats, err = s.layerStats(ctx, at, m, c); err != nil {
			return 0, err
		}
	}
	cache := s.header(at).Model.Layer(at.layer).CacheOf
	return source.Budget(&snapkv.Entry{Method: &m, Config: c}, stats, cache), nil
}

// source reads the layers of a prompt, or all layers that read one cache together.
func (s *Server) source(at place, c snapkv.Config) snapkv.Source {
	h := s.header(at)
	caches := h.Model.Caches()
	return snapkv.Source{
		Len:    s.prompt(at).PromptTokens,
		Layers: h.Model.Layers,
		Caches: caches,
		Recorded: slices.DeleteFunc(slices.Clone(caches), func(layer int) bool {
			return !slices.Contains(h.Plan.Layers, layer)
		}),
		Read: func(ctx context.Context, layer int, needs snapkv.Needs) (*snapkv.Layer, error) {
			at := place{at.capture, at.prompt, layer}
			defer s.cache.dropNext(at)
			return s.readHeads(ctx, at, digest.AllOf(h, layer), needs, c.Window)
		},
	}
}

// layerStats returns the statistics of all layers that a method's budgets depend on.
func (s *Server) layerStats(ctx context.Context, at place, m snapkv.Method, c snapkv.Config) ([]float64, error) {
	key := rankKeyOf(place{at.capture, at.prompt, allLayers}, digest.HeadRange{}, &m, c)
	return lookup(s.results, key, 0, func() ([]float64, int, error) {
		stats, err := snapkv.LayerStats(ctx, s.source(at, c), []snapkv.Entry{{Method: &m, Config: c}})
		if err != nil {
			return nil, 0, err
		}
		return stats[0], 8 * len(stats[0]), nil
	})
}

// readHeads reads what a method needs of some heads of a layer.
func (s *Server) readHeads(
	ctx context.Context, at place, heads digest.HeadRange, needs snapkv.Needs, window int,
) (*snapkv.Layer, error) {
	defer s.reserve(workBytes)()
	layer, err := s.layer(at)
	if err != nil {
		return nil, err
	}
	return layer.Layer(ctx, heads, needs, window)
}
