package analysis

import (
	"cmp"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/hitrate"
)

// Key says what a row of a result is about.
type Key struct {
	Model   string
	Dataset string  // "*" for all
	Prompt  string  // id; "*" for all
	Layer   int     // -1 for all
	Head    int     // -1 for all
	Window  int     // size of the observation window, rows
	Span    int     // number of the range of reply rows, from 0; -1 for all rows
	Top     float64 // share of the prefix that is kept; NaN where the budget was given
	Budget  int     // positions kept; -1 where prompts differ
	Theta   float64 // weights above it are significant
}

// KeyColumns are the columns of a [Key] in tables.
var KeyColumns = []string{"model", "dataset", "prompt", "layer", "head", "window", "span", "top", "budget", "theta"}

// Cells are the cells of the key columns.
func (k *Key) Cells() []any {
	return []any{k.Model, k.Dataset, k.Prompt, k.Layer, k.Head, k.Window, k.Span, k.Top, k.Budget, k.Theta}
}

// HitRateRow is one row of [HitRates]. Rows, Skipped, Significant and Hits are
// sums over heads, layers and prompts; the other numbers are means over prompts,
// NaN where they are defined for none. docs/MEASURES.md has the formulas.
type HitRateRow struct {
	Key
	Rows        int // reply rows that were rated
	Skipped     int // of these, rows without a significant position
	Prompts     int
	Significant int     // significant positions
	Hits        int     // of these, positions that the vote kept
	HitRate     float64 // of the vote
	Low, High   float64 // 95 % bootstrap interval of HitRate over prompts
	Chance      float64 // hit rate expected of random positions
	Recent      float64 // hit rate of the last positions
	SinksRecent float64 // hit rate of the first four and the last positions
	Oracle      float64 // hit rate of the positions that are significant in most rows
	Overlap     float64 // share of kept positions that the reply attends to most
	Mass        float64 // share of the reply's weight on kept positions
}

// HitRateColumns are the value columns of [HitRateTable].
var HitRateColumns = []string{
	"rows", "skipped", "prompts", "significant", "hits", "hit_rate", "ci_low", "ci_high",
	"chance", "recent", "sinks_recent", "oracle", "overlap", "mass",
}

// Cells are the cells of the row in the columns [KeyColumns] and
// [HitRateColumns].
func (r *HitRateRow) Cells() []any {
	return append(
		r.Key.Cells(),
		r.Rows, r.Skipped, r.Prompts, r.Significant, r.Hits, r.HitRate, r.Low, r.High,
		r.Chance, r.Recent, r.SinksRecent, r.Oracle, r.Overlap, r.Mass,
	)
}

// HitRateTable makes a table of the rows, with the columns [KeyColumns] and
// [HitRateColumns].
func HitRateTable(rows []HitRateRow) *table.Table {
	t := table.New(slices.Concat(KeyColumns, HitRateColumns)...)
	for i := range rows {
		t.Add(rows[i].Cells()...)
	}
	return t
}

// rows turns the groups into rows, in the order of their keys; prompts stay in
// the order of the dumps.
func (a *hitRates) rows() []HitRateRow {
	slices.SortStableFunc(a.order, func(x, y groupKey) int {
		return cmp.Or(
			cmp.Compare(x.model, y.model), cmp.Compare(x.dataset, y.dataset), cmp.Compare(x.layer, y.layer),
			cmp.Compare(x.head, y.head), cmp.Compare(x.set, y.set), cmp.Compare(x.span, y.span),
		)
	})
	var rows []HitRateRow
	few := 0
	for _, key := range a.order {
		g := a.groups[key]
		if len(g.perPrompt) < 2 {
			few++
		}
		rows = append(rows, a.row(g))
	}
	if few > 0 && !slices.Contains(a.cfg.By, ByPrompt) {
		a.warn(Warning{Kind: FewPrompts})
	}
	return rows
}

func (a *hitRates) row(g *group) HitRateRow {
	s := a.sets[g.set]
	row := HitRateRow{Key: Key{
		Model: g.model, Dataset: g.dataset, Prompt: g.prompt, Layer: g.layer, Head: g.head,
		Window: s.Window, Span: g.span, Top: s.Top, Budget: g.perPrompt[0].k, Theta: s.Theta,
	}}
	var counts hitrate.Counts
	var rates, recent, sinks, oracle, chance, overlap, mass []float64
	for i := range g.perPrompt {
		p := &g.perPrompt[i]
		counts.Add(p.counts)
		rates = append(rates, a.cfg.Average.of(p.counts, p.heads))
		recent = append(recent, over(p.counts.Recent, p.counts.Significant))
		sinks = append(sinks, over(p.counts.SinksRecent, p.counts.Significant))
		oracle = append(oracle, over(p.counts.Oracle, p.counts.Significant))
		n := float64(p.cells)
		chance = append(chance, p.chance/n)
		overlap = append(overlap, p.overlap/n)
		mass = append(mass, p.mass/n)
		if p.k != g.perPrompt[0].k {
			row.Budget = -1
		}
	}
	row.Rows = counts.Rows
	row.Skipped = counts.Skipped
	row.Prompts = len(g.perPrompt)
	row.Significant = counts.Significant
	row.Hits = counts.Hits
	row.HitRate = Mean(rates)
	row.Low, row.High = Interval(rates, a.cfg.Seed)
	row.Chance = Mean(chance)
	row.Recent = Mean(recent)
	row.SinksRecent = Mean(sinks)
	row.Oracle = Mean(oracle)
	row.Overlap = Mean(overlap)
	row.Mass = Mean(mass)
	return row
}

// over is a/b, NaN where b is zero.
func over(a, b int) float64 {
	if b == 0 {
		return math.NaN()
	}
	return float64(a) / float64(b)
}
