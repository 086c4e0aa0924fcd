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
	cfg.Windows, cfg.By, cfg.Span, cfg.Seed = []int{32, 128}, []string{"layer", "span"}, l.span(), l.Seed
	byLayer, warnings, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(byLayer, "hit-rate"); err != nil {
		return "", err
	}
	for _, w := range cfg.Windows {
		k := layerCurves(byLayer, func(row []any) string {
			if row[byLayer.Column("window")] != w {
				return ""
			}
			return fmt.Sprintf("tokens %d to %d", row[byLayer.Column("span")].(int)*l.span(), (row[byLayer.Column("span")].(int)+1)*l.span()-1)
		}, "hit_rate", "oracle", "sinks_recent", "recent", "chance")
		k.Title = fmt.Sprintf("hit rate of generated tokens against the prompt's last %d", w)
		k.Caption = fmt.Sprintf("%s; top 5 %% of the prefix, weight > 0.05; mean over %d prompts; bands: 95 %% bootstrap intervals. Grey: other choices of the same size.", modelOf(byLayer), n)
		k.YLabel, k.Meta = "hit rate", l.meta()
		if err := l.figure(viz.CurvesFigure(k), fmt.Sprintf("hit-rate-window-%d", w)); err != nil {
			return "", err
		}
	}
	cfg.By = []string{"dataset", "span"}
	sets, _, err := analysis.HitRates(ctx, []string{path}, cfg)
	if err != nil {
		return "", err
	}
	if err := l.table(sets, "sets"); err != nil {
		return "", err
	}
	cfg.By = []string{"span"}
	overall := table.New(append([]string{"skip_first"}, append(analysis.Keys, analysis.HitRateColumns...)...)...)
	for _, skip := range []int{0, 4} {
		cfg.SkipFirst = skip
		t, _, err := analysis.HitRates(ctx, []string{path}, cfg)
		if err != nil {
			return "", err
		}
		for _, row := range t.Rows {
			overall.Add(append([]any{skip}, row...)...)
		}
	}
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
	first, last := overall.Rows[0], overall.Rows[0]
	for _, row := range overall.Rows {
		if row[0] == 0 && row[overall.Column("window")] == 32 {
			last = row
		}
	}
	rate := overall.Column("hit_rate")
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
%s`, short(fresh), short(first[rate]), l.span(), short(last[rate]),
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

func modelOf(t *table.Table) string {
	if len(t.Rows) == 0 {
		return ""
	}
	return fmt.Sprint(t.Rows[0][t.Column("model")])
}

// baselineNames are what figures call the columns.
var baselineNames = map[string]string{"chance": "chance", "recent": "recent", "sinks_recent": "sinks + recent", "oracle": "oracle"}

// layerCurves makes a line over layers for each name; rows named "" are left
// out. Baselines are drawn from the rows of the first name.
func layerCurves(t *table.Table, name func(row []any) string, column string, baselines ...string) viz.Curves {
	k := viz.Curves{XLabel: "layer", Lo: 0, Hi: 1}
	at := map[string]int{}
	for _, row := range t.Rows {
		n := name(row)
		if n == "" {
			continue
		}
		i, ok := at[n]
		if !ok {
			i = len(k.Series)
			at[n] = i
			k.Series = append(k.Series, viz.Series{Name: n})
		}
		s := &k.Series[i]
		s.X, s.Y = append(s.X, float64(row[t.Column("layer")].(int))), append(s.Y, row[t.Column(column)].(float64))
		if c := t.Column("ci_low"); c >= 0 {
			s.Low, s.High = append(s.Low, row[c].(float64)), append(s.High, row[t.Column("ci_high")].(float64))
		}
	}
	if len(k.Series) == 0 {
		return k
	}
	first := k.Series[0].Name
	for i := len(baselines) - 1; i >= 0; i-- {
		b := viz.Series{Name: baselineNames[baselines[i]], Baseline: true}
		for _, row := range t.Rows {
			if name(row) == first {
				b.X, b.Y = append(b.X, float64(row[t.Column("layer")].(int))), append(b.Y, row[t.Column(baselines[i])].(float64))
			}
		}
		k.Series = append(k.Series, b)
	}
	return k
}
