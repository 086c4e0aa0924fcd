package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// Config says what to record.
type Config struct {
	Model   *model.Model
	Prompts []prompts.Prompt // the whole set, also where Mine takes a part of it
	Mine    func(i int) bool // which prompts of the set to record; nil = all
	Out     string           // path of the dump
	Header  dumps.Header     // model, plan and manifest; Plan as Plan makes it
	Force   bool             // replace an existing dump
	Resume  bool             // go on with a partial one
	// FollowWhole records followed replies whole; otherwise they are cut to
	// Plan.MaxNewTokens.
	FollowWhole bool
	Progress    func(Progress) // called now and then, and at each prompt's end; may be nil
	Warn        func(string)   // told what is wrong with a partial dump; may be nil

	wrap   func(*os.File) dumps.File // tests make writes fail
	floats bool                      // tests have a card hand out rows as float32 and sums in fixed point whatever the precision
}

// Progress tells how far a run is.
type Progress struct {
	Prompt, Prompts int    // prompts done, and to do in all
	ID              string // prompt under way
	Tokens, Total   int64  // tokens through the model, and in all (an upper bound: replies may end early)
	Elapsed         time.Duration
	Rate            float64       // tokens a second of this run, without those of a resumed one; 0: not known
	Left            time.Duration // to the end, about; negative: not known
	Bytes           int64         // of the dump so far; 0: none is written
}

// Summary tells what a run did.
type Summary struct {
	Prompts, Resumed       int
	PromptTokens, Replies  int64
	PrefillTime, ReplyTime time.Duration
	SharedTokens           int64 // prompt tokens read once for several prompts
}

// TooLongError says that a prompt does not fit the model.
type TooLongError struct {
	ID                 string
	Tokens, Reply, Max int
}

func (e *TooLongError) Error() string {
	if e.Tokens > e.Max {
		return fmt.Sprintf("prompt %q: %d tokens, the model takes %d", e.ID, e.Tokens, e.Max)
	}
	return fmt.Sprintf("prompt %q: %d tokens and a reply of %d pass the model's %d positions", e.ID, e.Tokens, e.Reply, e.Max)
}

// Hint says what to do about it.
func (e *TooLongError) Hint() string {
	if e.Tokens > e.Max {
		return fmt.Sprintf("cut it with --max-prompt-tokens %d --truncate middle, or leave it out", max(1, e.Max-e.Reply))
	}
	return fmt.Sprintf("ask for fewer with --max-new-tokens %d, or cut the prompt with --max-prompt-tokens %d --truncate middle", e.Max-e.Tokens, max(1, e.Max-e.Reply))
}

// replyRoom is the most reply tokens of a prompt.
func (c *Config) replyRoom(p *prompts.Prompt) int {
	if p.Reply == nil {
		return c.Header.Plan.MaxNewTokens
	}
	if c.FollowWhole {
		return len(p.Reply)
	}
	return min(len(p.Reply), c.Header.Plan.MaxNewTokens)
}

// tokens of a prompt: those that are read, in the prompt and in a reply that is
// followed, and those that are generated.
func (c *Config) tokens(p *prompts.Prompt) (read, generated int64) {
	if p.Reply != nil {
		return int64(len(p.Tokens) + c.replyRoom(p)), 0
	}
	return int64(len(p.Tokens)), int64(c.replyRoom(p))
}

// Check finds the prompts that cannot be run, before anything is.
func (c *Config) Check() error {
	cfg := c.Model.Config()
	if len(c.Prompts) == 0 {
		return errors.New("no prompts")
	}
	for i := range c.Prompts {
		p := &c.Prompts[i]
		if len(p.Tokens) == 0 {
			return fmt.Errorf("prompt %q is empty: a prompt needs at least one token", p.ID)
		}
		for at, id := range p.Tokens {
			if id < 0 || int(id) >= cfg.Vocab {
				return fmt.Errorf("prompt %q: token %d is %d, the model's vocabulary has %d", p.ID, at, id, cfg.Vocab)
			}
		}
		for at, id := range p.Reply {
			if id < 0 || int(id) >= cfg.Vocab {
				return fmt.Errorf("prompt %q: reply token %d is %d, the model's vocabulary has %d", p.ID, at, id, cfg.Vocab)
			}
		}
		reply := c.replyRoom(p)
		if cfg.MaxPositions > 0 && len(p.Tokens)+reply > cfg.MaxPositions {
			return &TooLongError{p.ID, len(p.Tokens), reply, cfg.MaxPositions}
		}
	}
	return nil
}

// Run records the prompts into c.Out. On failure or cancellation the prompts
// done so far stay readable in c.Out + ".partial".
func Run(ctx context.Context, c Config) (Summary, error) {
	if err := c.Check(); err != nil {
		return Summary{}, err
	}
	r := &runner{c: &c, started: time.Now()}
	ids := []string{} // not nil: all that the dump is to have
	for i := range c.Prompts {
		if c.Mine != nil && !c.Mine(i) {
			continue
		}
		p := &c.Prompts[i]
		ids = append(ids, p.ID)
		r.total += int64(len(p.Tokens) + c.replyRoom(p))
		r.pace.plan(c.tokens(p))
	}
	r.todo = len(ids)
	var err error
	if r.w, err = dumps.Create(c.Out, &c.Header, dumps.CreateOptions{Force: c.Force, Resume: c.Resume, Prompts: ids, Wrap: c.wrap}); err != nil {
		return Summary{}, err
	}
	w := r.w
	for _, text := range w.Warnings() {
		if c.Warn != nil {
			c.Warn(text)
		}
	}
	r.pace.start()
	if err := r.all(ctx); err != nil {
		return r.summary, errors.Join(err, w.Abort())
	}
	return r.summary, w.Close()
}

// runner is one run under way.
type runner struct {
	c       *Config
	w       *dumps.Writer
	started time.Time
	todo    int
	done    int
	tokens  int64
	total   int64
	pace    pace
	summary Summary
}

// all runs the prompts, those that share a document one after another from
// the document's cache.
func (r *runner) all(ctx context.Context) error {
	list := r.c.Prompts
	for lo := 0; lo < len(list); {
		hi := lo + 1
		for hi < len(list) && list[lo].Document != "" && list[hi].Document == list[lo].Document {
			hi++
		}
		if err := r.group(ctx, lo, hi); err != nil {
			return err
		}
		lo = hi
	}
	return nil
}

// group runs the prompts [lo, hi), which share a document if they are several.
func (r *runner) group(ctx context.Context, lo, hi int) error {
	shared := 0
	if hi-lo > 1 { // decided by the whole group, so that shards and resumed runs compute the same
		shared = r.sharedTokens(r.c.Prompts[lo:hi])
	}
	var doc *document
	defer func() {
		if doc != nil {
			doc.session.Close()
		}
	}()
	for i := lo; i < hi; i++ {
		p := &r.c.Prompts[i]
		if r.c.Mine != nil && !r.c.Mine(i) {
			continue
		}
		if r.w.Done(p.ID) {
			r.summary.Resumed++
			r.pace.skip(r.c.tokens(p))
			r.finished(p, int64(len(p.Tokens)+r.c.replyRoom(p)))
			continue
		}
		if shared > 0 && doc == nil {
			var err error
			if doc, err = r.readDocument(ctx, p, shared); err != nil {
				return fmt.Errorf("prompt %q: %w", p.ID, err)
			}
		} else if doc != nil {
			r.summary.SharedTokens += int64(shared)
			r.tokens += int64(shared)
			r.pace.skip(int64(shared), 0)
		}
		if err := r.prompt(ctx, p, doc); err != nil {
			return fmt.Errorf("prompt %q: %w", p.ID, err)
		}
	}
	return nil
}

// sharedTokens is how many leading tokens all prompts of a group have in
// common, less the rows that each records for itself.
func (r *runner) sharedTokens(group []prompts.Prompt) int {
	common := len(group[0].Tokens)
	plan, rope := &r.c.Header.Plan, r.c.Model.Config().Rope
	if plan.Overview > 0 {
		return 0 // a picture of the whole map is scaled to its own prompt
	}
	for i := range group {
		tokens := group[i].Tokens
		n := 0
		for n < min(common, len(tokens)) && tokens[n] == group[0].Tokens[n] {
			n++
		}
		if rope.Varies(len(tokens)) {
			return 0 // the document turns otherwise in each prompt
		}
		own := max(plan.WindowRows, windowCount(plan, len(tokens))*plan.PromptWindowSize, 1)
		common = min(n, len(tokens)-own)
		if common < minShared {
			return 0
		}
	}
	return common
}

// minShared is the shortest shared document worth a separate pass.
const minShared = 64

func (r *runner) finished(p *prompts.Prompt, tokens int64) {
	r.done++
	r.tokens += tokens
	r.report(p.ID)
}

func (r *runner) report(id string) {
	if r.c.Progress != nil {
		rate, left := r.pace.left()
		r.c.Progress(Progress{r.done, r.todo, id, r.tokens, r.total, time.Since(r.started), rate, left, r.w.Bytes()})
	}
}
