package experiments

import (
	"context"
	"fmt"
	"math"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/viz"
)

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
	words := fmt.Sprintf("Each of the prompt's last windows of 128 tokens votes; its top 5 %% are held against what the reply attends to (weight > 0.05).\n`common`: all windows vote over the positions before the first of them. `causal`: each over the positions before itself, as the window saw them.\nn = %d prompts.%s\n\n| keys | first positions left out | first window | last window | sinks + recent there | chance |\n|---|---|---|---|---|---|\n", len(list), few(len(list)))
	for _, keys := range []string{"common", "causal"} {
		for _, skip := range windowSkips {
			k := windowCurves(t, keys, skip)
			k.Meta, k.Caption = l.meta(), l.caption("top 5 %% of the keys, weight > 0.05; all layers; mean over %d prompts; band: 95 %% bootstrap interval; thin: every fifth layer.", len(list))
			name := "hit-rate-" + keys
			if skip > 0 {
				name += "-without-first-four"
			}
			if err := l.figure(viz.CurvesFigure(k), name); err != nil {
				return "", err
			}
			all := k.Series[0]
			if n := len(all.Y); n > 0 {
				sinks := k.Series[len(k.Series)-2]
				words += fmt.Sprintf("| %s | %d | %s [%s, %s] | %s [%s, %s] | %s | 0.050 |\n", keys, skip, short(all.Y[0]), short(all.Low[0]), short(all.High[0]),
					short(all.Y[n-1]), short(all.Low[n-1]), short(all.High[n-1]), short(sinks.Y[n-1]))
			}
		}
	}
	return words, nil
}

// windowSkips are the numbers of first positions that windowRates leaves out.
var windowSkips = []int{0, 4}

// windowCurves draws a key set of windowRates: all layers, every fifth, and last
// oracle, sinks + recent, recent.
func windowCurves(t *table.Table, keys string, skip int) viz.Curves {
	k := viz.Curves{Title: "hit rate of each prompt window's vote (" + keys + " keys)", XLabel: "window of 128 prompt tokens, the last is the prompt's end", YLabel: "hit rate", Hi: 1}
	if skip > 0 {
		k.Title += ", first four positions left out"
	}
	number := func(row []any, name string) float64 { return row[t.Column(name)].(float64) }
	all := viz.Series{Name: "all layers"}
	baselines := []string{"oracle", "sinks_recent", "recent"}
	grey := make([]viz.Series, len(baselines))
	for i, b := range baselines {
		grey[i] = viz.Series{Name: map[string]string{"oracle": "oracle", "sinks_recent": "sinks + recent", "recent": "recent"}[b], Baseline: true}
	}
	byLayer := map[int]*viz.Series{}
	var order []int
	for _, row := range t.Rows {
		if row[t.Column("keys")] != keys || row[t.Column("skip_first")] != skip {
			continue
		}
		x, y := float64(row[t.Column("window_index")].(int)), number(row, "hit_rate")
		layer := row[t.Column("layer")].(int)
		if layer < 0 {
			all.X, all.Y = append(all.X, x), append(all.Y, y)
			all.Low, all.High = append(all.Low, number(row, "ci_low")), append(all.High, number(row, "ci_high"))
			for i := range grey {
				grey[i].X, grey[i].Y = append(grey[i].X, x), append(grey[i].Y, number(row, baselines[i]))
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
	return k
}

// windowRates rates the recorded prompt windows by layer, and all layers
// together (-1), with both key sets, with and without the first four positions.
func windowRates(path string, seed uint64) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	size := r.Header().Plan.PromptWindowSize
	layers := r.Header().Plan.Layers
	type place struct{ keys, skip, layer, window int } // the window counted from the end
	sums := map[place][]hitrate.Counts{}               // counts of each prompt
	most := 0
	for p := range r.Prompts() {
		total := map[place]*hitrate.Counts{}
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
			counts := make([][][2][2]*hitrate.Counts, reply.Heads) // [head][window][keys][skip], nil of too few keys
			parallel.For(reply.Heads, func(h int) {
				counts[h] = make([][2][2]*hitrate.Counts, count)
				lists := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, n, hitrate.PaperTheta)
				for w := range count {
					vote := make([]float64, n-(count-w)*size)
					for j := range vote {
						vote[j] = float64(votes[(h*count+w)*n+j])
					}
					for keys, prefix := range [2]int{n - count*size, len(vote)} { // of common, of causal
						for i, skip := range windowSkips {
							if hitrate.Budget(hitrate.PaperTop, prefix) > 0 {
								c := countVote(vote[:prefix], lists, skip, prefix)
								counts[h][w][keys][i] = &c
							}
						}
					}
				}
			})
			for h := range counts {
				for w := range counts[h] {
					for keys, bySkip := range counts[h][w] {
						for i, c := range bySkip {
							if c == nil {
								continue
							}
							for _, at := range []int{layer, -1} {
								key := place{keys, windowSkips[i], at, count - 1 - w}
								if total[key] == nil {
									total[key] = &hitrate.Counts{}
								}
								total[key].Add(*c)
							}
						}
					}
				}
			}
		}
		for key, c := range total {
			sums[key] = append(sums[key], *c)
		}
	}
	t := table.New("keys", "skip_first", "layer", "window_index", "prompts", "hit_rate", "ci_low", "ci_high", "recent", "sinks_recent", "oracle", "significant")
	for keys, name := range []string{"common", "causal"} {
		for _, skip := range windowSkips {
			for _, layer := range append([]int{-1}, layers...) {
				for w := range most {
					list := sums[place{keys, skip, layer, most - 1 - w}]
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
					t.Add(name, skip, layer, w, len(list), analysis.Mean(rate), lo, hi, analysis.Mean(recent), analysis.Mean(sinks), analysis.Mean(oracle), significant)
				}
			}
		}
	}
	return t, nil
}
