package decode

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
)

// Place is the place in a prompt at which its caches are compressed.
type Place string

// The places. At the end of the prompt, the window holds the question. At the end of the
// context, a method does not know what will be asked: the same cache answers any question,
// and the tokens after the context are added to it.
const (
	AtPrompt  Place = "prompt"
	AtContext Place = "context"
)

// Places lists all places.
var Places = []string{string(AtPrompt), string(AtContext)}

// Check returns an error for a place that does not exist. The empty one is AtPrompt.
func (p Place) Check() error {
	if p == "" || slices.Contains(Places, string(p)) {
		return nil
	}
	return fmt.Errorf("place %q: want one of %s", p, strings.Join(Places, ", "))
}

// checkPlace returns an error if the place of one of the prompts is not known.
func (c *Config) checkPlace() error {
	if err := c.Place.Check(); err != nil || c.Place != AtContext {
		return err
	}
	if c.DecodeEvery > 0 {
		return errors.New("a cache that is compressed at the end of the context cannot drop positions while it decodes")
	}
	for i := range c.Prompts {
		if p := &c.Prompts[i]; p.Context == 0 {
			return fmt.Errorf("prompt %q: where its context ends is not known: "+
				"the record must give context and question in fields of their own (docs/PROMPTS.md)", p.ID)
		}
	}
	return nil
}

// compressed returns the number of tokens of a prompt that its caches compress.
func (c *Config) compressed(p *prompts.Prompt) int {
	if c.Place == AtContext {
		return p.Context
	}
	return len(p.Tokens)
}

// reuseContext makes the full cache of a prompt a copy of the context of the prompt before
// it, if that is the same, and reports whether it is.
func (r *runner) reuseContext(full *cache) (bool, error) {
	if r.context == nil || !r.sameContext(r.context.prompt, full.prompt) {
		return false, nil
	}
	p := full.prompt
	s, err := r.context.session.Copy(r.compressed(p), len(p.Tokens)+r.longestReply(p))
	if err != nil {
		return false, err
	}
	full.session.Close()
	full.session = s
	full.record.queries = r.context.record.queries
	full.record.sums = r.context.record.sums
	r.tokens += int64(r.compressed(p))
	return true, nil
}

// keepContext keeps a copy of the full cache, which holds the context of its prompt, if the
// next prompt has the same context.
func (r *runner) keepContext(full *cache) error {
	r.dropContext()
	next := slices.IndexFunc(r.Prompts, func(p prompts.Prompt) bool { return p.ID == full.prompt.ID }) + 1
	if next == len(r.Prompts) || !r.sameContext(full.prompt, &r.Prompts[next]) {
		return nil
	}
	n := r.compressed(full.prompt)
	s, err := full.session.Copy(n, n)
	if err != nil {
		return err
	}
	s.Mark()
	r.context = &cache{prompt: full.prompt, session: s, record: full.record}
	return nil
}

// dropContext closes the context that keepContext kept.
func (r *runner) dropContext() {
	if r.context != nil {
		r.context.session.Close()
		r.context = nil
	}
}

// sameContext reports whether the caches of two prompts are compressed at the end of the
// same tokens, which are rotated alike.
func (r *runner) sameContext(a, b *prompts.Prompt) bool {
	rope := r.Model.Config().Rope
	return r.Place == AtContext && slices.Equal(a.Tokens[:a.Context], b.Tokens[:b.Context]) &&
		!rope.Varies(max(len(a.Tokens), len(b.Tokens)))
}

// cutToContext drops the tokens after the context from the full cache, which has been
// measured. If the states of a model cannot go back, the context is read again.
func (r *runner) cutToContext(ctx context.Context, g *group) error {
	p := g.prompt
	n := r.compressed(p)
	if g.full.session.Truncate(n) == nil {
		return nil
	}
	if err := g.full.session.Truncate(0); err != nil {
		return err
	}
	return r.forward(ctx, g.full.session, p.Tokens[:n], model.Pass{LogitsFrom: n, Length: len(p.Tokens)})
}

// ask appends the tokens after the context to a compressed cache.
func (r *runner) ask(ctx context.Context, k *cache) error {
	rest := k.prompt.Tokens[r.compressed(k.prompt):]
	if len(rest) == 0 {
		return nil
	}
	first := make([]float32, len(k.first))
	err := r.forward(ctx, k.session, rest, model.Pass{
		Length: len(k.prompt.Tokens), LogitsFrom: len(rest) - 1,
		Logits: func(_ int, l []float32) { copy(first, l) },
	})
	k.first = first
	return err
}
