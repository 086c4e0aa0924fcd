package experiments

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// Sinks and recent positions that headConsistency leaves out.
const (
	sinkPositions   = 4
	recentPositions = 16
)

// headScores tells the heads that attend to the same positions all along from
// those that do not. By layer and head, means over prompts, sinks (the first
// four) left out:
//
//	hit_rate     of the reply against the window's vote
//	halves       share of positions that the window's even rows, voting alone,
//	             and its odd rows have in common: top 5 % each
//	persistence  of the positions that get more than 1/t of the reply's mean row,
//	             the share that did of the window's mean row (Scissorhands,
//	             arXiv:2305.17118, in our reading)
//	variation    std/mean over positions of the number of window rows whose top 5 %
//	             hold the position (after CateKV; the quantile is our choice); high: the rows
//	             agree
func headScores(path string, window int, seed uint64) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := table.New("layer", "head", "window", "prompts", "hit_rate", "ci_low", "ci_high", "halves", "persistence", "variation")
	plan := r.Header().Plan
	for _, layer := range plan.Layers {
		scores := make([][4][]float64, len(plan.Heads))
		for p := range r.Prompts() {
			prefix := r.Prompts()[p].PromptTokens - window
			if prefix <= sinkPositions+recentPositions {
				continue
			}
			rows, reply, err := recordedRows(r, p, layer)
			if err != nil {
				return nil, err
			}
			parallel.For(len(scores), func(h int) {
				w := rows.Head(h)[(rows.Rows-window)*rows.Keys:]
				lists := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, prefix, hitrate.PaperTheta)
				vote := snapkv.Vote(w, window, rows.Keys, window, prefix)
				for i, x := range []float64{
					countVote(vote, lists, sinkPositions, prefix).Rate(), halves(w, window, rows.Keys, prefix),
					persistence(vote, window, reply.Head(h), reply.Rows, reply.Keys), variation(w, window, rows.Keys, prefix),
				} {
					scores[h][i] = append(scores[h][i], x)
				}
			})
		}
		for h, s := range scores {
			lo, hi := analysis.Interval(s[0], seed)
			t.Add(layer, plan.Heads[h], window, len(s[0]), analysis.Mean(s[0]), lo, hi, analysis.Mean(s[1]), analysis.Mean(s[2]), analysis.Mean(s[3]))
		}
	}
	return t, nil
}

// recordedRows are a layer's rows of the prompt's end and of the reply.
func recordedRows(r *dumps.Reader, prompt, layer int) (rows, reply *dumps.Attention, err error) {
	if rows, err = r.Weights(prompt, layer, dumps.Prefill); err == nil {
		reply, err = r.Weights(prompt, layer, dumps.Decode)
	}
	return rows, reply, err
}

// halves is the overlap of the top 5 % of even and odd rows [n, keys], over the
// positions between the sinks and prefix.
func halves(rows []float32, n, keys, prefix int) float64 {
	var vote [2][]float64
	for odd := range vote {
		vote[odd] = make([]float64, prefix-sinkPositions)
		for i := odd; i < n; i += 2 {
			for j := range vote[odd] {
				vote[odd][j] += float64(rows[i*keys+sinkPositions+j])
			}
		}
	}
	k := hitrate.Budget(hitrate.PaperTop, prefix)
	if n < 2 || k == 0 || k > len(vote[0]) {
		return math.NaN()
	}
	return float64(hitrate.Overlap(snapkv.TopK(vote[0], k), snapkv.TopK(vote[1], k))) / float64(k)
}

// persistence is the share of the reply's important positions that the window
// found important: a mean weight above 1/prefix.
func persistence(vote []float64, window int, reply []float32, n, keys int) float64 {
	prefix := len(vote)
	both, all := 0, 0
	for j, sum := range snapkv.Vote(reply, n, keys, n, prefix) {
		if j >= sinkPositions && sum*float64(prefix) > float64(n) {
			all++
			if vote[j]*float64(prefix) > float64(window) {
				both++
			}
		}
	}
	if all == 0 {
		return math.NaN()
	}
	return float64(both) / float64(all)
}

// variation is std/mean, over positions between sinks and recent, of the number
// of rows among whose top 5 % a position is.
func variation(rows []float32, n, keys, prefix int) float64 {
	size := prefix - sinkPositions - recentPositions
	k := hitrate.Budget(hitrate.PaperTop, size)
	if k == 0 {
		return math.NaN()
	}
	count, score := make([]float64, size), make([]float64, size)
	for i := range n {
		for j := range score {
			score[j] = float64(rows[i*keys+sinkPositions+j])
		}
		for _, j := range snapkv.TopK(score, k) {
			count[j]++
		}
	}
	mean := float64(n*k) / float64(size)
	sum := 0.0
	for _, c := range count {
		sum += (c - mean) * (c - mean)
	}
	return math.Sqrt(sum/float64(size)) / mean
}

// headMap draws a column of a table with columns layer and head.
func (l *Lab) headMap(t *table.Table, column, title, bar, caption, name string) error {
	var layers []int
	heads := 0
	for _, row := range t.Rows {
		if n := row[0].(int); !slices.Contains(layers, n) {
			layers = append(layers, n)
		}
		heads = max(heads, row[1].(int)+1)
	}
	s := viz.Summary{Title: title, XLabel: "head", Caption: l.caption("%s", caption), BarTitle: bar, Layers: layers, Rates: viz.NewGrid(len(layers), heads), Meta: l.meta()}
	for h := range heads {
		s.Columns = append(s.Columns, short(h))
	}
	for _, row := range t.Rows {
		s.Rates.Values[slices.Index(layers, row[0].(int))*heads+row[1].(int)] = row[t.Column(column)].(float64)
	}
	return l.figure(viz.SummaryFigure(s), name)
}

// withNeedle makes the needle itself the reply to follow, as it stands in each
// prompt, so that every head can be asked whether it copies.
func withNeedle(tasks []retrieval, needle string) (list []prompts.Prompt) {
	for _, t := range tasks {
		p := t.prompt
		if lo, hi := spanOf(p.Text, p.Ends, needle); lo >= 0 {
			p.Reply = append([]int32(nil), p.Tokens[lo:hi]...)
		}
		list = append(list, p)
	}
	return list
}

// copied is the retrieval score of a head (Wu et al., arXiv:2404.15574): the share
// of the needle's tokens, at [lo, hi) of the prompt, that the head copies. A
// token counts as copied when the row that has to give it out looks most at a
// position of the needle that holds it. first is the prompt's last row, rows
// [n, keys] are the reply's, the last of which gives nothing out.
func copied(first, rows []float32, keys, n int, prompt, reply []int32, lo, hi int) float64 {
	if hi <= lo {
		return math.NaN()
	}
	found := map[int]bool{}
	for i := range min(n, len(reply)) {
		row := first
		if i > 0 {
			row = rows[(i-1)*keys : i*keys]
		}
		best := 0
		for j, w := range row {
			if w > row[best] {
				best = j
			}
		}
		if best >= lo && best < hi && prompt[best] == reply[i] {
			found[best] = true
		}
	}
	return float64(len(found)) / float64(hi-lo)
}
