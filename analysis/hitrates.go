package analysis

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// ErrNothing says that there is no row to rate.
var ErrNothing = errors.New("nothing to rate: no prompt is longer than the window and has reply rows")

// HitRates computes hit rates over all prompts of the dumps. There is a row for
// each of [HitRateConfig.Settings] and each value of the keys cfg.By, in the order
// of the keys; prompts keep the order of the dumps. [HitRateTable] makes a table of
// the rows.
//
// Prompts that cannot be rated are left out with a warning. HitRates returns an error
// if a window was not recorded, and [ErrNothing] if no prompt can be rated.
func HitRates(ctx context.Context, paths []string, cfg HitRateConfig) ([]HitRateRow, []Warning, error) {
	lists, warnings, err := HitRatesEach(ctx, paths, cfg)
	if err != nil {
		return nil, warnings, err
	}
	return lists[0], warnings, nil
}

// HitRatesEach is [HitRates] for several configs, and reads the dumps once. The
// warnings and the progress are those of the first config.
func HitRatesEach(ctx context.Context, paths []string, cfgs ...HitRateConfig) ([][]HitRateRow, []Warning, error) {
	var list hitRateList
	for _, cfg := range cfgs {
		if err := cfg.Check(); err != nil {
			return nil, nil, err
		}
		list = append(list, &hitRates{cfg: cfg, settings: cfg.Settings(), groups: map[groupKey][]promptSum{}})
	}
	if report := cfgs[0].Progress; report != nil {
		total, err := tokensTimesLayers(paths, "")
		if err != nil {
			return nil, nil, err
		}
		list[0].progress.Total = total
	}
	for _, path := range paths {
		if err := list.dump(ctx, path); err != nil {
			return nil, list[0].warnings, err
		}
	}
	out := make([][]HitRateRow, len(list))
	for i, a := range list {
		if len(a.groups) == 0 {
			return nil, list[0].warnings, ErrNothing
		}
		out[i] = a.rows()
	}
	return out, list[0].warnings, nil
}

// hitRateList rates each layer that is read under every config.
type hitRateList []*hitRates

// hitRates gathers the rows of HitRates.
type hitRates struct {
	cfg         HitRateConfig
	settings    []Setting
	groups      map[groupKey][]promptSum
	order       []groupKey // of the groups, as they first occur
	warnings    []Warning
	prompt      int  // number of the prompt over all dumps, since ids may occur in several
	nothingKept bool // the warning NothingKept was given
	progress    Progress
}

// groupKey identifies the group of cells that become one row.
type groupKey struct {
	place
	setting int // index
}

// promptSum is the contribution of one prompt to a group: sums over its heads and
// layers.
type promptSum struct {
	prompt        int // hitRates.prompt
	budget        int // positions kept
	counts        hitrate.Counts
	heads         []float64 // mean over rows of each head's rate
	chance        float64
	overlap, mass float64
	sink          float64
	sinks         int // heads with a learned sink
}

func (a *hitRates) warn(w Warning) { a.warnings = append(a.warnings, w) }

// dump rates all prompts of a dump.
func (list hitRateList) dump(ctx context.Context, path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	for _, a := range list {
		if err := a.begin(r); err != nil {
			return err
		}
	}
	h := r.Header()
	for i := range r.Prompts() {
		p := &r.Prompts()[i]
		for _, a := range list {
			a.beginPrompt(path, p)
		}
		if p.ReplyTokens == 0 {
			continue
		}
		for _, layer := range h.Plan.Layers {
			if err := ctx.Err(); err != nil {
				return err
			}
			rows, err := list.read(r, i, layer)
			if err != nil {
				return err
			}
			at := place{model: h.Model.ID, dataset: p.Dataset, prompt: p.ID, layer: layer}
			if err := list.layer(p, h.HeadsOf(layer), rows, at); err != nil {
				return fmt.Errorf("%s: prompt %q, layer %d: %w", path, p.ID, layer, err)
			}
			list[0].report(path, p)
		}
	}
	for _, w := range shapeWarnings(path, h) {
		list[0].warn(w)
	}
	for _, layer := range h.Plan.Layers {
		if s := h.Model.Layer(layer); s.Window > 0 {
			list[0].warn(Warning{Kind: SlidingWindow, Path: path, Window: s.Window})
			break
		}
	}
	for _, layer := range h.Plan.Layers {
		if s := h.Model.Layer(layer); s.Chunk > 0 {
			list[0].warn(Warning{Kind: Chunks, Path: path, Window: s.Chunk})
			break
		}
	}
	return nil
}

// ratedRows are the rows of a layer that the configs rate: the last rows of the prompt
// [head, row, key], as many as the largest window has, and those of the reply.
type ratedRows struct {
	prompt, reply *dumps.Attention
	// Shares of learned sinks, [head, row], in all recorded rows of the prompt and in
	// those of the reply; nil: the layer has none.
	promptSinks, replySinks []float32
}

// read reads the rows of a layer that the configs rate.
func (list hitRateList) read(r *dumps.Reader, prompt, layer int) (*ratedRows, error) {
	p := &r.Prompts()[prompt]
	n := 0
	for _, a := range list {
		for _, w := range a.cfg.Windows {
			n = max(n, w+a.late())
		}
	}
	n = min(n, p.WindowRows)
	source, err := r.LayerOf(prompt, layer)
	if err != nil {
		return nil, err
	}
	defer source.Release()
	rows := &ratedRows{}
	if rows.prompt, err = source.Weights(dumps.Prefill, p.WindowRows-n, n); err != nil {
		return nil, err
	}
	if rows.promptSinks, err = r.Sinks(prompt, layer, dumps.Prefill); err != nil {
		return nil, err
	}
	if rows.replySinks, err = r.Sinks(prompt, layer, dumps.Decode); err != nil {
		return nil, err
	}
	rows.reply, err = source.Weights(dumps.Decode, 0, p.ReplyTokens)
	return rows, err
}

// late returns how many rows after the window do not count as prompt.
func (a *hitRates) late() int {
	if a.cfg.Exact {
		return 1
	}
	return 0
}

// begin checks that a dump has what the config needs.
func (a *hitRates) begin(r *dumps.Reader) error {
	a.warnings = append(a.warnings, dumpWarnings(r.Warnings())...)
	if len(r.Prompts()) == 0 {
		return fmt.Errorf("%s: no complete prompt in it", r.Path())
	}
	recorded := r.Header().Plan.WindowRows
	for _, w := range a.cfg.Windows {
		if w+a.late() > recorded {
			return fmt.Errorf("%s: %s, but the last %d prompt rows were recorded: capture with --window-rows %d",
				r.Path(), windowText(w, a.cfg.Exact), recorded, w+a.late())
		}
	}
	return nil
}

// beginPrompt warns about a prompt that cannot be rated.
func (a *hitRates) beginPrompt(path string, p *dumps.Prompt) {
	a.prompt++
	windows := a.cfg.Windows
	if a.cfg.SamePrefix && len(windows) > 1 {
		windows = []int{slices.Max(windows)}
	}
	for _, w := range windows {
		if w+a.late() >= p.PromptTokens {
			a.warn(Warning{
				Kind: NoPrefix, Path: path, Prompt: p.ID, Tokens: p.PromptTokens, Window: w, Late: a.cfg.Exact,
				Every: a.cfg.SamePrefix,
			})
		}
	}
	if p.ReplyTokens == 0 {
		a.warn(Warning{Kind: NoReply, Path: path, Prompt: p.ID})
	}
}

// report reports a finished layer.
func (a *hitRates) report(path string, p *dumps.Prompt) {
	if a.cfg.Progress == nil {
		return
	}
	a.progress.Path = path
	a.progress.Prompt = p.ID
	a.progress.Done += int64(p.PromptTokens)
	a.cfg.Progress(a.progress)
}

// layer rates the heads of a layer in parallel. heads are the ids of the recorded
// heads.
func (list hitRateList) layer(p *dumps.Prompt, heads []int, rows *ratedRows, at place) error {
	results := make([][][][]*HeadRate, len(heads)) // [head][config][span][setting]
	errs := make([]error, len(heads))
	parallel.For(len(heads), func(h int) {
		results[h], errs[h] = list.head(p, rows, h)
	})
	for h := range results {
		if errs[h] != nil {
			return errs[h]
		}
		at.head = heads[h]
		for i, spans := range results[h] {
			for span, rates := range spans {
				at.span = span
				for setting, rate := range rates {
					if rate != nil {
						list[i].add(at, setting, rate)
					}
				}
			}
		}
	}
	return nil
}

// head rates one head under every config, [config][span][setting].
func (list hitRateList) head(p *dumps.Prompt, rows *ratedRows, h int) ([][][]*HeadRate, error) {
	out := make([][][]*HeadRate, len(list))
	known := map[bool]*headRows{} // by HitRateConfig.Exact
	for i, a := range list {
		if known[a.cfg.Exact] == nil {
			known[a.cfg.Exact] = a.headRows(p, rows, h)
		}
		var err error
		if out[i], err = a.head(known[a.cfg.Exact]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// headRows holds the recorded rows of one head, and what was computed from them for one
// config and serves the others.
type headRows struct {
	length     int       // tokens of the prompt
	prompt     []float32 // the last n rows of the prompt, [n, promptKeys]
	n          int
	promptKeys int
	reply      []float32 // [replyRows, replyKeys]
	replyRows  int
	replyKeys  int
	sinks      []float32 // share of the head's learned sink, [replyRows]; nil: it has none

	votes       map[int][]float64            // by window
	means       map[[2]int][]float64         // mean rows, by span
	significant map[significantKey][][]int32 // positions of each row
	rates       map[rateKey]*HeadRate
}

// rateKey is what the rate of a head depends on.
type rateKey struct {
	Setting
	significantKey
	skipFirst, kernel int
	pooling           snapkv.Pooling
	topOfPrompt       bool
	prefix            int
}

// significantKey says which significant positions headRows has.
type significantKey struct {
	span       [2]int
	theta      float64
	generation Generation
}

// headRows picks the rows of head h. With cfg.Exact, the prompt's last row counts as
// the first row of the reply.
func (a *hitRates) headRows(p *dumps.Prompt, rows *ratedRows, h int) *headRows {
	head := &headRows{
		length:     p.PromptTokens,
		prompt:     rows.prompt.Head(h),
		n:          rows.prompt.Rows,
		promptKeys: p.PromptTokens,
		reply:      rows.reply.Head(h),
		replyRows:  p.ReplyTokens,
		replyKeys:  rows.reply.Keys,

		votes:       map[int][]float64{},
		means:       map[[2]int][]float64{},
		significant: map[significantKey][][]int32{},
		rates:       map[rateKey]*HeadRate{},
	}
	if rows.replySinks != nil {
		head.sinks = rows.replySinks[h*p.ReplyTokens:][:p.ReplyTokens]
	}
	if a.cfg.Exact && head.sinks != nil {
		last := rows.promptSinks[(h+1)*p.WindowRows-1]
		head.sinks = append([]float32{last}, head.sinks...)
	}
	if a.cfg.Exact {
		longer := make([]float32, (head.replyRows+1)*head.replyKeys)
		copy(longer, head.prompt[(head.n-1)*head.promptKeys:head.n*head.promptKeys])
		copy(longer[head.replyKeys:], head.reply)
		head.reply = longer
		head.replyRows++
		head.n--
		head.length--
	}
	return head
}

// head rates one head, [span][setting]; a rate is nil if the window leaves no prefix.
func (a *hitRates) head(h *headRows) ([][]*HeadRate, error) {
	var out [][]*HeadRate
	for _, span := range spansOf(h.replyRows, a.cfg.Span, a.cfg.By) {
		rates := make([]*HeadRate, len(a.settings))
		for i, s := range a.settings {
			if a.cfg.Prefix(s, h.length) < 1 || s.Window > h.n {
				continue
			}
			var err error
			if rates[i], err = h.rate(&a.cfg, s, span); err != nil {
				return nil, err
			}
		}
		out = append(out, rates)
	}
	return out, nil
}

// rate rates a span of the reply under one setting.
func (h *headRows) rate(cfg *HitRateConfig, s Setting, span [2]int) (*HeadRate, error) {
	positions := significantKey{span, s.Theta, cfg.Generation}
	key := rateKey{s, positions, cfg.SkipFirst, cfg.Kernel, cfg.Pooling, cfg.TopOfPrompt, cfg.Prefix(s, h.length)}
	if rate := h.rates[key]; rate != nil {
		return rate, nil
	}
	rate, err := cfg.Rate(s, h.vote(s.Window), h.mean(span), h.significantIn(positions))
	if err != nil {
		return nil, err
	}
	rate.Sink = meanShare(h.sinks, span)
	h.rates[key] = &rate // a budget has no share, NaN, and is never found
	return &rate, nil
}

// meanShare returns the mean share of a learned sink in the rows of a span, or NaN if
// there is no sink.
func meanShare(shares []float32, span [2]int) float64 {
	if shares == nil {
		return math.NaN()
	}
	sum := 0.0
	for _, v := range shares[span[0]:span[1]] {
		sum += float64(v)
	}
	return sum / float64(span[1]-span[0])
}

// vote returns the votes of a window.
func (h *headRows) vote(window int) []float64 {
	if h.votes[window] == nil {
		h.votes[window] = snapkv.Vote(h.prompt, h.n, h.promptKeys, window, h.length-window)
	}
	return h.votes[window]
}

// mean returns the mean of the reply rows of a span over the prompt's positions.
func (h *headRows) mean(span [2]int) []float64 {
	if h.means[span] == nil {
		h.means[span] = meanRow(h.reply[span[0]*h.replyKeys:span[1]*h.replyKeys], span[1]-span[0], h.replyKeys, h.length)
	}
	return h.means[span]
}

// significantIn lists the significant positions of each reply row of a span, or those of
// their mean.
func (h *headRows) significantIn(key significantKey) [][]int32 {
	list := h.significant[key]
	if list == nil {
		from, to := key.span[0], key.span[1]
		list = significant(h.reply[from*h.replyKeys:to*h.replyKeys], to-from, h.replyKeys, h.mean(key.span), key)
		h.significant[key] = list
	}
	return list
}

// meanRow returns the mean of n rows [n, keys] at the first length positions.
func meanRow(rows []float32, n, keys, length int) []float64 {
	mean := make([]float64, length)
	for i := range n {
		for j, w := range rows[i*keys : i*keys+length] {
			mean[j] += float64(w)
		}
	}
	for j := range mean {
		mean[j] /= float64(n)
	}
	return mean
}

// significant lists the significant positions of each of n rows [n, keys], or those
// of their mean.
func significant(rows []float32, n, keys int, mean []float64, key significantKey) [][]int32 {
	length := len(mean)
	theta := float32(key.theta)
	if key.generation == GenerationRows {
		return hitrate.Significant(rows, n, keys, length, theta)
	}
	row := make([]float32, length)
	for j, v := range mean {
		row[j] = float32(v)
	}
	return hitrate.Significant(row, 1, length, length, theta)
}

// add adds the rate of a head to its group.
func (a *hitRates) add(at place, setting int, rate *HeadRate) {
	key := groupKey{at.aggregate(a.cfg.By), setting}
	prompts, known := a.groups[key]
	if !known {
		a.order = append(a.order, key)
	}
	if n := len(prompts); n == 0 || prompts[n-1].prompt != a.prompt {
		prompts = append(prompts, promptSum{prompt: a.prompt})
		a.groups[key] = prompts
	}
	s := &prompts[len(prompts)-1]
	s.budget = rate.Budget
	s.counts.Add(rate.Counts)
	s.heads = append(s.heads, rate.Counts.RowMean())
	s.chance += rate.Chance
	s.overlap += rate.Overlap
	s.mass += rate.Mass
	if !math.IsNaN(rate.Sink) {
		s.sink += rate.Sink
		s.sinks++
	}
	if rate.Budget == 0 && !a.nothingKept {
		a.nothingKept = true
		a.warn(Warning{Kind: NothingKept})
	}
}
