// Package analysis answers questions from dumps: sweeps over window, layer,
// head, span and method, with intervals over prompts. It joins dumps, hitrate
// and snapkv.
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
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// HitRateConfig says which hit rates are computed; every combination of the
// lists is.
type HitRateConfig struct {
	Windows    []int
	Tops       []float64 // shares of the prefix
	Budgets    []int     // positions; beside or instead of Tops
	Thetas     []float64
	Span       int      // reply rows of a span
	By         []string // of layer, head, prompt, dataset, span
	Average    string   // pooled, rows, heads
	Generation string   // rows, mean
	SkipFirst  int
	Kernel     int // 0 or 1: no pooling, as in the paper
	Pooling    snapkv.Pooling
	TopOf      string // prefix, or prompt as the authors' code counts k
	Exact      bool   // with prompt: their prev_len = start - 1 too
	Seed       uint64
}

// Paper is the setting of arXiv:2404.14469v1, section 3.
var Paper = HitRateConfig{
	Windows: []int{hitrate.PaperWindow}, Tops: []float64{hitrate.PaperTop}, Thetas: []float64{hitrate.PaperTheta},
	Span: 128, By: []string{"layer"}, Average: "pooled", Generation: "rows", TopOf: "prefix",
}

// setting is one combination of window, k and theta.
type setting struct {
	window, budget int
	top            float64 // NaN where budget was given
	theta          float64
}

// cell is what one head of one layer of one prompt gives for a setting and span.
type cell struct {
	counts        hitrate.Counts
	k             int
	chance        float64
	overlap, mass float64
}

// group gathers cells of one output row.
type group struct {
	model, dataset, prompt string
	layer, head, span      int
	set                    int // index of the setting
	perPrompt              []promptSum
}

type promptSum struct {
	prompt        int // hitRates.prompt
	counts        hitrate.Counts
	heads         []float64 // row means of the heads
	k, cells      int
	chance        float64
	overlap, mass float64
}

// HitRates computes hit rates over all prompts of the dumps: a row for each
// combination of the lists in cfg and of the keys in cfg.By, in the order of the
// keys; prompts keep the order of the dumps. [HitRateTable] makes a table of the
// rows. The error is [ErrNothing] where no prompt can be rated.
func HitRates(ctx context.Context, paths []string, cfg HitRateConfig) ([]HitRateRow, []Warning, error) {
	a := &hitRates{cfg: cfg, groups: map[groupKey]*group{}}
	for _, s := range []struct {
		name, value string
		allowed     []string
	}{{"average", cfg.Average, []string{"pooled", "rows", "heads"}}, {"generation", cfg.Generation, []string{"rows", "mean"}}} {
		if !slices.Contains(s.allowed, s.value) {
			return nil, nil, fmt.Errorf("%s %q: want one of %v", s.name, s.value, s.allowed)
		}
	}
	a.sets = cfg.settings()
	for _, path := range paths {
		if err := a.dump(ctx, path); err != nil {
			return nil, a.warnings, err
		}
	}
	if len(a.groups) == 0 {
		return nil, a.warnings, ErrNothing
	}
	rows := a.rows()
	return rows, a.warnings, nil
}

// ErrNothing says that there is not a single row to rate.
var ErrNothing = errors.New("nothing to rate: no prompt is longer than the window and has reply rows")

type groupKey struct {
	model, dataset, prompt string
	layer, head, span, set int
}

type hitRates struct {
	cfg      HitRateConfig
	sets     []setting
	groups   map[groupKey]*group
	order    []groupKey
	warnings []Warning
	prompt   int // counts the prompts of all dumps: ids may come again in another dump
	zero     bool
}

func (a *hitRates) warn(w Warning) { a.warnings = append(a.warnings, w) }

func (a *hitRates) dump(ctx context.Context, path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	a.warnings = append(a.warnings, dumpWarnings(r.Warnings())...)
	h := r.Header()
	if len(r.Prompts()) == 0 {
		return fmt.Errorf("%s: no complete prompt in it", path)
	}
	late := 0 // rows after the window that do not count as prompt
	if a.cfg.Exact {
		late = 1
	}
	for _, w := range a.cfg.Windows {
		if w+late > h.Plan.WindowRows {
			return fmt.Errorf("%s: %s, but the last %d prompt rows were recorded: capture with --window-rows %d", path, windowText(w, a.cfg.Exact), h.Plan.WindowRows, w+late)
		}
	}
	for i := range r.Prompts() {
		p := &r.Prompts()[i]
		a.prompt++
		for _, w := range a.cfg.Windows {
			if w+late >= p.PromptTokens {
				a.warn(Warning{Kind: NoPrefix, Path: path, Prompt: p.ID, Tokens: p.PromptTokens, Window: w, Late: a.cfg.Exact})
			}
		}
		if p.ReplyTokens == 0 {
			a.warn(Warning{Kind: NoReply, Path: path, Prompt: p.ID})
			continue
		}
		for _, layer := range h.Plan.Layers {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := a.layer(r, i, layer); err != nil {
				return err
			}
		}
	}
	for _, w := range h.Model.LayerWindows {
		if w > 0 {
			a.warn(Warning{Kind: SlidingWindow, Path: path, Window: w})
			break
		}
	}
	return nil
}

// layer reads a layer's rows and rates its heads on all cores.
func (a *hitRates) layer(r *dumps.Reader, prompt, layer int) error {
	p := &r.Prompts()[prompt]
	rows, err := r.Weights(prompt, layer, dumps.Prefill)
	if err != nil {
		return err
	}
	gen, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return err
	}
	results := make([][][]*cell, rows.Heads) // [head][span][setting]
	errs := make([]error, rows.Heads)
	parallel.For(rows.Heads, func(h int) {
		results[h], errs[h] = a.head(p, rows.Head(h), rows.Rows, gen.Head(h), gen.Keys)
	})
	for h := range results {
		if errs[h] != nil {
			return fmt.Errorf("%s: prompt %q, layer %d: %w", r.Path(), p.ID, layer, errs[h])
		}
		for span, sets := range results[h] {
			for set, c := range sets {
				if c != nil {
					a.put(r.Header().Model.ID, p, layer, r.Header().Plan.Heads[h], span, set, c)
				}
			}
		}
	}
	return nil
}

// spansOf are the ranges of n reply rows that are rated: all of them, or by span
// ranges of equal length, the last perhaps short.
func spansOf(n, span int, by []string) [][2]int {
	if !slices.Contains(by, "span") || span < 1 {
		return [][2]int{{0, n}}
	}
	var list [][2]int
	for lo := 0; lo < n; lo += span {
		list = append(list, [2]int{lo, min(n, lo+span)})
	}
	return list
}

// head rates one head: rows [n, P] are the recorded prompt rows, gen [G, P+G].
func (a *hitRates) head(p *dumps.Prompt, rows []float32, n int, gen []float32, genKeys int) ([][]*cell, error) {
	length, count := p.PromptTokens, p.ReplyTokens
	if a.cfg.Exact { // the authors' prev_len is one short: the prompt's last row counts as generated
		longer := make([]float32, (count+1)*genKeys)
		copy(longer, rows[(n-1)*length:n*length])
		copy(longer[genKeys:], gen)
		gen, count, n, length = longer, count+1, n-1, length-1
	}
	rowKeys := p.PromptTokens
	var out [][]*cell
	for _, span := range spansOf(count, a.cfg.Span, a.cfg.By) {
		part := gen[span[0]*genKeys : span[1]*genKeys]
		nrows := span[1] - span[0]
		mean := make([]float64, length)
		for i := range nrows {
			for j, w := range part[i*genKeys : i*genKeys+length] {
				mean[j] += float64(w)
			}
		}
		for j := range mean {
			mean[j] /= float64(nrows)
		}
		lists, votes := map[float64][][]int32{}, map[int][]float64{}
		cells := make([]*cell, len(a.sets))
		for i, s := range a.sets {
			if s.window >= length || s.window > n {
				continue
			}
			if lists[s.theta] == nil {
				lists[s.theta] = a.significant(part, nrows, genKeys, length, mean, float32(s.theta))
			}
			if votes[s.window] == nil {
				votes[s.window] = snapkv.Vote(rows, n, rowKeys, s.window, length-s.window)
			}
			c, err := a.rate(s, &column{wide: votes[s.window]}, length, lists[s.theta], &column{wide: mean})
			if err != nil {
				return nil, err
			}
			cells[i] = c
		}
		out = append(out, cells)
	}
	return out, nil
}

func (a *hitRates) significant(part []float32, n, keys, length int, mean []float64, theta float32) [][]int32 {
	if a.cfg.Generation == "rows" {
		return hitrate.Significant(part, n, keys, length, theta)
	}
	row := make([]float32, length)
	for j, v := range mean {
		row[j] = float32(v)
	}
	return hitrate.Significant(row, 1, length, length, theta)
}

// rate rates one setting: vote [prefix] before pooling, list the significant
// positions of each row, mean [length] the mean row.
func (a *hitRates) rate(s setting, vote *column, length int, list [][]int32, mean *column) (*cell, error) {
	prefix := length - s.window
	k := s.budget
	if !math.IsNaN(s.top) {
		of := prefix
		if a.cfg.TopOf == "prompt" {
			of = length
		}
		k = hitrate.Budget(s.top, of)
	}
	k = min(k, prefix)
	if a.cfg.Kernel > 1 {
		pooled, done, err := vote.pooled(a.cfg.Kernel, a.cfg.Pooling)
		if err != nil {
			return nil, err
		}
		defer done()
		vote = pooled
	}
	skip := min(a.cfg.SkipFirst, prefix)
	if vote.narrow != nil && mean.narrow != nil {
		return rateNarrow(vote.narrow[skip:prefix], mean.narrow[skip:prefix], list, k, skip, prefix), nil
	}
	keep, attended := vote.top(skip, prefix, k), mean.top(skip, prefix, k)
	c := &cell{counts: hitrate.Count(list, keep, k, skip, prefix), k: k, chance: float64(k) / float64(prefix), overlap: math.NaN()}
	if k > 0 {
		c.overlap = float64(hitrate.Overlap(keep, attended)) / float64(k)
	}
	for _, j := range keep {
		c.mass += mean.at(j)
	}
	return c, nil
}

// rateNarrow is rate for votes in float32, from skip on: it lists no positions.
func rateNarrow(vote, mean []float32, list [][]int32, k, skip, prefix int) *cell {
	kept, attended := topk.CutOf(vote, k), topk.CutOf(mean, k)
	c := &cell{k: k, chance: float64(k) / float64(prefix), overlap: math.NaN()}
	c.counts = hitrate.CountKept(list, func(j int32) bool { return kept.Keeps(vote[j-int32(skip)], j-int32(skip)) }, k, skip, prefix)
	both := 0
	if kept.Ties || attended.Ties {
		for j, v := range vote {
			if kept.Keeps(v, int32(j)) {
				c.mass += float64(mean[j])
				if attended.Keeps(mean[j], int32(j)) {
					both++
				}
			}
		}
	} else {
		both, c.mass = simd.CountBoth(vote, mean, kept.Value, attended.Value), simd.SumWhere(vote, mean, kept.Value)
	}
	if k > 0 {
		c.overlap = float64(both) / float64(k)
	}
	return c
}

// put adds a cell to its group.
func (a *hitRates) put(model string, p *dumps.Prompt, layer, head, span, set int, c *cell) {
	key := groupKey{model, "*", "*", -1, -1, -1, set}
	for _, by := range a.cfg.By {
		switch by {
		case "layer":
			key.layer = layer
		case "head":
			key.head = head
		case "prompt":
			key.prompt = p.ID
		case "dataset":
			key.dataset = p.Dataset
		case "span":
			key.span = span
		}
	}
	g := a.groups[key]
	if g == nil {
		g = &group{model: model, dataset: key.dataset, prompt: key.prompt, layer: key.layer, head: key.head, span: key.span, set: set}
		a.groups[key] = g
		a.order = append(a.order, key)
	}
	if n := len(g.perPrompt); n == 0 || g.perPrompt[n-1].prompt != a.prompt {
		g.perPrompt = append(g.perPrompt, promptSum{prompt: a.prompt})
	}
	s := &g.perPrompt[len(g.perPrompt)-1]
	s.counts.Add(c.counts)
	s.heads = append(s.heads, c.counts.RowMean())
	s.k, s.cells = c.k, s.cells+1
	s.chance += c.chance
	s.overlap += c.overlap
	s.mass += c.mass
	if c.k == 0 && !a.zero {
		a.zero = true
		a.warn(Warning{Kind: NothingKept})
	}
}
