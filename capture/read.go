package capture

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/pace"
)

// prompt records one prompt, which begins with doc unless doc is nil. The batch must have
// room for its reply. If the model reads its weights from the file in each pass, the
// prompt waits until the batch is full, to be read together with others.
func (r *runner) prompt(ctx context.Context, p *prompts.Prompt, doc *document) error {
	one, err := r.begin(p)
	if err == nil {
		err = one.open(doc)
	}
	if err != nil {
		return fmt.Errorf("prompt %q: %w", p.ID, err)
	}
	r.waiting = append(r.waiting, one)
	if r.c.Model.Streams() && len(r.waiting)+r.replies.Len() < r.c.Batch {
		return nil
	}
	return r.readWaiting(ctx)
}

// readWaiting reads the prompts that wait. Those to which the model is to write a reply
// join the batch; the others are finished.
func (r *runner) readWaiting(ctx context.Context) error {
	list := r.waiting
	r.waiting = nil
	err := r.readAll(ctx, list)
	for i, one := range list {
		if err == nil {
			err = one.hasBeenRead()
		}
		if err != nil {
			for _, rest := range list[i:] {
				rest.release()
			}
			return err
		}
	}
	return nil
}

// hasBeenRead adds the prompt to the batch, or finishes it if there is nothing to
// generate.
func (r *promptRun) hasBeenRead() error {
	var err error
	if !r.toGenerate() {
		err = r.finish()
	} else if err = r.checkLogits(); err == nil { // before it joins the replies of others
		r.replies.Add(r)
	}
	if err != nil {
		return fmt.Errorf("prompt %q: %w", r.p.ID, err)
	}
	return nil
}

// readAll records prompts, and their replies if they are given.
func (r *runner) readAll(ctx context.Context, list []*promptRun) error {
	start := time.Now()
	tokens := make([][]int32, len(list))
	passes := make([]model.Pass, len(list))
	for i, one := range list {
		tokens[i] = one.p.Tokens[one.session.Len():]
		passes[i] = model.Pass{
			LogitsFrom: len(tokens[i]) - 1,
			Logits:     func(_ int, l []float32) { copy(one.logits, l) },
		}
	}
	if err := r.forward(ctx, list, tokens, passes); err != nil {
		return err
	}
	var followed []*promptRun
	for _, one := range list {
		if err := one.rec.finishPrompt(); err != nil {
			return fmt.Errorf("prompt %q: %w", one.p.ID, err)
		}
		if one.p.Reply != nil {
			followed = append(followed, one)
		}
	}
	r.summary.PrefillTime += time.Since(start)
	start = time.Now()
	err := r.follow(ctx, followed)
	r.summary.ReplyTime += time.Since(start)
	return err
}

// follow records given replies, a piece of each at a time. The tokens of a piece are read
// at once, but they are rotated as if they were decoded one by one.
func (r *runner) follow(ctx context.Context, list []*promptRun) error {
	for _, one := range list {
		one.reply = one.p.Reply[:one.room]
		if r.c.Header.Plan.Logits && len(one.reply) > 0 {
			if err := one.rec.pw.Logits(0, 1, one.logits); err != nil {
				return fmt.Errorf("prompt %q: %w", one.p.ID, err)
			}
		}
	}
	piece := r.c.Model.Piece()
	for lo := 0; ; lo += piece {
		list = slices.DeleteFunc(list, func(one *promptRun) bool { return len(one.reply) <= lo })
		if len(list) == 0 {
			return nil
		}
		tokens := make([][]int32, len(list))
		passes := make([]model.Pass, len(list))
		for i, one := range list {
			tokens[i] = one.reply[lo:min(lo+piece, len(one.reply))]
			passes[i] = one.followed(lo, len(tokens[i]))
			if err := one.rec.beginReply(len(tokens[i])); err != nil {
				return fmt.Errorf("prompt %q: %w", one.p.ID, err)
			}
		}
		if err := r.forward(ctx, list, tokens, passes); err != nil {
			return err
		}
		for _, one := range list {
			if err := one.rec.endReply(); err != nil {
				return fmt.Errorf("prompt %q: %w", one.p.ID, err)
			}
		}
	}
}

// followed returns the pass of n tokens of a given reply from token lo on.
func (r *promptRun) followed(lo, n int) model.Pass {
	pass := model.Pass{LogitsFrom: n, Length: 1}
	if r.c.Header.Plan.Logits {
		pass.LogitsFrom = 0
		pass.Logits = func(row int, l []float32) {
			if next := lo + row + 1; next < len(r.reply) {
				r.rec.fail(r.rec.pw.Logits(next, 1, slices.Clone(l)))
			}
		}
	}
	return pass
}

// forward records tokens[i] of list[i]: of all together if the model reads its weights
// from the file in each pass, else one after the other.
func (r *runner) forward(ctx context.Context, list []*promptRun, tokens [][]int32, passes []model.Pass) error {
	for i, one := range list {
		passes[i].Recorder = one.rec.callbacks
		if r.c.Model.Streams() {
			continue
		}
		if err := one.read(ctx, tokens[i], passes[i]); err != nil {
			return fmt.Errorf("prompt %q: %w", one.p.ID, err)
		}
	}
	if !r.c.Model.Streams() || len(list) == 0 {
		return nil
	}
	sessions := make([]*model.Session, len(list))
	counted := passed{runner: r, each: int64(r.c.Model.Config().Layers)}
	total := int64(0)
	for i, one := range list {
		sessions[i] = one.session
		one.rec.passed = func(n int) { counted.add(one.p.ID, n) }
		total += int64(len(tokens[i]))
	}
	if err := r.c.Model.ForwardAll(ctx, sessions, tokens, passes); err != nil {
		if len(list) == 1 {
			return fmt.Errorf("prompt %q: %w", list[0].p.ID, err)
		}
		return fmt.Errorf("prompt %q and %d more: %w", list[0].p.ID, len(list)-1, err)
	}
	counted.count(list[len(list)-1].p.ID, total-counted.tokens)
	for _, one := range list {
		one.rec.passed = nil
		if err := one.rec.failed(); err != nil {
			return fmt.Errorf("prompt %q: %w", one.p.ID, err)
		}
	}
	return nil
}

// passed counts tokens for the progress while all tokens pass through one layer after
// another: a token in one layer counts as 1/layers of a token.
type passed struct {
	*runner
	each   int64 // layers
	parts  int64 // tokens times layers that have not been counted
	tokens int64 // counted
}

// add counts n tokens of a prompt that have passed through a layer.
func (c *passed) add(id string, n int) {
	c.parts += int64(n)
	whole := c.parts / c.each
	c.parts -= whole * c.each
	c.count(id, whole)
}

func (c *passed) count(id string, tokens int64) {
	if tokens < 1 {
		return
	}
	c.tokens += tokens
	c.runner.tokens += tokens
	c.pace.Step(pace.Reading, tokens)
	c.report(id)
}

// read records tokens in pieces. Between pieces it reports the progress and checks
// ctx. pass.LogitsFrom counts from the first of the tokens.
func (r *promptRun) read(ctx context.Context, tokens []int32, pass model.Pass) error {
	logits := pass.Logits
	from := pass.LogitsFrom
	piece := r.c.Model.Piece()
	if pass.Length == 0 {
		pass.Length = r.session.Len() + len(tokens)
	}
	for lo := 0; lo < len(tokens); lo += piece {
		hi := min(lo+piece, len(tokens))
		pass.LogitsFrom = max(0, from-lo)
		if logits != nil {
			pass.Logits = func(row int, l []float32) { logits(lo+row, l) }
		}
		if err := r.session.Forward(ctx, tokens[lo:hi], pass); err != nil {
			return err
		}
		if err := r.rec.failed(); err != nil {
			return err
		}
		r.tokens += int64(hi - lo)
		r.pace.Step(pace.Reading, int64(hi-lo))
		r.report(r.p.ID)
	}
	return nil
}
