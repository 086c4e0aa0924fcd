package experiments

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/viz"
)

// dialogueCapture is shared by generation, windows and sweep: prompts of more
// than 3,000 tokens, replies of 512.
func (l *Lab) dialogueCapture(ctx context.Context) (string, []prompts.Prompt, error) {
	reply, windows := 512, 20
	if l.Quick {
		reply, windows = 32, 4
	}
	list, err := l.dialogues(reply)
	if err != nil {
		return "", nil, err
	}
	path, err := l.capture(ctx, "dialogues", list, dumps.Plan{WindowRows: 128, PromptWindows: windows, PromptWindowSize: 128, MaxNewTokens: reply, IgnoreEOS: true})
	return path, list, err
}

// span is the number of generated tokens rated together.
func (l *Lab) span() int {
	if l.Quick {
		return 8
	}
	return 128
}

// generation rates four spans of the reply against the prompt's last window, by
// layer: window 32 as in v1's text, 128 as in the authors' code.
func generation(ctx context.Context, l *Lab) (string, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return "", err
	}
	return l.rateGeneration(ctx, path, len(list))
}

// rateGeneration is what generation makes of its capture of n prompts.
func (l *Lab) rateGeneration(ctx context.Context, path string, n int) (string, error) {
	cfg := analysis.Paper
	cfg.Windows, cfg.By, cfg.Span, cfg.Seed = []int{32, 128}, []analysis.By{analysis.ByLayer, analysis.BySpan}, l.span(), l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(analysis.HitRateTable(byLayer), "hit-rate"); err != nil {
		return "", err
	}
	for _, w := range cfg.Windows {
		k := layerCurves(byLayer, func(row *analysis.HitRateRow) string {
			if row.Window != w {
				return ""
			}
			return fmt.Sprintf("tokens %d to %d", row.Span*l.span(), (row.Span+1)*l.span()-1)
		})
		k.Title = fmt.Sprintf("hit rate of generated tokens against the prompt's last %d", w)
		k.Caption = fmt.Sprintf("%s; top 5 %% of the prefix, weight > 0.05; mean over %d prompts; bands: 95 %% bootstrap intervals. Grey: other choices of the same size.", byLayer[0].Model, n)
		k.YLabel, k.Meta = "hit rate", l.meta()
		if err := l.figure(viz.CurvesFigure(k), fmt.Sprintf("hit-rate-window-%d", w)); err != nil {
			return "", err
		}
	}
	cfg.By = []analysis.By{analysis.ByDataset, analysis.BySpan}
	sets, _, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(analysis.HitRateTable(sets), "sets"); err != nil {
		return "", err
	}
	cfg.By = []analysis.By{analysis.BySpan}
	rows, err := withAndWithoutSinks(ctx, path, cfg)
	if err != nil {
		return "", err
	}
	overall := skipTable(rows)
	if err := l.table(overall, "overall"); err != nil {
		return "", err
	}
	variants, err := codeVariants(path, l.span())
	if err != nil {
		return "", err
	}
	if err := l.table(variants, "variants"); err != nil {
		return "", err
	}
	null, err := controls(path, l.Seed)
	if err != nil {
		return "", err
	}
	if err := l.table(null, "controls"); err != nil {
		return "", err
	}
	heads, err := headScores(path, 32, l.Seed)
	if err != nil {
		return "", err
	}
	if err := l.table(heads, "heads"); err != nil {
		return "", err
	}
	if err := l.headMap(heads, "hit_rate", "hit rate without the first four positions", "hit rate", fmt.Sprintf("window 32, top 5 %%, weight > 0.05; mean over %d prompts", n), "heads"); err != nil {
		return "", err
	}
	first := rows[0]
	last := rows[0]
	for _, row := range rows {
		if row.skip == 0 && row.Window == 32 {
			last = row
		}
	}
	fresh, err := freshShare(path)
	if err != nil {
		return "", err
	}
	l.notes["reply_distinct_4grams"] = fresh
	words := fmt.Sprintf(`Of the 4-token sequences of a reply, %s are not a repetition of an earlier one (mean over prompts): the lower, the more of
a reply is a loop, which attends to little.

With a window of 32, the hit rate over all layers is %s for the first span of %d generated tokens and %s for the last.
The table has it with and without the first four positions, which most heads attend to whatever the text says.

%s
variants.csv has the other two statistics of the authors' first scripts: (b) overlap of the positions whose mean weight passes 0.005
in the window and in the span, per head, then the mean over heads; (c) the largest number, over heads, of positions above 0.05 in
any row of the window: a count, not a rate.

## Null controls

The same reply rated against votes that did not see it coming: the next prompt's, cut or filled in the middle to equal length, and that of
an earlier window of this prompt. `+"`difference`"+` is the prompt's own vote minus the control, paired, with its interval and
the p-value of a sign-flip test. controls.csv has them by layer.

%s
## Heads

heads.csv tells consistent heads from others: their hit rate without sinks, how far two halves of the window agree, the share of the reply's
important positions that the window found important, and how unevenly the window's rows spread their choices.
%s`, short(fresh), short(first.HitRate), l.span(), short(last.HitRate),
		markdown(overall, "skip_first", "window", "span", "prompts", "hit_rate", "ci_low", "ci_high", "chance", "recent", "sinks_recent", "oracle", "overlap"), markdown(overallOnly(null), null.Columns...), few(n))
	return words + warningList(warnings), nil
}

// freshShare is the share of a reply's sequences of four tokens that were not in
// it before, mean over prompts: 1 where nothing is repeated.
func freshShare(path string) (float64, error) {
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

// overallOnly are the rows of all layers together.
func overallOnly(t *table.Table) *table.Table {
	out := table.New(t.Columns...)
	for _, row := range t.Rows {
		if row[t.Column("layer")] == -1 {
			out.Add(row...)
		}
	}
	return out
}

func warningList(list []analysis.Warning) string {
	s := ""
	for _, w := range list {
		s += "\nNote: " + w.String() + "\n"
	}
	return s
}

// baselines are the choices that need no attention, and the best one, as figures
// name them.
var baselines = []struct {
	name string
	rate func(*analysis.HitRateRow) float64
}{
	{"chance", func(r *analysis.HitRateRow) float64 { return r.Chance }},
	{"recent", func(r *analysis.HitRateRow) float64 { return r.Recent }},
	{"sinks + recent", func(r *analysis.HitRateRow) float64 { return r.SinksRecent }},
	{"oracle", func(r *analysis.HitRateRow) float64 { return r.Oracle }},
}

// layerCurves makes a line over layers for each name; rows named "" are left
// out. Baselines are drawn from the rows of the first name.
func layerCurves(rows []analysis.HitRateRow, name func(*analysis.HitRateRow) string) viz.Curves {
	k := viz.Curves{XLabel: "layer", Lo: 0, Hi: 1}
	series := map[string]int{}
	for i := range rows {
		row := &rows[i]
		n := name(row)
		if n == "" {
			continue
		}
		i, ok := series[n]
		if !ok {
			i = len(k.Series)
			series[n] = i
			k.Series = append(k.Series, viz.Series{Name: n})
		}
		s := &k.Series[i]
		s.X = append(s.X, float64(row.Layer))
		s.Y = append(s.Y, row.HitRate)
		s.Low = append(s.Low, row.Low)
		s.High = append(s.High, row.High)
	}
	if len(k.Series) == 0 {
		return k
	}
	first := k.Series[0].Name
	for _, b := range baselines {
		s := viz.Series{Name: b.name, Baseline: true}
		for i := range rows {
			if name(&rows[i]) == first {
				s.X = append(s.X, float64(rows[i].Layer))
				s.Y = append(s.Y, b.rate(&rows[i]))
			}
		}
		k.Series = append(k.Series, s)
	}
	return k
}
