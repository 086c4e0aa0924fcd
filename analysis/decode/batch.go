package decode

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
)

// batch decodes from up to Config.Batch caches together, full and compressed ones of one
// prompt or of several, because each step reads all weights of the model for any number
// of caches. A cache whose reply has ended is scored separately, and the next one takes
// its place.
type batch struct {
	runner  *runner
	emit    func(Result) error
	replies *model.Replies
	groups  []*group // prompts whose results were not all emitted, in order
	open    []*group // prompts that have not been compressed, in order
}

func newBatch(r *runner, emit func(Result) error) *batch {
	return &batch{runner: r, emit: emit, replies: r.Model.NewReplies(r.Batch)}
}

// group holds the caches of a prompt.
type group struct {
	prompt  *prompts.Prompt
	full    *cache
	ref     reference
	members []*member // the full cache first, then those of the entries, in order
	emitted int       // members
	added   bool      // there are no more members to come
}

// member is a cache of a batch and its result so far. It implements model.Reply.
type member struct {
	group   *group
	cache   *cache
	out     Result
	shared  bool // the session is that of the full cache
	logits  []float32
	sampler *model.Sampler
	ended   bool // the reply has ended
	done    bool // the result is complete
}

// addFull adds the full cache of a prompt, which stays open until complete closes it.
func (b *batch) addFull(ctx context.Context, g *group, out Result) error {
	b.groups = append(b.groups, g)
	b.open = append(b.open, g)
	return b.join(ctx, &member{group: g, cache: g.full, out: out, shared: true})
}

// add adds a compressed cache, whose session the batch closes.
func (b *batch) add(ctx context.Context, g *group, k *cache, out Result) error {
	return b.join(ctx, &member{group: g, cache: k, out: out})
}

// addShared measures a cache that is the full cache of its prompt.
func (b *batch) addShared(ctx context.Context, g *group, k *cache, out Result) error {
	g.members = append(g.members, &member{group: g, cache: k, out: out, shared: true, ended: true})
	return b.settle(ctx)
}

// join decodes the reply of a member together with others, if there is room for others.
func (b *batch) join(ctx context.Context, m *member) error {
	m.group.members = append(m.group.members, m)
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

// complete ends the prompt that has been open for the longest time: all its caches are in
// the batch.
func (b *batch) complete(g *group) error {
	b.open = b.open[1:]
	g.full.session.Close()
	g.full = nil
	g.added = true
	return b.emitDone()
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
	for _, g := range b.groups {
		for _, m := range g.members {
			if m.done || !m.ended {
				continue
			}
			if err := m.cache.measure(ctx, &g.ref, &m.out); err != nil {
				return fmt.Errorf("prompt %q, %s, capacity %d: %w", g.prompt.ID, m.out.Method, m.out.Capacity, err)
			}
			m.close()
		}
	}
	return b.emitDone()
}

// emitDone emits the results that all earlier results have preceded.
func (b *batch) emitDone() error {
	for len(b.groups) > 0 {
		g := b.groups[0]
		for ; g.emitted < len(g.members) && g.members[g.emitted].done; g.emitted++ {
			if err := b.emit(g.members[g.emitted].out); err != nil {
				return err
			}
		}
		if !g.added || g.emitted < len(g.members) {
			return nil
		}
		b.groups = b.groups[1:]
		b.runner.done++
		b.runner.report(g.prompt.ID)
	}
	return nil
}

// close closes the sessions of all caches, after an error those that have not ended.
func (b *batch) close() {
	for _, g := range b.groups {
		for _, m := range g.members {
			m.close()
		}
	}
	for _, g := range b.open {
		g.full.session.Close()
	}
}

func (m *member) close() {
	if !m.done && !m.shared {
		m.cache.close()
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

// Session returns the cache.
func (m *member) Session() *model.Session { return m.cache.session }

// Next returns the token that was chosen last.
func (m *member) Next() (int32, model.Pass, error) {
	pass := model.Pass{Logits: func(_ int, l []float32) { copy(m.logits, l) }}
	if v := m.cache.eviction; v != nil {
		pass.Recorder = v.recorder(1)
	}
	return m.cache.ids[len(m.cache.ids)-1], pass, nil
}

// Appended chooses the next token. After the last one it drops the reply from the cache.
func (m *member) Appended() (more bool, err error) {
	m.cache.runner.tokens++
	if err := m.cache.appended(1); err != nil {
		return false, err
	}
	if m.choose() {
		return true, nil
	}
	m.cache.rewind(&err)
	return false, err
}
