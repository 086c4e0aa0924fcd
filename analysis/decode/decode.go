// Package decode runs a model with compressed caches: it prefills a prompt once,
// compresses the cache as each method says, goes on from it, and compares the
// replies with those of the full cache.
//
//	err := decode.Run(ctx, decode.Config{Model: m, Prompts: list, Methods: ms, Configs: cs, MaxNewTokens: 64}, emit)
package decode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Config says what is decoded: every prompt from the full cache, and from the
// caches that every method with every config leaves.
type Config struct {
	Model        *model.Model
	Prompts      []prompts.Prompt
	Methods      []snapkv.Method
	Configs      []snapkv.Config
	MaxNewTokens int
	IgnoreEOS    bool
	FollowWhole  bool                                      // followed replies are scored whole, not cut to MaxNewTokens
	Score        string                                    // of Scores
	Lenient      bool                                      // leave out, with a warning, methods that cannot be run
	Skip         func(method string, c snapkv.Config) bool // pairs left out; may be nil
	Batch        int                                       // compressed caches that decode at once; above 1 the speed and memory of one are not known, NaN
	Encode       func(text string) []int32
	Decode       func(ids []int32) string // nil: no text, no answer scores
	Warn         func(text string)
	Progress     func(capture.Progress) // may be nil
}

// Check finds prompts and settings that cannot be run.
func (c *Config) Check() error {
	if _, err := snapkv.Entries(c.Methods, c.Configs); err != nil {
		return err
	}
	run := capture.Config{Model: c.Model, Prompts: c.Prompts, FollowWhole: c.FollowWhole}
	run.Header.Plan.MaxNewTokens = c.MaxNewTokens
	if err := run.Check(); err != nil {
		return err
	}
	most := c.Model.Config().MaxPositions
	for i := range c.Prompts { // every cache writes a reply of its own, beside the one that is followed
		if p := &c.Prompts[i]; most > 0 && len(p.Tokens)+c.MaxNewTokens > most {
			return &capture.TooLongError{ID: p.ID, Tokens: len(p.Tokens), Reply: c.MaxNewTokens, Max: most}
		}
	}
	return nil
}

// Run decodes and hands out a result for each prompt and cache, the full cache
// first.
func Run(ctx context.Context, c Config, emit func(Result) error) error {
	if err := c.Check(); err != nil {
		return err
	}
	r := newRunner(c)
	for i := range c.Prompts {
		r.total += int64(len(c.Prompts[i].Tokens)) + int64(1+len(c.Methods)*len(c.Configs))*int64(2*c.MaxNewTokens) // decoded, then scored
	}
	for i := range c.Prompts {
		p := &c.Prompts[i]
		if err := r.prompt(ctx, p, emit); err != nil {
			return fmt.Errorf("prompt %q: %w", p.ID, err)
		}
		r.done++
		r.report(p.ID)
	}
	return nil
}

type runner struct {
	Config
	entries []snapkv.Entry
	started time.Time
	done    int
	tokens  int64
	total   int64
	warned  map[string]bool
}

// newRunner makes a runner for a config that has passed Check.
func newRunner(c Config) *runner {
	entries, _ := snapkv.Entries(c.Methods, c.Configs)
	return &runner{Config: c, entries: entries, started: time.Now(), warned: map[string]bool{}}
}

func (r *runner) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !r.warned[text] && r.Warn != nil {
		r.Warn(text)
	}
	r.warned[text] = true
}

func (r *runner) report(id string) {
	if r.Progress != nil {
		r.Progress(capture.Progress{Prompt: r.done, Prompts: len(r.Prompts), ID: id, Tokens: min(r.tokens, r.total), Total: r.total, Elapsed: time.Since(r.started), Left: -1})
	}
}

// forward passes tokens on; logits, if not nil, sees every row's.
func (r *runner) forward(ctx context.Context, s *model.Session, tokens []int32, pass model.Pass) error {
	show, from := pass.Logits, pass.LogitsFrom
	piece := r.Model.Piece() // tokens between two looks at the context
	if pass.Length == 0 {
		pass.Length = s.Len() + len(tokens)
	}
	for lo := 0; lo < len(tokens); lo += piece {
		hi := min(lo+piece, len(tokens))
		pass.LogitsFrom = max(0, from-lo)
		if show != nil {
			pass.Logits = func(row int, l []float32) { show(lo+row, l) }
		}
		if err := s.Forward(ctx, tokens[lo:hi], pass); err != nil {
			return err
		}
		r.tokens += int64(hi - lo)
	}
	return nil
}

// replies is the most tokens that follow a prompt in a cache.
func (r *runner) replies(p *prompts.Prompt) int {
	n := r.MaxNewTokens
	if r.FollowWhole {
		n = max(n, len(p.Reply))
	}
	return n
}

// reference is what the full cache gave: the reply that all caches are scored
// on, and the log-probabilities of each of its tokens.
type reference struct {
	reply    []int32
	logProbs []float32 // [G, vocab]
}

func (r *runner) prompt(ctx context.Context, p *prompts.Prompt, emit func(Result) error) error {
	cfg := r.Model.Config()
	w := newWatcher(r.Model, r.entries, len(p.Tokens))
	s, first := r.Model.NewSession(), make([]float32, cfg.Vocab)
	defer s.Close()
	if err := s.Reserve(len(p.Tokens) + r.replies(p)); err != nil {
		return err
	}
	start := time.Now()
	err := r.forward(ctx, s, p.Tokens, model.Pass{LogitsFrom: len(p.Tokens) - 1, Recorder: w.recorder(), Logits: func(_ int, l []float32) { copy(first, l) }})
	if err != nil {
		return err
	}
	prefill := float64(len(p.Tokens)) / time.Since(start).Seconds()
	if slices.ContainsFunc(first, func(v float32) bool { return v != v }) {
		return errors.New("the model's logits are not numbers: the weights are damaged or overflow")
	}
	full := &cache{r: r, p: p, s: s, first: first, prompt: len(p.Tokens), watch: w}
	out := Result{ID: p.ID, Method: snapkv.Full, Capacity: len(p.Tokens), PrefillTokens: number(prefill)}
	var ref reference
	if ref.reply = p.Reply; p.Reply != nil && !r.FollowWhole {
		ref.reply = p.Reply[:min(len(p.Reply), r.MaxNewTokens)]
	}
	if err := full.measure(ctx, &ref, &out); err != nil {
		return err
	}
	if err := emit(out); err != nil {
		return err
	}
	chosen, err := w.selections(ctx, s, r.entries)
	if err != nil {
		return err
	}
	g := &company{r: r, ref: &ref, emit: emit}
	defer g.close()
	for i, e := range r.entries {
		if r.Skip != nil && r.Skip(e.Method.Name, e.Config) {
			continue
		}
		if err := r.compressed(ctx, full, e, chosen[i], prefill, g); err != nil {
			return err
		}
		chosen[i].keep = nil
	}
	return g.flush(ctx)
}

// compressed makes the cache that a method leaves and hands it to the company
// that decodes.
func (r *runner) compressed(ctx context.Context, full *cache, e snapkv.Entry, chosen selection, prefill float64, g *company) error {
	method, c := e.Method, e.Config
	out := Result{ID: full.p.ID, Method: method.Name, Capacity: c.Capacity, Window: c.Window, Kernel: c.Kernel, Pooling: c.Pooling, Group: c.Group, PrefillTokens: number(prefill)}
	s := full.s
	switch err := chosen.err; {
	case method.IgnoresCapacity:
		return nil // the reference itself
	case c.Passthrough(full.prompt):
		r.warn("prompt %q has %d tokens, fewer than capacity %d: nothing is dropped", full.p.ID, full.prompt, c.Capacity)
	case err != nil && r.Lenient:
		r.warn("%s is left out: %v", method.Name, err)
		return nil
	case err != nil:
		return err
	default:
		if s, err = s.Compress(func(layer int) ([][]int32, error) { return chosen.keep[layer], nil }); err != nil {
			return err
		}
		if err := s.Reserve(full.prompt + r.replies(full.p)); err != nil {
			s.Close()
			return err
		}
	}
	small := &cache{r: r, p: full.p, s: s, first: full.first, prompt: full.prompt}
	if s != full.s {
		small.beside = full.s.CacheBytes()
	}
	return g.add(ctx, small, out, s != full.s)
}

// cache is a session that stands at the prompt's end, and what is asked of it.
type cache struct {
	r      *runner
	p      *prompts.Prompt
	s      *model.Session
	first  []float32 // logits after the prompt
	prompt int
	watch  *watcher // of the full cache only
	beside int64    // bytes of the full cache, held for the other caches
	ids    []int32  // decoded in company already; nil: not yet
}

// measure decodes freely, then scores the reference reply and answer. Without
// a reply to follow, the full cache's own becomes the reference.
func (k *cache) measure(ctx context.Context, ref *reference, out *Result) error {
	out.CacheBytes = k.s.CacheBytes()
	var ids []int32
	var took time.Duration
	peak, err := math.NaN(), error(nil)
	if ids = k.ids; ids == nil {
		peak, err = peakMemory(func() (err error) {
			start := time.Now()
			ids, err = k.greedy(ctx)
			took = time.Since(start)
			return err
		})
	}
	if err != nil {
		return err
	}
	out.PeakBytes = number(peak - float64(k.beside))
	out.DecodeTokens = number(float64(max(0, len(ids)-1)) / max(took.Seconds(), 1e-9))
	if len(ids) < 2 || k.ids != nil {
		out.DecodeTokens = number(math.NaN())
	}
	out.OutputIDs = ids
	if k.r.Decode != nil {
		out.Text = k.r.Decode(ids)
		out.score(k.p.References, k.r.Score)
	} else {
		out.score(nil, k.r.Score)
	}
	if ref.reply == nil {
		ref.reply = ids
	}
	if err := k.follow(ctx, ref, out); err != nil {
		return err
	}
	if err := k.answer(ctx, out); err != nil {
		return err
	}
	k.r.report(k.p.ID)
	return ctx.Err()
}

// rewind drops all that followed the prompt.
func (k *cache) rewind() { k.s.Truncate(k.prompt) }

// greedy writes a reply, token by token.
func (k *cache) greedy(ctx context.Context) ([]int32, error) {
	defer k.rewind()
	cfg, sampler := k.r.Model.Config(), model.NewSampler(0, 0)
	logits, ids := slices.Clone(k.first), []int32{}
	for len(ids) < k.r.MaxNewTokens {
		next := sampler.Next(logits)
		ids = append(ids, next)
		if len(ids) == k.r.MaxNewTokens || !k.r.IgnoreEOS && slices.Contains(cfg.EOS, next) {
			break
		}
		if err := k.r.forward(ctx, k.s, []int32{next}, model.Pass{Logits: func(_ int, l []float32) { copy(logits, l) }}); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// follow runs the reference reply and compares the distributions.
func (k *cache) follow(ctx context.Context, ref *reference, out *Result) error {
	defer k.rewind()
	vocab, n := len(k.first), len(ref.reply)
	out.PPL, out.KL, out.Agreement = number(math.NaN()), number(math.NaN()), number(math.NaN())
	if n == 0 {
		return nil
	}
	reference := ref.logProbs != nil
	if !reference {
		ref.logProbs = make([]float32, n*vocab)
	}
	loss, kl, agree := 0.0, 0.0, 0
	mine := make([]float32, vocab)
	see := func(row int, l []float32) {
		logSoftmax(mine, l)
		theirs := ref.logProbs[row*vocab : (row+1)*vocab]
		if !reference {
			copy(theirs, mine)
		}
		loss -= float64(mine[ref.reply[row]])
		kl += divergence(theirs, mine)
		if best(theirs) == best(mine) {
			agree++
		}
	}
	see(0, k.first)
	pass := model.Pass{Length: 1, Logits: func(row int, l []float32) {
		if row+1 < n {
			see(row+1, l)
		}
	}}
	tokens := ref.reply[:n-1]
	if k.watch != nil && k.watch.generated != nil { // the oracle sees all of the reply's rows
		tokens, pass.Recorder = ref.reply, k.watch.replyRecorder()
	}
	if err := k.r.forward(ctx, k.s, tokens, pass); err != nil {
		return err
	}
	out.PPL, out.KL, out.Agreement = number(math.Exp(loss/float64(n))), number(kl/float64(n)), number(float64(agree)/float64(n))
	return nil
}

// answer scores the first reference answer under the cache.
func (k *cache) answer(ctx context.Context, out *Result) error {
	out.AnswerLogProb, out.AnswerRank = number(math.NaN()), number(math.NaN())
	if len(k.p.References) == 0 || k.r.Encode == nil {
		return nil
	}
	ids := k.r.Encode(k.p.References[0])
	if len(ids) == 0 {
		return nil
	}
	if room := k.r.Model.Config().MaxPositions; room > 0 && k.prompt+len(ids) > room {
		k.r.warn("prompt %q: its answer passes the model's %d positions: the first %d of its %d tokens are scored", k.p.ID, room, room-k.prompt, len(ids))
		ids = ids[:room-k.prompt]
	}
	defer k.rewind()
	sum, rank := 0.0, 0.0
	mine := make([]float32, len(k.first))
	see := func(row int, l []float32) {
		logSoftmax(mine, l)
		v := mine[ids[row]]
		sum += float64(v)
		for _, other := range mine {
			if other > v {
				rank++
			}
		}
		rank++
	}
	see(0, k.first)
	err := k.r.forward(ctx, k.s, ids[:len(ids)-1], model.Pass{Length: 1, Logits: func(row int, l []float32) { see(row+1, l) }})
	out.AnswerLogProb, out.AnswerRank = number(sum), number(rank/float64(len(ids)))
	return err
}
