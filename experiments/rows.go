package experiments

import (
	"context"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
)

// allLayers is the layer of a row that covers all layers together.
const allLayers = -1

// sinkSkips are the numbers of first positions that are left out in turn: none,
// and the four sinks that most heads attend to whatever the text says.
var sinkSkips = []int{0, 4}

// estimate is a mean over prompts with its 95 % bootstrap interval.
type estimate struct{ mean, low, high float64 }

func estimateOf(values []float64, seed uint64) estimate {
	low, high := analysis.Interval(values, seed)
	return estimate{analysis.Mean(values), low, high}
}

func (e estimate) cells() []any { return []any{e.mean, e.low, e.high} }

// difference is the mean difference of pairs, with its 95 % bootstrap interval
// and the p-value of a sign-flip test.
type difference struct {
	estimate
	p float64
}

func differenceOf(values []float64, seed uint64) difference {
	return difference{estimateOf(values, seed), analysis.SignFlip(values, seed)}
}

func (d difference) cells() []any { return append(d.estimate.cells(), d.p) }

// tableRow is a row of a result.
type tableRow interface {
	cells() []any
}

// tableOf makes a table of rows.
func tableOf[R tableRow](columns []string, rows []R) *table.Table {
	t := table.New(columns...)
	for _, row := range rows {
		t.Add(row.cells()...)
	}
	return t
}

// skipRow is a row of hit rates with the number of first positions that were
// left out.
type skipRow struct {
	skip int
	analysis.HitRateRow
}

func (r skipRow) cells() []any { return append([]any{r.skip}, r.Cells()...) }

// skipTable makes a table of the rows.
func skipTable(rows []skipRow) *table.Table {
	return tableOf(slices.Concat([]string{"skip_first"}, analysis.KeyColumns, analysis.HitRateColumns), rows)
}

// withAndWithoutSinks rates a dump once with all positions, once without the
// first four.
func withAndWithoutSinks(ctx context.Context, path string, cfg analysis.HitRateConfig) ([]skipRow, error) {
	var list []skipRow
	for _, skip := range sinkSkips {
		cfg.SkipFirst = skip
		rows, _, err := analysis.HitRates(ctx, []string{path}, cfg)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			list = append(list, skipRow{skip, row})
		}
	}
	return list, nil
}
