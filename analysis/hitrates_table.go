package analysis

import (
	"cmp"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
)

// table turns the groups into rows, in the order of their keys; prompts stay
// in the order of the dump.
func (a *hitRates) table() *table.Table {
	t := table.New(slices.Concat(Keys, HitRateColumns)...)
	slices.SortStableFunc(a.order, func(x, y groupKey) int {
		return cmp.Or(cmp.Compare(x.model, y.model), cmp.Compare(x.dataset, y.dataset),
			cmp.Compare(x.layer, y.layer), cmp.Compare(x.head, y.head), cmp.Compare(x.set, y.set), cmp.Compare(x.span, y.span))
	})
	few := 0
	for _, key := range a.order {
		g := a.groups[key]
		if len(g.perPrompt) < 2 {
			few++
		}
		t.Add(a.row(g)...)
	}
	if few > 0 && !slices.Contains(a.cfg.By, "prompt") {
		a.warn(Warning{Kind: FewPrompts})
	}
	return t
}

func (a *hitRates) row(g *group) []any {
	s := a.sets[g.set]
	var total promptSum
	var rates, recent, sinks, oracle, chance, overlap, mass []float64
	budget := g.perPrompt[0].k
	for i := range g.perPrompt {
		p := &g.perPrompt[i]
		total.counts.Add(p.counts)
		rates = append(rates, a.average(p))
		recent = append(recent, over(p.counts.Recent, p.counts.Significant))
		sinks = append(sinks, over(p.counts.SinksRecent, p.counts.Significant))
		oracle = append(oracle, over(p.counts.Oracle, p.counts.Significant))
		n := float64(p.cells)
		chance, overlap, mass = append(chance, p.chance/n), append(overlap, p.overlap/n), append(mass, p.mass/n)
		if p.k != budget {
			budget = -1 // differs between prompts
		}
	}
	lo, hi := Interval(rates, a.cfg.Seed)
	return []any{
		g.model, g.dataset, g.prompt, g.layer, g.head, s.window, g.span, s.top, budget, s.theta,
		total.counts.Rows, total.counts.Skipped, len(g.perPrompt), total.counts.Significant, total.counts.Hits,
		Mean(rates), lo, hi, Mean(chance), Mean(recent), Mean(sinks), Mean(oracle), Mean(overlap), Mean(mass),
	}
}

// average is a prompt's hit rate: ratio of sums, mean over rows, or mean over
// heads of a head's mean over rows.
func (a *hitRates) average(p *promptSum) float64 {
	switch a.cfg.Average {
	case "rows":
		return p.counts.RowMean()
	case "heads":
		return Mean(p.heads)
	}
	return p.counts.Rate()
}

func over(a, b int) float64 {
	if b == 0 {
		return math.NaN()
	}
	return float64(a) / float64(b)
}
