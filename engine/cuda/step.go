//go:build cuda

package cuda

import (
	"context"
	"errors"
	"slices"
)

// Step appends a token to each of some sequences. gemvRows of them pass through the layers
// together, so that their products read the weights once. Each row of such a product has the
// same bits as alone. Attention is launched for each sequence.
func (c *card) Step(ctx context.Context, list []Sequence, tokens []int32, passes []Pass) error {
	for len(list) > 0 {
		n := min(len(list), gemvRows)
		err := c.t.do(func() error { return c.step(ctx, list[:n], tokens[:n], slices.Clone(passes[:n])) })
		if err != nil {
			return err
		}
		list, tokens, passes = list[n:], tokens[n:], passes[n:]
	}
	return nil
}

func (c *card) step(ctx context.Context, list []Sequence, tokens []int32, passes []Pass) error {
	ch := make(chunk, len(list))
	keys := 0
	for i := range list {
		s, p := list[i].(*sequence), &passes[i]
		if p.Length == 0 {
			p.Length = s.len + 1
		}
		if err := errors.Join(s.reserve(s.len+1), s.freshCounts()); err != nil {
			return err
		}
		ch[i] = rows{s: s, at: i, n: 1, p: p}
		keys = max(keys, s.len+1)
	}
	err := c.room(len(list), keys)
	for i := range ch {
		if err == nil {
			ch[i].rec, err = ch[i].s.record(ch[i].p, 1)
		}
	}
	for i := range ch {
		if rec := ch[i].rec; rec != nil {
			rec.ring = c.ring // which the recordings after this one may have replaced
		}
	}
	if err == nil {
		err = c.pass(ctx, tokens, ch)
	}
	for i := range ch {
		err = ch[i].rec.finish(err)
	}
	return err
}
