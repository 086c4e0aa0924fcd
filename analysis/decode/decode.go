package decode

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// Run decodes and calls emit with a result for each prompt and cache: prompt by prompt,
// the full cache first, then method by method in the order of the configs. An error of
// emit ends the run. A prompt that passes through has the results of the full cache, with
// a warning.
func Run(ctx context.Context, c Config, emit func(Result) error) error {
	cfg := c.Model.Config()
	c = c.WithoutUnusable(&cfg)
	if err := c.Check(&cfg); err != nil {
		return err
	}
	r := newRunner(c)
	for i := range c.Prompts {
		p := &c.Prompts[i]
		forms := c.Forms(&cfg, p)
		r.total += int64(len(p.Tokens)) + int64(1+len(forms))*int64(2*c.MaxNewTokens) // decoded, then scored
		for _, capacity := range r.sharing(forms, p) {
			r.short[capacity]++
		}
	}
	for _, capacity := range slices.Sorted(maps.Keys(r.short)) {
		if n := r.short[capacity]; n > 1 {
			r.warn("%d of %d prompts have fewer tokens than capacity %d: nothing of them is dropped", n, len(c.Prompts), capacity)
		}
	}
	return r.run(ctx, emit)
}

// sharing lists the capacities at which forms of a prompt share the full cache.
func (r *runner) sharing(forms []Form, p *prompts.Prompt) []int {
	var list []int
	for i := range forms {
		if r.shares(&forms[i], p) && !slices.Contains(list, forms[i].Config.Capacity) {
			list = append(list, forms[i].Config.Capacity)
		}
	}
	return list
}

// shares reports whether a form of a prompt is its full cache, because nothing is dropped or
// changed, before or during the reply.
func (r *runner) shares(e *Form, p *prompts.Prompt) bool {
	changes := r.DecodeEvery > 0 || r.Place == AtContext || e.Format.Bits > 0
	return !changes && !e.Method.IgnoresCapacity && e.Config.Passthrough(len(p.Tokens))
}

// run reads prompts while the batch has room for their full caches. A prompt whose full
// cache has been measured is compressed, in the order of the prompts, and its compressed
// caches join the batch; then its full cache is closed.
func (r *runner) run(ctx context.Context, emit func(Result) error) error {
	b := newBatch(r, emit)
	defer b.close()
	defer r.dropContext()
	next := 0
	for next < len(r.Prompts) || len(b.open) > 0 {
		switch {
		case len(b.open) > 0 && b.open[0].members[0].done:
			g := b.open[0]
			if err := r.compressAll(ctx, g, b); err != nil {
				return fmt.Errorf("prompt %q: %w", g.prompt.ID, err)
			}
		case next < len(r.Prompts) && len(b.open) < r.FullCaches() && !b.replies.Full():
			p := &r.Prompts[next]
			next++
			if err := r.start(ctx, p, b); err != nil {
				return fmt.Errorf("prompt %q: %w", p.ID, err)
			}
		default:
			if err := b.step(ctx); err != nil {
				return err
			}
		}
	}
	return b.flush(ctx)
}

// runner holds the state of a run.
type runner struct {
	Config
	started time.Time
	done    int   // prompts
	tokens  int64 // run through the model
	total   int64 // expected tokens
	warned  map[string]bool
	large   map[largeKey]bool // that warnLarge has warned about
	short   map[int]int       // prompts that share the full cache, by capacity
	context *cache            // the context of the last prompt, if the next one has the same; or nil
}

// newRunner returns a runner for a config that has passed Check.
func newRunner(c Config) *runner {
	return &runner{
		Config:  c,
		started: time.Now(),
		warned:  map[string]bool{},
		large:   map[largeKey]bool{},
		short:   map[int]int{},
	}
}

// warn passes a warning on unless it was given before.
func (r *runner) warn(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !r.warned[text] && r.Warn != nil {
		r.Warn(text)
	}
	r.warned[text] = true
}

func (r *runner) report(id string) {
	if r.Progress == nil {
		return
	}
	r.Progress(capture.Progress{
		Prompt: r.done, Prompts: len(r.Prompts), ID: id,
		Tokens: min(r.tokens, r.total), Total: r.total,
		Elapsed: time.Since(r.started), Left: -1,
	})
}

// formsOf returns the forms of a prompt, and their entries.
func (r *runner) formsOf(p *prompts.Prompt) ([]Form, []snapkv.Entry) {
	cfg := r.Model.Config()
	forms := r.Forms(&cfg, p)
	entries := make([]snapkv.Entry, len(forms))
	for i, f := range forms {
		entries[i] = f.Entry
	}
	return forms, entries
}

// forward runs tokens in pieces, so that it ends soon after the context is canceled.
// Rows of pass.Logits and pass.LogitsFrom count from the first of the tokens.
func (r *runner) forward(ctx context.Context, s *model.Session, tokens []int32, pass model.Pass) error {
	show := pass.Logits
	from := pass.LogitsFrom
	piece := r.Model.Piece()
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

// longestReply returns the largest number of tokens that may follow a prompt in a
// cache.
func (r *runner) longestReply(p *prompts.Prompt) int {
	n := r.MaxNewTokens
	if r.FollowWhole {
		n = max(n, len(p.Reply))
	}
	return n
}

// prefill runs a prompt and returns the full cache. The caller closes its session.
func (r *runner) prefill(ctx context.Context, p *prompts.Prompt) (*cache, error) {
	_, entries := r.formsOf(p)
	full := &cache{
		runner:  r,
		prompt:  p,
		session: r.Model.NewSession(),
		first:   make([]float32, r.Model.Config().Vocab),
		record:  newRecord(r.Model, entries, r.compressed(p)),
	}
	if err := full.session.Reserve(len(p.Tokens) + r.longestReply(p)); err != nil {
		full.session.Close()
		return nil, err
	}
	start := time.Now()
	head := r.compressed(p)
	pass := model.Pass{
		Recorder: full.record.recorder(), LogitsFrom: len(p.Tokens) - 1, Length: len(p.Tokens),
		Logits: func(_ int, l []float32) { copy(full.first, l) },
	}
	known, err := r.reuseContext(full)
	if err == nil && !known {
		if err = r.forward(ctx, full.session, p.Tokens[:head], pass); err == nil {
			err = r.keepContext(full)
		}
	}
	if err == nil && head < len(p.Tokens) {
		pass.Recorder = nil
		pass.LogitsFrom -= head
		err = r.forward(ctx, full.session, p.Tokens[head:], pass)
	}
	took := time.Since(start)
	if err == nil && slices.ContainsFunc(full.first, func(v float32) bool { return v != v }) {
		err = errors.New("the model's logits are not numbers: the weights are damaged or overflow")
	}
	if err != nil {
		full.session.Close()
		return nil, err
	}
	full.session.Mark()
	full.bytes = full.session.CacheBytes()
	full.prefillSpeed = float64(len(p.Tokens)) / took.Seconds()
	if known {
		full.prefillSpeed = math.NaN() // only a part of the prompt was read
	}
	return full, nil
}

// start runs a prompt and adds its full cache to the batch.
func (r *runner) start(ctx context.Context, p *prompts.Prompt, b *batch) error {
	full, err := r.prefill(ctx, p)
	if err != nil {
		return err
	}
	g := &group{prompt: p, full: full}
	g.ref.reply = p.Reply
	if p.Reply != nil && !r.FollowWhole {
		g.ref.reply = p.Reply[:min(len(p.Reply), r.MaxNewTokens)]
	}
	return b.addFull(ctx, g, Result{
		ID: p.ID, Dataset: p.Dataset, Method: snapkv.Full, Capacity: len(p.Tokens),
		PrefillTokens: Float(full.prefillSpeed), CacheRatio: 1,
	})
}

// compressAll adds the compressed caches of a prompt, whose full cache has been measured,
// to the batch, and closes the full cache.
func (r *runner) compressAll(ctx context.Context, g *group, b *batch) error {
	if r.compressed(g.prompt) < len(g.prompt.Tokens) {
		if err := r.cutToContext(ctx, g); err != nil {
			return err
		}
	}
	forms, entries := r.formsOf(g.prompt)
	selections, err := g.full.record.selectAll(ctx, g.full.session, entries)
	if err != nil {
		return err
	}
	for i, e := range forms {
		if r.Skip != nil && r.Skip(e.Method.Name, e.Config) {
			continue
		}
		if err := r.compress(ctx, g, e, selections[i], b); err != nil {
			return err
		}
		selections[i].keep = nil // not needed any more
	}
	return b.complete(g)
}

// quantizeFull quantizes a copy of the full cache and adds it to the batch.
func (r *runner) quantizeFull(ctx context.Context, g *group, f model.CacheFormat, b *batch) error {
	p := g.prompt
	s, err := g.full.session.Copy(r.compressed(p), len(p.Tokens)+r.longestReply(p))
	if err != nil {
		return err
	}
	k := &cache{runner: r, prompt: p, session: s, first: g.full.first, otherBytes: g.full.bytes}
	out := Result{
		ID: p.ID, Dataset: p.Dataset, Method: snapkv.Full, Capacity: len(p.Tokens),
		PrefillTokens: Float(g.full.prefillSpeed),
	}
	return r.hold(ctx, g, k, f, out, b)
}

// hold quantizes a cache, if its format says so, and adds it to the batch.
func (r *runner) hold(ctx context.Context, g *group, k *cache, f model.CacheFormat, out Result, b *batch) error {
	if f.Bits > 0 {
		if err := k.session.Quantize(f); err != nil {
			k.close()
			return err
		}
		out.KVBits = f.Bits
		r.warnResidual(g.prompt, f)
	}
	if err := r.ask(ctx, k); err != nil {
		k.close()
		return err
	}
	k.session.Mark()
	out.CacheRatio = Float(float64(k.session.CacheBytes()) / float64(g.full.bytes))
	if r.Place == AtContext {
		out.CompressAt = AtContext
	}
	r.warnLarge(g.prompt, &out)
	return b.add(ctx, g, k, out)
}

// compress makes the compressed cache of a form and adds it to the batch.
func (r *runner) compress(ctx context.Context, g *group, e Form, chosen selection, b *batch) error {
	c := e.Config
	full := g.full
	p := g.prompt
	out := Result{
		ID: p.ID, Dataset: p.Dataset, Method: e.Method.Name, Capacity: c.Capacity, Window: c.Window, Kernel: c.Kernel,
		Pooling: c.Pooling, Group: c.Group, Budget: e.Budget, PrefillTokens: Float(full.prefillSpeed),
		DecodeEvery: r.DecodeEvery,
	}
	switch {
	case e.Method.IgnoresCapacity:
		return r.quantizeFull(ctx, g, e.Format, b)
	case r.shares(&e, p):
		if r.short[c.Capacity] == 1 { // else Run has warned
			r.warn("prompt %q has %d tokens, fewer than capacity %d: nothing is dropped", p.ID, len(p.Tokens), c.Capacity)
		}
		out.CacheRatio = 1
		same := &cache{runner: r, prompt: p, session: full.session, first: full.first, ids: full.ids}
		return b.addShared(ctx, g, same, out)
	case c.Passthrough(full.record.prompt):
		chosen.keep = full.record.everything()
	case chosen.err != nil && r.Lenient:
		r.warn("%s is left out: %v", e.Method.Name, chosen.err)
		return nil
	case chosen.err != nil:
		return chosen.err
	}
	s, err := full.session.Compress(func(layer int) ([][]int32, error) { return chosen.keep[layer], nil })
	if err != nil {
		return err
	}
	k := &cache{runner: r, prompt: p, session: s, first: full.first, otherBytes: full.bytes}
	if r.DecodeEvery > 0 {
		for _, kept := range chosen.keep {
			err = cmp.Or(err, e.Method.CheckEqual(kept))
		}
		if err != nil {
			s.Close()
			return err
		}
		k.base = s
		k.eviction = newEviction(full.record, e.Entry, r.DecodeEvery, chosen)
		k.otherBytes += s.CacheBytes()
		err = k.restart()
	} else {
		err = s.Reserve(len(p.Tokens) + r.longestReply(p))
	}
	if err != nil {
		k.close()
		return err
	}
	return r.hold(ctx, g, k, e.Format, out, b)
}

// warnResidual warns about a format that quantizes no position of a prompt.
func (r *runner) warnResidual(p *prompts.Prompt, f model.CacheFormat) {
	if n := r.compressed(p); n <= f.Residual {
		r.warn("nothing is quantized in prompt %q: all %d positions are among the last %d (--kv-residual)",
			p.ID, n, f.Residual)
	}
}

// warnLarge warns about a selection that takes more memory than the full cache, once per
// capacity and group.
func (r *runner) warnLarge(p *prompts.Prompt, out *Result) {
	key := largeKey{out.Capacity, out.Group}
	if out.CacheRatio <= 1 || out.Method == snapkv.Full || r.large[key] {
		return
	}
	r.large[key] = true
	advice := "choose a smaller --capacity"
	if c := r.Model.Config(); !out.Group.Merges() && c.Heads > c.KVHeads {
		advice = fmt.Sprintf("each of the %d query heads keeps positions of its own, where the full cache has %d kv heads; "+
			"choose --group mean or a smaller --capacity", c.Heads, c.KVHeads)
	}
	r.warn("prompt %q: the cache of %s at capacity %d takes %.3g times the memory of the full cache: %s",
		p.ID, out.Method, out.Capacity, float64(out.CacheRatio), advice)
}

// largeKey identifies what warnLarge warns about once.
type largeKey struct {
	capacity int
	group    snapkv.Group
}

// reference holds the data with which all caches are compared: a reply, and the
// log-probabilities that the full cache gives at each token of the reply.
type reference struct {
	reply    []int32
	logProbs []float32 // [token, vocabulary]; nil until the full cache has been measured
}

// cache is a session to measure. It holds a prompt, compressed or not.
type cache struct {
	runner       *runner
	prompt       *prompts.Prompt
	session      *model.Session
	first        []float32 // logits after the prompt
	record       *record   // of the prefill; nil unless this is the full cache
	prefillSpeed float64   // tokens per second, of the full cache
	bytes        int64     // after the prompt, of the full cache
	otherBytes   int64     // memory of the full cache, held while this one decodes
	ids          []int32   // the reply, if it was decoded in a batch

	// A cache that drops slots while it decodes cannot be cut to the prompt. It then starts
	// again from a copy of base, the cache at the end of the prompt.
	eviction *eviction // nil: nothing is dropped
	base     *model.Session
}

// close closes the sessions of a cache.
func (k *cache) close() {
	k.session.Close()
	if k.base != nil && k.base != k.session {
		k.base.Close()
	}
}

// restart replaces the session by a copy of the base.
func (k *cache) restart() error {
	s, err := k.base.Compress(func(layer int) ([][]int32, error) {
		slots, err := k.base.Slots(layer)
		all := make([][]int32, len(slots))
		for h, n := range slots {
			all[h] = ascending(0, n)
		}
		return all, err
	})
	if err != nil {
		return err
	}
	if k.session != k.base {
		k.session.Close()
	}
	k.session = s
	k.eviction.rewind()
	return nil
}

// forward runs tokens of a reply, like runner.forward, and drops slots when it is time.
func (k *cache) forward(ctx context.Context, tokens []int32, pass model.Pass) error {
	if k.eviction == nil {
		return k.runner.forward(ctx, k.session, tokens, pass)
	}
	show := pass.Logits
	pass.Length = max(1, pass.Length)
	for lo := 0; lo < len(tokens); {
		n := min(k.eviction.left(), k.runner.Model.Piece(), len(tokens)-lo)
		pass.Recorder = k.eviction.recorder(n)
		pass.Logits = func(row int, l []float32) { show(lo+row, l) }
		if err := k.runner.forward(ctx, k.session, tokens[lo:lo+n], pass); err != nil {
			return err
		}
		if err := k.appended(n); err != nil {
			return err
		}
		lo += n
	}
	return nil
}

// appended follows n tokens that were appended to the session.
func (k *cache) appended(n int) (err error) {
	if k.eviction == nil {
		return nil
	}
	s, err := k.eviction.appended(k.session, n)
	if err == nil {
		k.session = s
	}
	return err
}

// measure decodes a reply, then scores the reference reply and the first reference
// answer. If no reply is given, the reply of the full cache becomes the reference.
func (k *cache) measure(ctx context.Context, ref *reference, out *Result) error {
	out.CacheBytes = k.session.CacheBytes()
	out.PeakBytes = undefined()
	out.DecodeTokens = undefined()
	if k.ids == nil {
		if err := k.decodeAlone(ctx, out); err != nil {
			return err
		}
	} else {
		out.OutputIDs = k.ids
	}
	var references []string
	if k.runner.Decode != nil {
		out.Text = k.runner.Decode(out.OutputIDs)
		references = k.prompt.References
	}
	out.score(references, k.runner.Score)
	if ref.reply == nil {
		ref.reply = out.OutputIDs
	}
	if err := k.follow(ctx, ref, out); err != nil {
		return err
	}
	if err := k.answer(ctx, out); err != nil {
		return err
	}
	k.runner.report(k.prompt.ID)
	return ctx.Err()
}

// decodeAlone decodes a reply and measures its speed and memory.
func (k *cache) decodeAlone(ctx context.Context, out *Result) error {
	var took time.Duration
	peak, err := peakMemory(func() error {
		start := time.Now()
		ids, err := k.greedy(ctx)
		took = time.Since(start)
		out.OutputIDs = ids
		return err
	})
	if err != nil {
		return err
	}
	out.PeakBytes = Float(peak - float64(k.otherBytes))
	if n := len(out.OutputIDs); n >= 2 { // the first token comes from the prefill
		out.DecodeTokens = Float(float64(n-1) / max(took.Seconds(), 1e-9))
	}
	return nil
}

// rewind drops all tokens after the prompt. It sets err, if that is nil, to its own
// error.
func (k *cache) rewind(err *error) {
	if k.eviction != nil {
		*err = cmp.Or(*err, k.restart())
		return
	}
	*err = cmp.Or(*err, k.session.Truncate(len(k.prompt.Tokens)))
}

// greedy decodes a reply, token by token.
func (k *cache) greedy(ctx context.Context) (ids []int32, err error) {
	defer k.rewind(&err)
	r := k.runner
	sampler := model.NewSampler(0, 0)
	logits := slices.Clone(k.first)
	ids = []int32{}
	for len(ids) < r.MaxNewTokens {
		next := sampler.Next(logits)
		ids = append(ids, next)
		if r.ends(ids) {
			break
		}
		pass := model.Pass{Logits: func(_ int, l []float32) { copy(logits, l) }}
		if err := k.forward(ctx, []int32{next}, pass); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// ends reports whether a reply of at least one token ends with its last one.
func (r *runner) ends(ids []int32) bool {
	last := ids[len(ids)-1]
	return len(ids) == r.MaxNewTokens || !r.IgnoreEOS && slices.Contains(r.Model.Config().EOS, last)
}

// follow runs the reference reply and compares the distributions over the next token
// with those of the full cache. The full cache is measured first and sets the
// distributions to compare with.
func (k *cache) follow(ctx context.Context, ref *reference, out *Result) (err error) {
	out.PPL, out.KL, out.Agreement = undefined(), undefined(), undefined()
	n := len(ref.reply)
	if n == 0 {
		return nil
	}
	defer k.rewind(&err)
	vocab := len(k.first)
	isReference := ref.logProbs == nil
	if isReference {
		ref.logProbs = make([]float32, n*vocab)
	}
	loss := 0.0
	kl := 0.0
	agree := 0
	mine := make([]float32, vocab)
	compare := func(row int, logits []float32) {
		logSoftmax(mine, logits)
		theirs := ref.logProbs[row*vocab : (row+1)*vocab]
		if isReference {
			copy(theirs, mine)
		}
		loss -= float64(mine[ref.reply[row]])
		kl += divergence(theirs, mine)
		if best(theirs) == best(mine) {
			agree++
		}
	}
	compare(0, k.first)
	pass := model.Pass{Length: 1, Logits: func(row int, l []float32) {
		if row+1 < n {
			compare(row+1, l)
		}
	}}
	tokens := ref.reply[:n-1]
	if k.record != nil && k.record.generated != nil { // the oracle also needs the row of the last token
		tokens = ref.reply
		pass.Recorder = k.record.replyRecorder()
	}
	if err := k.forward(ctx, tokens, pass); err != nil {
		return err
	}
	out.PPL = Float(math.Exp(loss / float64(n)))
	out.KL = Float(kl / float64(n))
	out.Agreement = Float(float64(agree) / float64(n))
	return nil
}

// answer computes the log-probability of the first reference answer and the mean rank
// of its tokens.
func (k *cache) answer(ctx context.Context, out *Result) (err error) {
	out.AnswerLogProb, out.AnswerRank = undefined(), undefined()
	r := k.runner
	if len(k.prompt.References) == 0 || r.Encode == nil {
		return nil
	}
	ids := r.Encode(k.prompt.References[0])
	length := len(k.prompt.Tokens)
	if most := r.Model.Config().MaxPositions; most > 0 && length+len(ids) > most {
		r.warn("prompt %q: its answer passes the model's %d positions: the first %d of its %d tokens are scored",
			k.prompt.ID, most, most-length, len(ids))
		ids = ids[:most-length]
	}
	if len(ids) == 0 {
		return nil
	}
	defer k.rewind(&err)
	sum := 0.0
	ranks := 0.0
	logProbs := make([]float32, len(k.first))
	see := func(row int, logits []float32) {
		logSoftmax(logProbs, logits)
		v := logProbs[ids[row]]
		sum += float64(v)
		for _, other := range logProbs {
			if other > v {
				ranks++
			}
		}
		ranks++
	}
	see(0, k.first)
	pass := model.Pass{Length: 1, Logits: func(row int, l []float32) { see(row+1, l) }}
	err = k.forward(ctx, ids[:len(ids)-1], pass)
	out.AnswerLogProb = Float(sum)
	out.AnswerRank = Float(ranks / float64(len(ids)))
	return err
}
