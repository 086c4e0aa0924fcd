package experiments

import (
	"math"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// The scores of heads leave out this many sinks and recent positions.
const (
	sinkPositions   = 4
	recentPositions = 16
)

// headRow holds the scores of one head, as means over prompts, without the sinks.
type headRow struct {
	layer, head int
	window      int
	prompts     int
	// rate is the hit rate of the window's vote on the reply.
	rate estimate
	// halves is the share of positions that the top 5 % of the window's even rows
	// and of its odd rows have in common.
	halves float64
	// persistence is the share of the positions with a mean weight above 1/t in the
	// reply that have a mean weight above 1/t in the window too, where t is the
	// length of the prefix (our reading of Scissorhands, arXiv:2305.17118).
	persistence float64
	// variation is the coefficient of variation, over positions, of the number of
	// window rows whose top 5 % contain the position (after CateKV; the 5 % is our
	// choice). High values mean that the rows agree.
	variation float64
}

func (r headRow) cells() []any {
	return []any{
		r.layer, r.head, r.window, r.prompts, r.rate.mean, r.rate.low, r.rate.high, r.halves, r.persistence, r.variation,
	}
}

func headTable(rows []headRow) *table.Table {
	return tableOf([]string{
		"layer", "head", "window", "prompts", "hit_rate", "ci_low", "ci_high", "halves", "persistence", "variation",
	}, rows)
}

// headScores computes, by layer and head, the scores that distinguish heads that
// always attend to the same positions from the others.
func headScores(path string, window int, seed uint64) ([]headRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	type scores struct{ rate, halves, persistence, variation []float64 } // of each prompt
	var list []headRow
	plan := r.Header().Plan
	for _, layer := range plan.Layers {
		heads := make([]scores, len(plan.Heads))
		for p := range r.Prompts() {
			prefix := r.Prompts()[p].PromptTokens - window
			if prefix <= sinkPositions+recentPositions {
				continue
			}
			rows, reply, err := recordedRows(r, p, layer)
			if err != nil {
				return nil, err
			}
			parallel.For(len(heads), func(h int) {
				w := rows.Head(h)[(rows.Rows-window)*rows.Keys:]
				significant := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, prefix, hitrate.PaperTheta)
				vote := snapkv.Vote(w, window, rows.Keys, window, prefix)
				s := &heads[h]
				s.rate = append(s.rate, countVote(vote, significant, sinkPositions, prefix).Rate())
				s.halves = append(s.halves, halves(w, window, rows.Keys, prefix))
				s.persistence = append(s.persistence, persistence(vote, window, reply.Head(h), reply.Rows, reply.Keys))
				s.variation = append(s.variation, variation(w, window, rows.Keys, prefix))
			})
		}
		for h, s := range heads {
			list = append(list, headRow{
				layer:       layer,
				head:        plan.Heads[h],
				window:      window,
				prompts:     len(s.rate),
				rate:        estimateOf(s.rate, seed),
				halves:      analysis.Mean(s.halves),
				persistence: analysis.Mean(s.persistence),
				variation:   analysis.Mean(s.variation),
			})
		}
	}
	return list, nil
}

// recordedRows reads a layer's rows of the prompt's end and of the reply.
func recordedRows(r *dumps.Reader, prompt, layer int) (rows, reply *dumps.Attention, err error) {
	if rows, err = r.Weights(prompt, layer, dumps.Prefill); err != nil {
		return nil, nil, err
	}
	reply, err = r.Weights(prompt, layer, dumps.Decode)
	return rows, reply, err
}

// halves returns the overlap of the top 5 % of the even and of the odd rows [n,
// keys], over the positions between the sinks and prefix.
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

// persistence returns the share of the positions important to the reply that are
// important to the window too. Important means a mean weight above 1/prefix. vote
// sums the window's rows; reply is [n, keys].
func persistence(vote []float64, window int, reply []float32, n, keys int) float64 {
	prefix := len(vote)
	both := 0
	all := 0
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

// variation returns the coefficient of variation, over the positions between sinks
// and recent ones, of the number of rows [n, keys] whose top 5 % contain the
// position.
func variation(rows []float32, n, keys, prefix int) float64 {
	size := prefix - sinkPositions - recentPositions
	k := hitrate.Budget(hitrate.PaperTop, size)
	if k == 0 {
		return math.NaN()
	}
	count := make([]float64, size)
	score := make([]float64, size)
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
		sum += float64((c - mean) * (c - mean))
	}
	return math.Sqrt(sum/float64(size)) / mean
}
