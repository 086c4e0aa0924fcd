package analysis

import (
	"cmp"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/hitrate"
)

// HitRateRow is one row of [HitRates]. Rows, Skipped, Significant and Hits are sums
// over heads, layers and prompts; the other numbers are means over the prompts for
// which they are defined, or NaN if there are none. The formulas are in
// docs/MEASURES.md.
type HitRateRow struct {
	Key
	Rows        int // reply rows that were rated
	Skipped     int // of these, rows without a significant position
	Prompts     int
	Significant int     // significant positions
	Hits        int     // of these, positions that the vote kept
	Sparsest    int     // significant positions of the prompt with the fewest, among those with any
	HitRate     float64 // of the vote
	Low, High   float64 // 95 % bootstrap interval of HitRate over prompts
	Chance      float64 // hit rate expected of random positions
	Recent      float64 // hit rate of the last positions
	SinksRecent float64 // hit rate of the first four and the last positions
	Oracle      float64 // hit rate of the positions that are significant in most rows
	Overlap     float64 // share of kept positions that the reply attends to most
	Mass        float64 // share of the reply's weight on kept positions
	Sink        float64 // share of the reply's weight that learned sinks take; NaN: there are none
	Paired      *Paired // comparison with the window HitRateConfig.Against; nil: none
}

// Paired is the difference of two hit rates, prompt by prompt.
type Paired struct {
	Difference float64 // mean over the prompts that have both rates; NaN: there are none
	Low, High  float64 // 95 % bootstrap interval over prompts
	P          float64 // of a two-sided sign-flip test, [SignFlip]
	Prompts    int     // that have both rates
}

// PairedColumns are the columns of [Paired]. Only tables with differences have them.
var PairedColumns = []string{"difference", "difference_low", "difference_high", "p"}

// HitRateColumns lists the value columns of [HitRateTable].
var HitRateColumns = []string{
	"rows", "skipped", "prompts", "significant", "hits", "hit_rate", "ci_low", "ci_high",
	"chance", "recent", "sinks_recent", "oracle", "overlap", "mass",
}

// Cells returns the cells of the row in the columns [KeyColumns] and [HitRateColumns].
func (r *HitRateRow) Cells() []any {
	return append(
		r.Key.Cells(),
		r.Rows, r.Skipped, r.Prompts, r.Significant, r.Hits, r.HitRate, r.Low, r.High,
		r.Chance, r.Recent, r.SinksRecent, r.Oracle, r.Overlap, r.Mass,
	)
}

// SinkColumn is the column of the share that learned sinks take. Only tables of models
// with such sinks have it.
const SinkColumn = "learned_sink"

// HitRateTable makes a table of the rows, with the columns [KeyColumns] and
// [HitRateColumns], [SinkColumn] if there are learned sinks, and [PairedColumns] if windows
// are compared.
func HitRateTable(rows []HitRateRow) *table.Table {
	t := table.New(slices.Concat(KeyColumns, HitRateColumns)...)
	for i := range rows {
		t.Add(rows[i].Cells()...)
	}
	addSinks(t, rows, func(r *HitRateRow) float64 { return r.Sink })
	if slices.ContainsFunc(rows, func(r HitRateRow) bool { return r.Paired != nil }) {
		t.Columns = slices.Concat(t.Columns, PairedColumns)
		for i := range rows {
			p := rows[i].Paired
			if p == nil { // the window that others are compared with
				p = newPaired(nil, 0)
			}
			t.Rows[i] = append(t.Rows[i], p.Difference, p.Low, p.High, p.P)
		}
	}
	return t
}

// addSinks adds the column of the shares of learned sinks to a table of rows, if there
// are any.
func addSinks[T any](t *table.Table, rows []T, of func(r *T) float64) {
	has := func(r T) bool { return of(&r) > 0 } // a sink always takes something; NaN is no sink
	if !slices.ContainsFunc(rows, has) {
		return
	}
	t.Columns = append(t.Columns, SinkColumn)
	for i := range rows {
		t.Rows[i] = append(t.Rows[i], of(&rows[i]))
	}
}

// HasSparsePrompt says whether a prompt has less than its share of the positions that a rate
// needs, least. A rate is a mean over prompts, so that this prompt counts as much as any
// other.
func (r *HitRateRow) HasSparsePrompt(least int) bool {
	return r.Prompts > 1 && r.Sparsest*r.Prompts < least && r.Sparsest > 0
}

// rows turns the groups into rows, in the order of their keys; prompts stay in
// the order of the dumps.
func (a *hitRates) rows() []HitRateRow {
	slices.SortStableFunc(a.order, func(x, y groupKey) int {
		return cmp.Or(
			cmp.Compare(x.model, y.model), cmp.Compare(x.dataset, y.dataset), cmp.Compare(x.layer, y.layer),
			cmp.Compare(x.head, y.head), cmp.Compare(x.setting, y.setting), cmp.Compare(x.span, y.span),
		)
	})
	var rows []HitRateRow
	few := 0
	for _, key := range a.order {
		prompts := a.groups[key]
		if len(prompts) < 2 {
			few++
		}
		rows = append(rows, a.row(key, prompts))
	}
	if few > 0 && !slices.Contains(a.cfg.By, ByPrompt) {
		a.warn(Warning{Kind: FewPrompts})
	}
	return rows
}

// row averages a group over its prompts.
func (a *hitRates) row(key groupKey, prompts []promptSum) HitRateRow {
	s := a.settings[key.setting]
	row := HitRateRow{
		Key: Key{
			Model: key.model, Dataset: key.dataset, Prompt: key.prompt, Layer: key.layer, Head: key.head,
			Window: s.Window, Span: key.span, Top: s.Top, Budget: prompts[0].budget, Theta: s.Theta,
		},
		Prompts: len(prompts),
	}
	var counts hitrate.Counts
	for i := range prompts {
		counts.Add(prompts[i].counts)
		if n := prompts[i].counts.Significant; n > 0 && (row.Sparsest == 0 || n < row.Sparsest) {
			row.Sparsest = n
		}
		if prompts[i].budget != row.Budget {
			row.Budget = -1
		}
	}
	row.Rows = counts.Rows
	row.Skipped = counts.Skipped
	row.Significant = counts.Significant
	row.Hits = counts.Hits
	column := func(of func(p *promptSum) float64) []float64 {
		x := make([]float64, len(prompts))
		for i := range prompts {
			x[i] = of(&prompts[i])
		}
		return x
	}
	rates := a.rates(prompts)
	row.Paired = a.paired(key, prompts)
	row.HitRate = Mean(rates)
	row.Low, row.High = Interval(rates, a.cfg.Seed)
	row.Chance = Mean(column(func(p *promptSum) float64 { return p.chance / float64(len(p.heads)) }))
	row.Recent = Mean(column(func(p *promptSum) float64 { return p.counts.RateOf(p.counts.Recent) }))
	row.SinksRecent = Mean(column(func(p *promptSum) float64 { return p.counts.RateOf(p.counts.SinksRecent) }))
	row.Oracle = Mean(column(func(p *promptSum) float64 { return p.counts.RateOf(p.counts.Oracle) }))
	row.Overlap = Mean(column(func(p *promptSum) float64 { return p.overlap / float64(len(p.heads)) }))
	row.Mass = Mean(column(func(p *promptSum) float64 { return p.mass / float64(len(p.heads)) }))
	row.Sink = Mean(column(func(p *promptSum) float64 { return ratio(p.sink, float64(p.sinks)) }))
	return row
}

// rates returns the hit rate of each prompt.
func (a *hitRates) rates(prompts []promptSum) []float64 {
	list := make([]float64, len(prompts))
	for i := range prompts {
		list[i] = a.cfg.Average.of(prompts[i].counts, prompts[i].heads)
	}
	return list
}

// paired compares a group with the one of the window cfg.Against that has the same keys and
// the same other settings; nil: it is that group, or no window is to be compared with.
func (a *hitRates) paired(key groupKey, prompts []promptSum) *Paired {
	if a.cfg.Against == 0 || a.settings[key.setting].Window == a.cfg.Against {
		return nil
	}
	each := len(a.settings) / len(a.cfg.Windows) // settings of a window, which are the same for all windows
	first := slices.Index(a.cfg.Windows, a.cfg.Against) * each
	others := a.groups[groupKey{key.place, first + key.setting%each}]
	otherRates := a.rates(others)
	var differences []float64
	for i, rate := range a.rates(prompts) {
		j := slices.IndexFunc(others, func(o promptSum) bool { return o.prompt == prompts[i].prompt })
		if j >= 0 {
			differences = append(differences, rate-otherRates[j])
		}
	}
	return newPaired(differences, a.cfg.Seed)
}

// newPaired summarizes the differences of prompts, of which those that are NaN are ignored.
func newPaired(differences []float64, seed uint64) *Paired {
	differences = slices.DeleteFunc(slices.Clone(differences), math.IsNaN)
	p := &Paired{Difference: Mean(differences), P: SignFlip(differences, seed), Prompts: len(differences)}
	p.Low, p.High = Interval(differences, seed)
	return p
}

// MinSignificant is the default of the number of significant positions that a hit rate
// must rest on before it is shown without a mark. With 30, the standard error of a rate
// is at most 0.09, the largest √(p(1-p)/n).
const MinSignificant = 30
