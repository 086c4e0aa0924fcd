package experiments

import (
	"context"
	"fmt"
	"math"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
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

func warningList(list []string) string {
	s := ""
	for _, w := range list {
		s += "\nNote: " + w + "\n"
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

// codeVariants are variants (b) and (c) of the authors' first scripts, with
// their window of 128, by layer and span; means over prompts.
func codeVariants(path string, span int) (*table.Table, error) {
	const window, theta = 128, 0.005
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := table.New("layer", "span", "prompts", "b_overlap", "c_typical")
	for _, layer := range r.Header().Plan.Layers {
		var overlap [][]float64
		var typical []float64
		for p := range r.Prompts() {
			if r.Prompts()[p].PromptTokens <= window {
				continue
			}
			rows, err := r.Weights(p, layer, dumps.Prefill)
			if err != nil {
				return nil, err
			}
			reply, err := r.Weights(p, layer, dumps.Decode)
			if err != nil {
				return nil, err
			}
			prefix := rows.Keys - window
			most := 0.0
			per := make([][]float64, (reply.Rows+span-1)/span)
			for h := range rows.Heads {
				vote := snapkv.Vote(rows.Head(h), rows.Rows, rows.Keys, min(window, rows.Rows), prefix)
				count := 0.0
				for j := range prefix {
					for i := range rows.Rows {
						if rows.Head(h)[i*rows.Keys+j] > hitrate.PaperTheta {
							count++
							break
						}
					}
				}
				most = max(most, count)
				for s := range per {
					lo, hi := s*span, min(reply.Rows, (s+1)*span)
					hits, all := 0.0, 0.0
					for j := range prefix {
						sum := 0.0
						for i := lo; i < hi; i++ {
							sum += float64(reply.Head(h)[i*reply.Keys+j])
						}
						if sum > theta*float64(hi-lo) {
							all++
							if vote[j] > theta*window {
								hits++
							}
						}
					}
					if all > 0 {
						per[s] = append(per[s], hits/all)
					}
				}
			}
			typical = append(typical, most)
			for s := range per {
				if s == len(overlap) {
					overlap = append(overlap, nil)
				}
				overlap[s] = append(overlap[s], analysis.Mean(per[s]))
			}
		}
		for s := range overlap {
			t.Add(layer, s, len(typical), analysis.Mean(overlap[s]), analysis.Mean(typical))
		}
	}
	return t, nil
}

// windows rates each of the last prompt windows' votes against the reply.
func windows(ctx context.Context, l *Lab) (string, error) {
	path, list, err := l.dialogueCapture(ctx)
	if err != nil {
		return "", err
	}
	t, err := windowRates(path, l.Seed)
	if err != nil {
		return "", err
	}
	if err := l.table(t, "hit-rate"); err != nil {
		return "", err
	}
	keyColumn, layerColumn, at := t.Column("keys"), t.Column("layer"), t.Column("window_index")
	words := fmt.Sprintf("Each of the prompt's last windows of 128 tokens votes; its top 5 %% are held against what the reply attends to (weight > 0.05).\n`common`: all windows vote over the positions before the first of them. `causal`: each over the positions before itself, as the window saw them.\nn = %d prompts.%s\n\n| keys | first window | last window | chance |\n|---|---|---|---|\n", len(list), few(len(list)))
	for _, keys := range []string{"common", "causal"} {
		k := viz.Curves{Title: "hit rate of each prompt window's vote (" + keys + " keys)", XLabel: "window of 128 prompt tokens, the last is the prompt's end", YLabel: "hit rate", Hi: 1, Meta: l.meta()}
		k.Caption = l.caption("top 5 %% of the keys, weight > 0.05; all layers; mean over %d prompts; band: 95 %% bootstrap interval; thin: every fifth layer.", len(list))
		all := viz.Series{Name: "all layers"}
		baselines := []string{"oracle", "sinks_recent", "recent"}
		grey := make([]viz.Series, len(baselines))
		for i, b := range baselines {
			grey[i] = viz.Series{Name: baselineNames[b], Baseline: true}
		}
		byLayer := map[int]*viz.Series{}
		var order []int
		for _, row := range t.Rows {
			if row[keyColumn] != keys {
				continue
			}
			x, y := float64(row[at].(int)), row[t.Column("hit_rate")].(float64)
			layer := row[layerColumn].(int)
			if layer < 0 {
				all.X, all.Y = append(all.X, x), append(all.Y, y)
				all.Low, all.High = append(all.Low, row[t.Column("ci_low")].(float64)), append(all.High, row[t.Column("ci_high")].(float64))
				for i := range grey {
					grey[i].X, grey[i].Y = append(grey[i].X, x), append(grey[i].Y, row[t.Column(baselines[i])].(float64))
				}
				continue
			}
			if layer%5 == 0 {
				if byLayer[layer] == nil {
					byLayer[layer] = &viz.Series{Name: fmt.Sprintf("layer %d", layer)}
					order = append(order, layer)
				}
				byLayer[layer].X, byLayer[layer].Y = append(byLayer[layer].X, x), append(byLayer[layer].Y, y)
			}
		}
		k.Series = append(k.Series, all)
		for _, layer := range order {
			k.Series = append(k.Series, *byLayer[layer])
		}
		k.Series = append(k.Series, grey...)
		if err := l.figure(viz.CurvesFigure(k), "hit-rate-"+keys); err != nil {
			return "", err
		}
		if n := len(all.Y); n > 0 {
			words += fmt.Sprintf("| %s | %s | %s [%s, %s] | 0.050 |\n", keys, short(all.Y[0]), short(all.Y[n-1]), short(all.Low[n-1]), short(all.High[n-1]))
		}
	}
	return words, nil
}

// windowRates rates the recorded prompt windows by layer, and all layers
// together (-1), with both key sets.
func windowRates(path string, seed uint64) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size := r.Header().Plan.PromptWindowSize
	layers := r.Header().Plan.Layers
	sums := map[[3]int][]hitrate.Counts{} // keys, layer, window from the end: counts of each prompt
	most := 0
	for p := range r.Prompts() {
		total := map[[3]int]*hitrate.Counts{}
		for _, layer := range layers {
			votes, count, err := r.Windows(p, layer)
			if err != nil {
				return nil, err
			}
			reply, err := r.Weights(p, layer, dumps.Decode)
			if err != nil {
				return nil, err
			}
			most = max(most, count)
			n := r.Prompts()[p].PromptTokens
			for h := range reply.Heads {
				lists := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, n, hitrate.PaperTheta)
				for w := range count {
					for keys := range 2 {
						prefix := n - (count-w)*size
						if keys == 0 {
							prefix = n - count*size
						}
						k := hitrate.Budget(hitrate.PaperTop, prefix)
						if k == 0 {
							continue
						}
						vote := make([]float64, prefix)
						for j := range vote {
							vote[j] = float64(votes[(h*count+w)*n+j])
						}
						c := hitrate.Count(lists, snapkv.TopK(vote, k), k, 0, prefix)
						for _, at := range []int{layer, -1} {
							key := [3]int{keys, at, count - 1 - w}
							if total[key] == nil {
								total[key] = &hitrate.Counts{}
							}
							total[key].Add(c)
						}
					}
				}
			}
		}
		for key, c := range total {
			sums[key] = append(sums[key], *c)
		}
	}
	t := table.New("keys", "layer", "window_index", "prompts", "hit_rate", "ci_low", "ci_high", "recent", "sinks_recent", "oracle", "significant")
	for keys, name := range []string{"common", "causal"} {
		for _, layer := range append([]int{-1}, layers...) {
			for w := range most {
				list := sums[[3]int{keys, layer, most - 1 - w}]
				var rate, recent, sinks, oracle []float64
				significant := 0
				for _, c := range list {
					n := float64(c.Significant)
					if n == 0 {
						n = math.NaN()
					}
					rate, recent = append(rate, float64(c.Hits)/n), append(recent, float64(c.Recent)/n)
					sinks, oracle = append(sinks, float64(c.SinksRecent)/n), append(oracle, float64(c.Oracle)/n)
					significant += c.Significant
				}
				lo, hi := analysis.Interval(rate, seed)
				t.Add(name, layer, w, len(list), analysis.Mean(rate), lo, hi, analysis.Mean(recent), analysis.Mean(sinks), analysis.Mean(oracle), significant)
			}
		}
	}
	return t, nil
}

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
