package experiments

import (
	"context"
	"fmt"

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

// rateSweep is what sweep makes of its capture of n prompts.
func (l *Lab) rateSweep(ctx context.Context, path string, n int) (string, error) {
	cfg := analysis.Paper
	cfg.Windows, cfg.Seed = []int{1, 2, 4, 8, 16, 32, 64, 128}, l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(byLayer, "hit-rate"); err != nil {
		return "", err
	}
	overall := table.New(append([]string{"skip_first"}, append(analysis.Keys, analysis.HitRateColumns...)...)...)
	k := viz.Curves{Title: "hit rate by size of the observation window", XLabel: "observation window (last prompt tokens)", YLabel: "hit rate", LogX: true, Lo: 0, Hi: 1, Meta: l.meta()}
	k.Caption = fmt.Sprintf("%s; top 5 %% of the prefix, weight > 0.05, all layers; mean over %d prompts; bands: 95 %% bootstrap intervals.", modelOf(byLayer), n)
	cfg.By = nil
	for _, skip := range []int{0, 4} {
		cfg.SkipFirst = skip
		t, _, err := analysis.HitRates(ctx, []string{path}, cfg)
		if err != nil {
			return "", err
		}
		s := viz.Series{Name: "all positions"}
		base := viz.Series{Name: "sinks + recent", Baseline: true}
		oracle := viz.Series{Name: "oracle", Baseline: true}
		if skip > 0 {
			s.Name, base.Name, oracle.Name = "without first four", "recent, without first four", "oracle, without first four"
		}
		for _, row := range t.Rows {
			overall.Add(append([]any{skip}, row...)...)
			s.X, s.Y = append(s.X, float64(row[t.Column("window")].(int))), append(s.Y, row[t.Column("hit_rate")].(float64))
			s.Low, s.High = append(s.Low, row[t.Column("ci_low")].(float64)), append(s.High, row[t.Column("ci_high")].(float64))
			base.X, base.Y = append(base.X, s.X[len(s.X)-1]), append(base.Y, row[t.Column("sinks_recent")].(float64))
			oracle.X, oracle.Y = append(oracle.X, s.X[len(s.X)-1]), append(oracle.Y, row[t.Column("oracle")].(float64))
		}
		k.Series = append(k.Series, s, oracle, base)
	}
	if err := l.table(overall, "overall"); err != nil {
		return "", err
	}
	if err := l.figure(viz.CurvesFigure(k), "hit-rate-window"); err != nil {
		return "", err
	}
	return markdown(overall, "skip_first", "window", "prompts", "hit_rate", "ci_low", "ci_high", "chance", "sinks_recent", "oracle", "overlap", "mass") + few(n) + warningList(warnings), nil
}
