package experiments

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/viz"
)

// sweep rates windows of 1, 2, 4, ... 128 rows.
func sweep(ctx context.Context, l *Lab) (string, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return "", err
	}
	return l.rateSweep(ctx, path, len(list))
}

// skipRow is a row of rates with the number of first positions that were left
// out.
type skipRow struct {
	skip int
	analysis.HitRateRow
}

// withAndWithoutSinks rates all positions, then all but the first four.
func withAndWithoutSinks(ctx context.Context, path string, cfg analysis.HitRateConfig) ([]skipRow, error) {
	var list []skipRow
	for _, skip := range []int{0, 4} {
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

// skipTable is the table of rows with their numbers of skipped positions.
func skipTable(rows []skipRow) *table.Table {
	t := table.New(slices.Concat([]string{"skip_first"}, analysis.KeyColumns, analysis.HitRateColumns)...)
	for i := range rows {
		t.Add(append([]any{rows[i].skip}, rows[i].Cells()...)...)
	}
	return t
}

// rateSweep is what sweep makes of its capture of n prompts.
func (l *Lab) rateSweep(ctx context.Context, path string, n int) (string, error) {
	cfg := analysis.Paper
	cfg.Windows, cfg.Seed = []int{1, 2, 4, 8, 16, 32, 64, 128}, l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return "", err
	}
	cfg.By = nil
	rows, err := withAndWithoutSinks(ctx, path, cfg)
	if err != nil {
		return "", err
	}
	overall := skipTable(rows)
	if err := l.table(overall, "overall"); err != nil {
		return "", err
	}
	k := sweepCurves(rows)
	k.Meta = l.meta()
	k.Caption = fmt.Sprintf("%s; top 5 %% of the prefix, weight > 0.05, all layers; mean over %d prompts; bands: 95 %% bootstrap intervals.", byLayer[0].Model, n)
	if err := l.figure(viz.CurvesFigure(k), "hit-rate-window"); err != nil {
		return "", err
	}
	return markdown(overall, "skip_first", "window", "prompts", "hit_rate", "ci_low", "ci_high", "chance", "sinks_recent", "oracle", "overlap", "mass") + few(n) + warningList(warnings), nil
}

// sweepCurves draws the hit rate against the size of the window, with and without
// the first four positions.
func sweepCurves(rows []skipRow) viz.Curves {
	k := viz.Curves{
		Title:  "hit rate by size of the observation window",
		XLabel: "observation window (last prompt tokens)",
		YLabel: "hit rate",
		LogX:   true,
		Lo:     0,
		Hi:     1,
	}
	for _, skip := range []int{0, 4} {
		rate := viz.Series{Name: "all positions"}
		sinks := viz.Series{Name: "sinks + recent", Baseline: true}
		oracle := viz.Series{Name: "oracle", Baseline: true}
		if skip > 0 {
			rate.Name = "without first four"
			sinks.Name = "recent, without first four"
			oracle.Name = "oracle, without first four"
		}
		for _, row := range rows {
			if row.skip != skip {
				continue
			}
			x := float64(row.Window)
			rate.X = append(rate.X, x)
			rate.Y = append(rate.Y, row.HitRate)
			rate.Low = append(rate.Low, row.Low)
			rate.High = append(rate.High, row.High)
			oracle.X = append(oracle.X, x)
			oracle.Y = append(oracle.Y, row.Oracle)
			sinks.X = append(sinks.X, x)
			sinks.Y = append(sinks.Y, row.SinksRecent)
		}
		k.Series = append(k.Series, rate, oracle, sinks)
	}
	return k
}
