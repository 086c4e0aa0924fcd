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
	"github.com/attnscope/attnscope/internal/pace"
	"github.com/attnscope/attnscope/internal/words"
)

// Config says what Run records.
type Config struct {
	Model   *model.Model
	Prompts []prompts.Prompt // the whole set, even if Mine selects a part of it
	Mine    func(i int) bool // reports whether prompt i of the set is recorded; nil: all are
	Out     string           // path of the dump
	Header  dumps.Header     // as NewHeader returns it
	Kernel  string           // what computes the numbers, as Source.Kernel tells; empty: not recorded
	Force   bool             // replace an existing dump
	Resume  bool             // continue an incomplete dump
	// Batch is the largest number of replies that are decoded together, each with a cache
	// of its own; less than 2 means one. The numbers of a prompt do not depend on it.
	// Above 1, the file has the prompts in the order in which their replies end, and the
	// blocks of a prompt stay in memory until its reply ends. A card is no faster with
	// it. If the model reads weights from the file in each pass, as many prompts are also
	// read together.
	Batch int
	// FollowWhole records given replies as a whole. Otherwise they are cut to
	// Plan.MaxNewTokens.
	FollowWhole bool
	Progress    func(Progress) // called during the run and at the end of each prompt; may be nil
	Warn        func(string)   // receives the problems of an incomplete dump; may be nil

	wrap   func(*os.File) dumps.File // tests make writes fail
	floats bool                      // tests make a card deliver float32 rows and exact sums at every precision
}

// Progress says how far a run has come.
type Progress struct {
	Prompt, Prompts int    // prompts done, and all prompts
	ID              string // of the current prompt
	Place           int    // of the current prompt among all, from 1; 0: prompts run one after the other
	Tokens, Total   int64  // tokens done, and an upper bound of all tokens: replies may end early
	Elapsed         time.Duration
	Rate            float64       // tokens per second in this run; 0: not known yet
	Left            time.Duration // estimate of the remaining time; negative: not known yet
	Bytes           int64         // size of the dump so far
}

// Summary says what a run did.
type Summary struct {
	Prompts      int // recorded by this run
	Resumed      int // recorded by an earlier one
	PromptTokens int64
	Replies      int64 // tokens of all replies
	PrefillTime  time.Duration
	ReplyTime    time.Duration
	SharedTokens int64 // prompt tokens that were not run again, because an earlier prompt begins with them
}

// TooLongError says that a prompt and its reply are too long for the model.
type TooLongError struct {
	ID            string
	Tokens, Reply int // of the prompt and of its reply
	Max           int // positions of the model
}

func (e *TooLongError) Error() string {
	if e.Tokens > e.Max {
		return fmt.Sprintf("prompt %q: %s, the model takes %d", e.ID, words.Count(e.Tokens, "token"), e.Max)
	}
	return fmt.Sprintf("prompt %q: %s and a reply of %d exceed the model's %d positions",
		e.ID, words.Count(e.Tokens, "token"), e.Reply, e.Max)
}

// Hint says how the user can avoid the error.
func (e *TooLongError) Hint() string {
	longest := max(1, e.Max-e.Reply)
	if e.Tokens > e.Max {
		return fmt.Sprintf("cut it with --max-prompt-tokens %d --truncate middle, or leave it out", longest)
	}
	return fmt.Sprintf("ask for fewer tokens with --max-new-tokens %d, or cut the prompt with --max-prompt-tokens %d --truncate middle",
		e.Max-e.Tokens, longest)
}

// ReplyRoom returns the largest number of reply tokens of a prompt.
func (c *Config) ReplyRoom(p *prompts.Prompt) int {
	if p.Reply == nil {
		return c.Header.Plan.MaxNewTokens
	}
	if c.FollowWhole {
		return len(p.Reply)
	}
	return min(len(p.Reply), c.Header.Plan.MaxNewTokens)
}

// tokens returns how many tokens of a prompt and its given reply are read, and how
// many are generated at most.
func (c *Config) tokens(p *prompts.Prompt) (read, generated int64) {
	if p.Reply != nil {
		return int64(len(p.Tokens) + c.ReplyRoom(p)), 0
	}
	return int64(len(p.Tokens)), int64(c.ReplyRoom(p))
}

// Check reports the first prompt that a model of this configuration cannot run. For a
// prompt that is too long, the error is a *TooLongError. The model need not be loaded.
func (c *Config) Check(cfg *model.Config) error {
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
		reply := c.ReplyRoom(p)
		if cfg.MaxPositions > 0 && len(p.Tokens)+reply > cfg.MaxPositions {
			return &TooLongError{p.ID, len(p.Tokens), reply, cfg.MaxPositions}
		}
	}
	return nil
}

// CheckOutput returns the error that Run would return because of the files at c.Out, and
// changes none of them. If the dump is already complete, it is dumps.ErrComplete.
func (c *Config) CheckOutput() error { return dumps.CheckCreate(c.Out, &c.Header, c.createOptions()) }

// createOptions says how the dump is created, with the ids of all prompts that it will
// have.
func (c *Config) createOptions() dumps.CreateOptions {
	ids := []string{} // not nil even if there are none
	for i := range c.Prompts {
		if c.mine(i) {
			ids = append(ids, c.Prompts[i].ID)
		}
	}
	return dumps.CreateOptions{Force: c.Force, Resume: c.Resume, Prompts: ids, Kernel: c.Kernel, Wrap: c.wrap}
}

// Run records the prompts into the dump at c.Out. While it runs, and after an error or
// a cancellation, the finished prompts are in c.Out + ".partial", which can be read
// and resumed. If the dump is already complete, the error is dumps.ErrComplete.
func Run(ctx context.Context, c Config) (Summary, error) {
	cfg := c.Model.Config()
	if err := c.Check(&cfg); err != nil {
		return Summary{}, err
	}
	r := &runner{c: &c, started: time.Now(), replies: c.Model.NewReplies(c.Batch), places: map[string]int{}}
	options := c.createOptions()
	for i, id := range options.Prompts {
		r.places[id] = i + 1
	}
	for i := range c.Prompts {
		if !c.mine(i) {
			continue
		}
		p := &c.Prompts[i]
		r.total += int64(len(p.Tokens) + c.ReplyRoom(p))
		r.pace.Plan(c.tokens(p))
	}
	r.todo = len(options.Prompts)
	w, err := dumps.Create(c.Out, &c.Header, options)
	if err != nil {
		return Summary{}, err
	}
	r.w = w
	for _, text := range w.Warnings() {
		if c.Warn != nil {
			c.Warn(text)
		}
	}
	r.pace.Start()
	if err := r.all(ctx); err != nil {
		r.abandon()
		return r.summary, errors.Join(err, w.Abort())
	}
	return r.summary, w.Close()
}

func (c *Config) mine(i int) bool { return c.Mine == nil || c.Mine(i) }

// runner is the state of a call of Run.
type runner struct {
	c       *Config
	w       *dumps.Writer
	started time.Time
	waiting []*promptRun   // prompts that are going to be read together
	replies *model.Replies // of prompts that have been read
	ended   []*promptRun   // prompts whose replies have just ended
	places  map[string]int // of the prompts by id, from 1
	todo    int            // prompts
	done    int
	total   int64 // tokens
	tokens  int64
	pace    pace.Pace
	summary Summary
}

// all runs the prompts in order: it reads a prompt as soon as its reply has room in the
// batch or, if weights are read from the file in each pass, as many prompts together as
// there is room for. Consecutive prompts that name the same document form a group, which
// can share the cache of the document.
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
	if err := r.readWaiting(ctx); err != nil {
		return r.afterOthers(ctx, err)
	}
	return r.decodeAll(ctx)
}

// group runs the prompts [lo, hi) of one document.
func (r *runner) group(ctx context.Context, lo, hi int) error {
	shared := 0
	if hi-lo > 1 { // depends on the whole group, so that shards and resumed runs compute the same numbers
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
		if !r.c.mine(i) {
			continue
		}
		if r.w.Done(p.ID) {
			r.summary.Resumed++
			r.pace.Skip(r.c.tokens(p))
			r.finished(p, int64(len(p.Tokens)+r.c.ReplyRoom(p)))
			continue
		}
		if err := r.makeRoom(ctx); err != nil {
			return err
		}
		if shared > 0 && doc == nil {
			var err error
			if doc, err = r.readDocument(ctx, p, shared); err != nil {
				return r.afterOthers(ctx, err)
			}
		} else if doc != nil {
			r.summary.SharedTokens += int64(shared)
			r.tokens += int64(shared)
			r.pace.Skip(int64(shared), 0)
		}
		if err := r.prompt(ctx, p, doc); err != nil {
			return r.afterOthers(ctx, err)
		}
	}
	if doc != nil && !r.together() { // the last prompt uses the document's cache
		return r.decodeAll(ctx)
	}
	return nil
}

// minShared is the smallest number of common tokens that is worth a pass of its own.
const minShared = 64

// sharedTokens returns how many leading tokens all prompts of a group have in
// common, without the rows that each prompt records for itself; 0 if nothing is
// shared.
func (r *runner) sharedTokens(group []prompts.Prompt) int {
	plan := &r.c.Header.Plan
	rope := r.c.Model.Config().Rope
	if plan.Overview > 0 {
		return 0 // a picture of the whole map is scaled to its own prompt
	}
	common := len(group[0].Tokens)
	for i := range group {
		tokens := group[i].Tokens
		if rope.Varies(len(tokens)) || rope.Restarts(len(tokens), r.c.ReplyRoom(&group[i])) {
			return 0 // the document is rotated differently in each prompt
		}
		n := 0
		for n < min(common, len(tokens)) && tokens[n] == group[0].Tokens[n] {
			n++
		}
		own := max(plan.WindowRows, plan.Windows(len(tokens))*plan.PromptWindowSize, 1)
		common = min(n, len(tokens)-own)
		if common < minShared {
			return 0
		}
	}
	return common
}

// finished counts a prompt as done, along with its tokens that have not been counted
// yet.
func (r *runner) finished(p *prompts.Prompt, tokens int64) {
	r.done++
	r.tokens += tokens
	r.report(p.ID)
}

func (r *runner) report(id string) {
	if r.c.Progress == nil {
		return
	}
	rate, left := r.pace.Left()
	r.c.Progress(Progress{
		Prompt: r.done, Prompts: r.todo, ID: id, Place: r.places[id], Tokens: r.tokens, Total: r.total,
		Elapsed: time.Since(r.started), Rate: rate, Left: left, Bytes: r.w.Bytes(),
	})
}
