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
	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// HeadRate is the result of one head of one prompt for one [Setting].
type HeadRate struct {
	Window, Budget int     // Budget is the number of positions that were kept
	Top            float64 // NaN where the budget was given
	Theta          float64
	Counts         hitrate.Counts
	Chance         float64 // hit rate expected of random positions
	Overlap, Mass  float64
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
	if err := cfg.Check(); err != nil {
		return nil, nil, err
	}
	a.sets = cfg.Settings()
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
	sets     []Setting
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
	results := make([][][]*HeadRate, rows.Heads) // [head][span][setting]
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
func spansOf(n, span int, by []By) [][2]int {
	if !slices.Contains(by, BySpan) || span < 1 {
		return [][2]int{{0, n}}
	}
	var list [][2]int
	for lo := 0; lo < n; lo += span {
		list = append(list, [2]int{lo, min(n, lo+span)})
	}
	return list
}

// head rates one head: rows [n, P] are the recorded prompt rows, gen [G, P+G].
func (a *hitRates) head(p *dumps.Prompt, rows []float32, n int, gen []float32, genKeys int) ([][]*HeadRate, error) {
	length, count := p.PromptTokens, p.ReplyTokens
	if a.cfg.Exact { // the authors' prev_len is one short: the prompt's last row counts as generated
		longer := make([]float32, (count+1)*genKeys)
		copy(longer, rows[(n-1)*length:n*length])
		copy(longer[genKeys:], gen)
		gen, count, n, length = longer, count+1, n-1, length-1
	}
	rowKeys := p.PromptTokens
	var out [][]*HeadRate
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
		rates := make([]*HeadRate, len(a.sets))
		for i, s := range a.sets {
			if s.Window >= length || s.Window > n {
				continue
			}
			if lists[s.Theta] == nil {
				lists[s.Theta] = a.significant(part, nrows, genKeys, length, mean, float32(s.Theta))
			}
			if votes[s.Window] == nil {
				votes[s.Window] = snapkv.Vote(rows, n, rowKeys, s.Window, length-s.Window)
			}
			rate, err := a.cfg.Rate(s, votes[s.Window], mean, lists[s.Theta])
			if err != nil {
				return nil, err
			}
			rates[i] = &rate
		}
		out = append(out, rates)
	}
	return out, nil
}

func (a *hitRates) significant(part []float32, n, keys, length int, mean []float64, theta float32) [][]int32 {
	if a.cfg.Generation == GenerationRows {
		return hitrate.Significant(part, n, keys, length, theta)
	}
	row := make([]float32, length)
	for j, v := range mean {
		row[j] = float32(v)
	}
	return hitrate.Significant(row, 1, length, length, theta)
}

// Rate rates one head under one setting.
//
//	vote         [prefix]  weight summed over the window's rows, before pooling
//	mean         [length]  the mean reply row over the prompt's positions
//	significant  [rows][]  significant positions of each reply row, ascending
func (cfg *HitRateConfig) Rate(s Setting, vote, mean []float64, significant [][]int32) (HeadRate, error) {
	length := len(mean)
	prefix := length - s.Window
	kept := cfg.Kept(s, length)
	if cfg.Kernel > 1 {
		var err error
		if vote, err = snapkv.Pool(vote, cfg.Kernel, cfg.Pooling); err != nil {
			return HeadRate{}, err
		}
	}
	skip := min(cfg.SkipFirst, prefix)
	keep := topFrom(vote[:prefix], skip, kept)
	attended := topFrom(mean[:prefix], skip, kept)
	rate := HeadRate{
		Window:  s.Window,
		Budget:  kept,
		Top:     s.Top,
		Theta:   s.Theta,
		Counts:  hitrate.Count(significant, keep, kept, skip, prefix),
		Chance:  float64(kept) / float64(prefix),
		Overlap: math.NaN(),
	}
	if kept > 0 {
		rate.Overlap = float64(hitrate.Overlap(keep, attended)) / float64(kept)
	}
	for _, j := range keep {
		rate.Mass += mean[j]
	}
	return rate, nil
}

// topFrom returns the positions of the k largest of the values from skip on,
// ascending. Ties go to the lower position.
func topFrom(values []float64, skip, k int) []int32 {
	list := topk.Select(values[skip:], k)
	for i := range list {
		list[i] += int32(skip)
	}
	return list
}

// put adds the rate of a head to its group.
func (a *hitRates) put(model string, p *dumps.Prompt, layer, head, span, set int, rate *HeadRate) {
	key := groupKey{model, "*", "*", -1, -1, -1, set}
	for _, by := range a.cfg.By {
		switch by {
		case ByLayer:
			key.layer = layer
		case ByHead:
			key.head = head
		case ByPrompt:
			key.prompt = p.ID
		case ByDataset:
			key.dataset = p.Dataset
		case BySpan:
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
	s.counts.Add(rate.Counts)
	s.heads = append(s.heads, rate.Counts.RowMean())
	s.k = rate.Budget
	s.cells++
	s.chance += rate.Chance
	s.overlap += rate.Overlap
	s.mass += rate.Mass
	if rate.Budget == 0 && !a.zero {
		a.zero = true
		a.warn(Warning{Kind: NothingKept})
	}
}
