package decode

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/model"
)

// batch decodes from up to Config.Batch compressed caches of a prompt together, because
// each step reads all weights of the model for any number of caches. A cache whose reply
// has ended is scored by itself, and the next one takes its place.
type batch struct {
	runner  *runner
	ref     *reference
	emit    func(Result) error
	replies *model.Replies
	list    []*member // in the order of the configs, without those that were emitted
}

func newBatch(r *runner, ref *reference, emit func(Result) error) *batch {
	return &batch{runner: r, ref: ref, emit: emit, replies: r.Model.NewReplies(r.Batch)}
}

// member is a cache of a batch and its result so far. It implements model.Reply.
type member struct {
	cache   *cache
	out     Result
	shared  bool // the session is that of the full cache
	logits  []float32
	sampler *model.Sampler
	ended   bool // the reply has ended
	done    bool // the result is complete
}

// add adds a cache that has its own session, which the batch closes.
func (b *batch) add(ctx context.Context, k *cache, out Result) error {
	m := &member{cache: k, out: out}
	b.list = append(b.list, m)
	if b.runner.Batch < 2 {
		m.ended = true // it is decoded when it is measured
		return b.settle(ctx)
	}
	for b.replies.Full() {
		if err := b.step(ctx); err != nil {
			return err
		}
	}
	if m.start() {
		b.replies.Add(m)
	}
	return b.settle(ctx)
}

// addShared measures a cache that uses the session of the full cache, which stays open,
// after all others have ended.
func (b *batch) addShared(ctx context.Context, k *cache, out Result) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	b.list = append(b.list, &member{cache: k, out: out, shared: true, ended: true})
	return b.settle(ctx)
}

// flush decodes and measures what has not ended.
func (b *batch) flush(ctx context.Context) error {
	for b.replies.Len() > 0 {
		if err := b.step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// step decodes one token of each reply.
func (b *batch) step(ctx context.Context) error {
	if err := b.replies.Step(ctx); err != nil {
		return err
	}
	return b.settle(ctx)
}

// settle measures the caches whose replies have ended and emits results in order.
func (b *batch) settle(ctx context.Context) error {
	for _, m := range b.list {
		if m.done || !m.ended {
			continue
		}
		if err := m.cache.measure(ctx, b.ref, &m.out); err != nil {
			return fmt.Errorf("%s, capacity %d: %w", m.out.Method, m.out.Capacity, err)
		}
		m.close()
	}
	for len(b.list) > 0 && b.list[0].done {
		out := b.list[0].out
		b.list = b.list[1:]
		if err := b.emit(out); err != nil {
			return err
		}
	}
	return nil
}

// close closes the sessions of all caches, after an error those that have not ended.
func (b *batch) close() {
	for _, m := range b.list {
		m.close()
	}
	b.list = nil
}

func (m *member) close() {
	if !m.done && !m.shared {
		m.cache.session.Close()
	}
	m.done = true
}

// start chooses the first token of the reply, and reports whether it is to be appended.
func (m *member) start() bool {
	m.cache.ids = []int32{}
	m.logits = slices.Clone(m.cache.first)
	m.sampler = model.NewSampler(0, 0)
	m.ended = m.cache.runner.MaxNewTokens < 1
	return !m.ended && m.choose()
}

// choose chooses the next token, and reports whether it is to be appended: the last token
// of a reply is not.
func (m *member) choose() bool {
	k := m.cache
	k.ids = append(k.ids, m.sampler.Next(m.logits))
	m.ended = k.runner.ends(k.ids)
	return !m.ended
}

// Session returns the compressed cache.
func (m *member) Session() *model.Session { return m.cache.session }

// Next returns the token that was chosen last.
func (m *member) Next() (int32, model.Pass, error) {
	pass := model.Pass{Logits: func(_ int, l []float32) { copy(m.logits, l) }}
	return m.cache.ids[len(m.cache.ids)-1], pass, nil
}

// Appended chooses the next token. After the last one it drops the reply from the cache.
func (m *member) Appended() (more bool, err error) {
	m.cache.runner.tokens++
	if m.choose() {
		return true, nil
	}
	m.cache.rewind(&err)
	return false, err
}
