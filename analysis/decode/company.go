package decode

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/model"
)

// company gathers the compressed caches of a prompt: up to Batch of them decode
// at once, because a step reads all weights whether it is of one cache or of
// several. Each is then scored alone.
type company struct {
	r    *runner
	ref  *reference
	emit func(Result) error
	list []member
}

type member struct {
	cache *cache
	out   Result
	own   bool // the session is the member's to close
}

// add takes a cache. One whose session is the full cache's goes alone.
func (g *company) add(ctx context.Context, k *cache, out Result, own bool) error {
	if !own {
		if err := g.flush(ctx); err != nil {
			return err
		}
	}
	g.list = append(g.list, member{k, out, own})
	if len(g.list) >= g.r.Batch || !own {
		return g.flush(ctx)
	}
	return nil
}

// flush decodes and scores what has gathered, in order.
func (g *company) flush(ctx context.Context) error {
	defer g.close()
	if len(g.list) > 1 {
		if err := g.greedy(ctx); err != nil {
			return err
		}
	}
	for i := range g.list {
		m := &g.list[i]
		if err := m.cache.measure(ctx, g.ref, &m.out); err != nil {
			return fmt.Errorf("%s, capacity %d: %w", m.out.Method, m.out.Capacity, err)
		}
		if err := g.emit(m.out); err != nil {
			return err
		}
	}
	return nil
}

func (g *company) close() {
	for _, m := range g.list {
		if m.own {
			m.cache.s.Close()
		}
	}
	g.list = nil
}

// greedy writes the replies of all, a token each at a time; those that have
// ended drop out.
func (g *company) greedy(ctx context.Context) error {
	r, cfg, pick := g.r, g.r.Model.Config(), model.NewSampler(0, 0)
	logits, active := make([][]float32, len(g.list)), []int{}
	for i := range g.list {
		k := g.list[i].cache
		logits[i], k.ids = slices.Clone(k.first), []int32{}
		active = append(active, i)
		defer k.rewind()
	}
	for len(active) > 0 {
		var going []int
		var sessions []*model.Session
		var tokens []int32
		var passes []model.Pass
		for _, i := range active {
			k := g.list[i].cache
			if len(k.ids) == r.MaxNewTokens {
				continue
			}
			next := pick.Next(logits[i])
			k.ids = append(k.ids, next)
			if len(k.ids) == r.MaxNewTokens || !r.IgnoreEOS && slices.Contains(cfg.EOS, next) {
				continue
			}
			going, sessions, tokens = append(going, i), append(sessions, k.s), append(tokens, next)
			passes = append(passes, model.Pass{Logits: func(_ int, l []float32) { copy(logits[i], l) }})
		}
		if active = going; len(active) == 0 {
			break
		}
		if err := r.Model.Step(ctx, sessions, tokens, passes); err != nil {
			return err
		}
		r.tokens += int64(len(active))
	}
	return nil
}
