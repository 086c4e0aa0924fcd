package experiments

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/internal/words"
)

// sweepReport holds the data for sweep.md.tmpl.
type sweepReport struct {
	Overall  *table.Table
	Prompts  int
	Warnings []analysis.Warning
}

// sweep rates windows of 1, 2, 4, ... 128 rows.
func sweep(ctx context.Context, l *Lab) (any, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return nil, err
	}
	return l.rateSweep(ctx, path, len(list))
}

// rateSweep rates a capture of n prompts.
func (l *Lab) rateSweep(ctx context.Context, path string, n int) (*sweepReport, error) {
	cfg := analysis.Paper
	cfg.Windows = []int{1, 2, 4, 8, 16, 32, 64, 128}
	cfg.Seed = l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return nil, err
	}
	cfg.By = nil
	rows, err := withAndWithoutSinks(ctx, path, cfg)
	if err != nil {
		return nil, err
	}
	overall := skipTable(rows)
	if err := l.table(overall, "overall"); err != nil {
		return nil, err
	}
	k := sweepCurves(rows)
	k.Caption = fmt.Sprintf(
		"%s; top 5 %% of the prefix, weight > 0.05, all layers; mean over %s; bands: 95 %% bootstrap intervals.",
		byLayer[0].Model, words.Count(n, "prompt"))
	if err := l.curves(k, "hit-rate-window"); err != nil {
		return nil, err
	}
	return &sweepReport{Overall: overall, Prompts: n, Warnings: warnings}, nil
}
