package capture

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/pace"
)

// together reports whether several replies may be decoded together.
func (r *runner) together() bool { return r.c.Batch > 1 }

// makeRoom decodes until the batch has room for another reply.
func (r *runner) makeRoom(ctx context.Context) error {
	for r.replies.Full() {
		if err := r.decode(ctx); err != nil {
			return err
		}
	}
	return nil
}

// decodeAll decodes until all replies of the batch have ended.
func (r *runner) decodeAll(ctx context.Context) error {
	for r.replies.Len() > 0 {
		if err := r.decode(ctx); err != nil {
			return err
		}
	}
	return nil
}

// afterOthers returns the error of a prompt that could not be read. First it finishes the
// prompts before it whose replies are being decoded, unless nothing can be run or written
// any more: they would fail to be recorded in every run of the set.
func (r *runner) afterOthers(ctx context.Context, err error) error {
	if ctx.Err() == nil && r.w.Failed() == nil { // the first error is the cause
		_ = r.readWaiting(ctx)
		_ = r.decodeAll(ctx)
	}
	return err
}

// decode records one token of each reply of the batch, and finishes the prompts whose
// replies have ended.
func (r *runner) decode(ctx context.Context) error {
	start := time.Now()
	list := r.replies.List()
	first := list[0].(*promptRun).p.ID
	if err := r.replies.Step(ctx); err != nil {
		var own *replyError
		if errors.As(err, &own) {
			return err
		}
		if len(list) == 1 {
			return fmt.Errorf("prompt %q: %w", first, err)
		}
		return fmt.Errorf("prompt %q and %d more: %w", first, len(list)-1, err)
	}
	r.summary.ReplyTime += time.Since(start)
	r.tokens += int64(len(list))
	r.pace.Step(pace.Generating, int64(len(list)))
	r.report(first)
	ended := r.ended
	r.ended = nil
	for i, one := range ended {
		if err := one.finish(); err != nil {
			r.ended = ended[i+1:]
			return fmt.Errorf("prompt %q: %w", one.p.ID, err)
		}
	}
	return nil
}

// abandon releases the prompts that were under way when a run failed.
func (r *runner) abandon() {
	for _, one := range slices.Concat(r.waiting, r.ended) {
		one.release()
	}
	for _, one := range r.replies.List() {
		one.(*promptRun).release()
	}
}

// Session returns the sequence that the reply is appended to.
func (r *promptRun) Session() *model.Session { return r.session }

// replyError is an error of one reply of a batch.
type replyError struct {
	id  string // of the prompt
	err error
}

func (e *replyError) Error() string { return fmt.Sprintf("prompt %q: %v", e.id, e.err) }

func (e *replyError) Unwrap() error { return e.err }

// Next chooses the next token of the reply. Every token is run, even the last one, so
// that each has a row.
func (r *promptRun) Next() (int32, model.Pass, error) {
	token, pass, err := r.next()
	if err != nil {
		return 0, pass, &replyError{r.p.ID, err}
	}
	return token, pass, nil
}

func (r *promptRun) next() (int32, model.Pass, error) {
	none := model.Pass{}
	if err := r.checkLogits(); err != nil {
		return 0, none, err
	}
	if r.c.Header.Plan.Logits {
		if err := r.rec.pw.Logits(len(r.reply), 1, r.logits); err != nil {
			return 0, none, err
		}
	}
	next := r.sampler.Next(r.logits)
	r.reply = append(r.reply, next)
	if err := r.rec.beginReply(1); err != nil {
		return 0, none, err
	}
	pass := model.Pass{LogitsFrom: 1, Recorder: r.rec.callbacks}
	if !r.last() {
		pass.LogitsFrom = 0
		pass.Logits = func(_ int, l []float32) { copy(r.logits, l) }
	}
	return next, pass, nil
}

// checkLogits returns an error if a logit of the last token is not a number.
func (r *promptRun) checkLogits() error {
	if at := firstNaN(r.logits); at >= 0 {
		return fmt.Errorf("logit %d at position %d is not a number: the weights are damaged or overflow in this arithmetic",
			at, r.session.Len())
	}
	return nil
}

// last reports whether the reply ends with its last token.
func (r *promptRun) last() bool {
	if len(r.reply) == r.room {
		return true
	}
	return !r.c.Header.Plan.IgnoreEOS && slices.Contains(r.c.Model.Config().EOS, r.reply[len(r.reply)-1])
}

// Appended completes the row of the token that was appended.
func (r *promptRun) Appended() (more bool, err error) {
	if err := r.rec.endReply(); err != nil {
		return false, &replyError{r.p.ID, err}
	}
	if r.last() {
		r.ended = append(r.ended, r)
		return false, nil
	}
	return true, nil
}
