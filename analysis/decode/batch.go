package decode

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/model"
)

// batch collects up to Config.Batch compressed caches of a prompt and decodes from all
// of them at once, because each step reads all weights of the model for any number of
// caches. Each cache is then scored separately.
type batch struct {
	runner *runner
	ref    *reference
	emit   func(Result) error
	list   []member
}

// member is a cache of a batch and its result so far.
type member struct {
	cache *cache
	out   Result
}

// add adds a cache that has its own session, which the batch closes.
func (b *batch) add(ctx context.Context, k *cache, out Result) error {
	b.list = append(b.list, member{k, out})
	if len(b.list) >= b.runner.Batch {
		return b.flush(ctx)
	}
	return nil
}

// addShared measures a cache that uses the session of the full cache. It first flushes
// the batch and measures the cache alone. The session stays open.
func (b *batch) addShared(ctx context.Context, k *cache, out Result) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	return b.measure(ctx, member{k, out})
}

// flush decodes from all caches of the batch, measures them in order, and closes them.
func (b *batch) flush(ctx context.Context) error {
	defer b.close()
	if len(b.list) > 1 {
		if err := b.greedy(ctx); err != nil {
			return err
		}
	}
	for _, m := range b.list {
		if err := b.measure(ctx, m); err != nil {
			return err
		}
	}
	return nil
}

func (b *batch) measure(ctx context.Context, m member) error {
	if err := m.cache.measure(ctx, b.ref, &m.out); err != nil {
		return fmt.Errorf("%s, capacity %d: %w", m.out.Method, m.out.Capacity, err)
	}
	return b.emit(m.out)
}

func (b *batch) close() {
	for _, m := range b.list {
		m.cache.session.Close()
	}
	b.list = nil
}

// greedy decodes the replies of all caches, one token per reply and step. Replies that
// have ended leave the batch.
func (b *batch) greedy(ctx context.Context) error {
	r := b.runner
	sampler := model.NewSampler(0, 0)
	logits := make([][]float32, len(b.list))
	var active []int // members whose reply has not ended
	for i, m := range b.list {
		logits[i] = slices.Clone(m.cache.first)
		m.cache.ids = []int32{}
		if r.MaxNewTokens > 0 {
			active = append(active, i)
		}
		defer m.cache.rewind()
	}
	for {
		var going []int
		var sessions []*model.Session
		var tokens []int32
		var passes []model.Pass
		for _, i := range active {
			k := b.list[i].cache
			next := sampler.Next(logits[i])
			k.ids = append(k.ids, next)
			if r.ends(k.ids) {
				continue
			}
			going = append(going, i)
			sessions = append(sessions, k.session)
			tokens = append(tokens, next)
			passes = append(passes, model.Pass{Logits: func(_ int, l []float32) { copy(logits[i], l) }})
		}
		if len(going) == 0 {
			return nil
		}
		if err := r.Model.Step(ctx, sessions, tokens, passes); err != nil {
			return err
		}
		r.tokens += int64(len(going))
		active = going
	}
}
