package experiments

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// dialogueCapture makes the capture that generation, windows and sweep share: prompts
// of more than 3,000 tokens with replies of 512.
func (l *Lab) dialogueCapture(ctx context.Context) (string, []prompts.Prompt, error) {
	reply := 512
	windows := 20
	if l.Quick {
		reply = 32
		windows = 4
	}
	list, err := l.dialogues(reply)
	if err != nil {
		return "", nil, err
	}
	path, err := l.capture(ctx, "dialogues", list, dumps.Plan{
		WindowRows:       128,
		PromptWindows:    windows,
		PromptWindowSize: 128,
		MaxNewTokens:     reply,
		IgnoreEOS:        true,
	})
	return path, list, err
}

// generationReport holds the data for generation.md.tmpl.
type generationReport struct {
	Span     int     // tokens
	Distinct float64 // share of a reply's 4-token sequences that are new
	First    float64 // hit rate of the first span, window 32
	Last     float64 // hit rate of the last span
	Overall  *table.Table
	Controls *table.Table
	Prompts  int
	Warnings []analysis.Warning
}

// generation rates four spans of the reply against the prompt's last window, by
// layer: window 32 as in v1's text, 128 as in the authors' code.
func generation(ctx context.Context, l *Lab) (any, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return nil, err
	}
	return l.rateGeneration(ctx, path, len(list))
}

// span returns the number of generated tokens that are rated together.
func (l *Lab) span() int {
	if l.Quick {
		return 8
	}
	return 128
}

// rateGeneration rates a capture of n prompts.
func (l *Lab) rateGeneration(ctx context.Context, path string, n int) (*generationReport, error) {
	cfg := analysis.Paper
	cfg.Windows = []int{32, 128}
	cfg.Span = l.span()
	cfg.Seed = l.Seed
	cfg.By = []analysis.By{analysis.ByLayer, analysis.BySpan}
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return nil, err
	}
	for _, window := range cfg.Windows {
		k := l.generationCurves(byLayer, window, n)
		if err := l.curves(k, fmt.Sprintf("hit-rate-window-%d", window)); err != nil {
			return nil, err
		}
	}
	cfg.By = []analysis.By{analysis.ByDataset, analysis.BySpan}
	sets, _, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.table(analysis.HitRateTable(sets), "sets"); err != nil {
		return nil, err
	}
	cfg.By = []analysis.By{analysis.BySpan}
	overall, err := withAndWithoutSinks(ctx, path, cfg)
	if err != nil {
		return nil, err
	}
	if err := l.table(skipTable(overall), "overall"); err != nil {
		return nil, err
	}
	controls, err := l.generationSideTables(path, n)
	if err != nil {
		return nil, err
	}
	distinct, err := distinctShare(path)
	if err != nil {
		return nil, err
	}
	l.notes.ReplyDistinct4 = &distinct
	report := &generationReport{
		Span:     l.span(),
		Distinct: distinct,
		First:    overall[0].HitRate,
		Last:     overall[0].HitRate,
		Overall:  skipTable(overall),
		Controls: controlTable(slices.DeleteFunc(controls, func(r controlRow) bool { return r.layer != allLayers })),
		Prompts:  n,
		Warnings: warnings,
	}
	for _, row := range overall {
		if row.skip == 0 && row.Window == 32 {
			report.Last = row.HitRate
		}
	}
	return report, nil
}

// generationCurves draws a line over layers for each span.
func (l *Lab) generationCurves(rows []analysis.HitRateRow, window, n int) viz.Curves {
	k := layerCurves(rows, func(row *analysis.HitRateRow) string {
		if row.Window != window {
			return ""
		}
		return fmt.Sprintf("tokens %d to %d", row.Span*l.span(), (row.Span+1)*l.span()-1)
	})
	k.Title = fmt.Sprintf("hit rate of generated tokens against the prompt's last %d", window)
	k.Caption = fmt.Sprintf(
		"%s; top 5 %% of the prefix, weight > 0.05; mean over %s; bands: 95 %% bootstrap intervals."+
			" Gray: other choices of the same size.",
		rows[0].Model, words.Count(n, "prompt"))
	return k
}

// generationSideTables makes the tables of the authors' other statistics, of the
// controls and of the heads, with a map of the heads, and returns the rates of
// the controls.
func (l *Lab) generationSideTables(path string, n int) ([]controlRow, error) {
	variants, err := codeVariants(path, l.span())
	if err != nil {
		return nil, err
	}
	if err := l.table(variantTable(variants), "variants"); err != nil {
		return nil, err
	}
	controls, err := controlRates(path, l.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.table(controlTable(controls), "controls"); err != nil {
		return nil, err
	}
	heads, err := headScores(path, 32, l.Seed)
	if err != nil {
		return nil, err
	}
	if err := l.table(headTable(heads), "heads"); err != nil {
		return nil, err
	}
	var values []headValue
	for _, h := range heads {
		values = append(values, headValue{h.layer, h.head, h.rate.mean})
	}
	s := headMap(values)
	s.Title = "hit rate without the first four positions"
	s.BarTitle = "hit rate"
	s.Caption = l.caption("window 32, top 5 %%, weight > 0.05; mean over %s", words.Count(n, "prompt"))
	s.Meta = l.meta()
	return controls, l.figure(viz.SummaryFigure(s), "heads")
}

// distinctShare returns the share of a reply's 4-token sequences that do not repeat
// an earlier one, as a mean over prompts. It is 1 if nothing is repeated.
func distinctShare(path string) (float64, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var shares []float64
	for _, p := range r.Prompts() {
		reply := p.Tokens[p.PromptTokens:]
		if len(reply) < 4 {
			continue
		}
		seen := map[[4]int32]bool{}
		for i := range len(reply) - 3 {
			seen[[4]int32(reply[i:])] = true
		}
		shares = append(shares, float64(len(seen))/float64(len(reply)-3))
	}
	return analysis.Mean(shares), nil
}
