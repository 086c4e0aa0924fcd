package experiments

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// controlNames are the votes that the prompt's own is held against. What a
// wrong vote hits too does not come from the window having looked ahead.
var controlNames = []string{"own", "other prompt", "random window"}

// controls rates three votes on the same reply rows, top 5 % of the prefix,
// weights above 0.05: of the prompt's last window; of the next prompt's last
// window, its middle cut or filled with zeros to equal length, so that both ends
// stay where they are; of one of the earlier prompt windows of that size, drawn
// by seed. A row for each control, layer (-1: all) and number of first positions
// left out; `difference` is own minus control, paired by prompt, with the p-value of
// a sign-flip test.
func controls(path string, seed uint64) (*table.Table, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plan := r.Header().Plan
	window := min(plan.WindowRows, plan.PromptWindowSize)
	type key struct{ control, layer, skip int }
	rates := map[key][]float64{}
	skips := []int{0, 4}
	total := make([]map[key]*hitrate.Counts, len(r.Prompts()))
	for p := range total {
		total[p] = map[key]*hitrate.Counts{}
	}
	for _, layer := range plan.Layers {
		votes, err := lastVotes(r, layer, window)
		if err != nil {
			return nil, err
		}
		for p := range r.Prompts() {
			prefix := r.Prompts()[p].PromptTokens - window
			if prefix < 1 {
				continue
			}
			earlier, err := randomWindow(r, p, layer, prefix, seed)
			if err != nil {
				return nil, err
			}
			reply, err := r.Weights(p, layer, dumps.Decode)
			if err != nil {
				return nil, err
			}
			other := votes[(p+1)%len(votes)]
			counts := make([]map[key]hitrate.Counts, reply.Heads)
			parallel.For(reply.Heads, func(h int) {
				counts[h] = map[key]hitrate.Counts{}
				lists := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, prefix, hitrate.PaperTheta)
				candidates := [][]float64{votes[p][h], nil, nil}
				if len(votes) > 1 && other != nil {
					candidates[1] = fitted(other[h], prefix)
				}
				if earlier != nil {
					candidates[2] = earlier[h]
				}
				for control, vote := range candidates {
					if vote == nil {
						continue
					}
					for _, skip := range skips {
						counts[h][key{control, layer, skip}] = countVote(vote, lists, skip, prefix)
					}
				}
			})
			count := map[key]*hitrate.Counts{}
			for h := range counts {
				for at, c := range counts[h] {
					if count[at] == nil {
						count[at] = &hitrate.Counts{}
					}
					count[at].Add(c)
				}
			}
			for at, c := range count {
				rates[at] = append(rates[at], c.Rate())
				all := key{at.control, -1, at.skip}
				if total[p][all] == nil {
					total[p][all] = &hitrate.Counts{}
				}
				total[p][all].Add(*c)
			}
		}
	}
	for p := range total {
		for at, c := range total[p] {
			rates[at] = append(rates[at], c.Rate())
		}
	}
	t := table.New("control", "layer", "skip_first", "window", "prompts", "hit_rate", "ci_low", "ci_high", "difference", "difference_low", "difference_high", "p")
	for control, name := range controlNames {
		for _, layer := range append([]int{-1}, plan.Layers...) {
			for _, skip := range skips {
				x, own := rates[key{control, layer, skip}], rates[key{0, layer, skip}]
				if len(x) == 0 {
					continue
				}
				diff := make([]float64, len(x))
				for i := range diff {
					diff[i] = math.NaN()
					if len(own) == len(x) {
						diff[i] = own[i] - x[i]
					}
				}
				lo, hi := analysis.Interval(x, seed)
				t.Add(slices.Concat([]any{name, layer, skip, window, len(x), analysis.Mean(x), lo, hi}, differenceCells(diff, seed))...)
			}
		}
	}
	return t, nil
}

// lastVotes are the votes of every prompt's last window over its prefix, by
// prompt and head; nil for a prompt that is no longer than the window.
func lastVotes(r *dumps.Reader, layer, window int) ([][][]float64, error) {
	votes := make([][][]float64, len(r.Prompts()))
	for p := range votes {
		prefix := r.Prompts()[p].PromptTokens - window
		if prefix < 1 {
			continue
		}
		rows, err := r.Weights(p, layer, dumps.Prefill)
		if err != nil {
			return nil, err
		}
		votes[p] = make([][]float64, rows.Heads)
		parallel.For(rows.Heads, func(h int) {
			votes[p][h] = snapkv.Vote(rows.Head(h), rows.Rows, rows.Keys, window, prefix)
		})
	}
	return votes, nil
}

// randomWindow is the vote, by head, of one of the recorded prompt windows
// before the last; nil where there is none. It saw only what stands before it.
func randomWindow(r *dumps.Reader, prompt, layer, prefix int, seed uint64) ([][]float64, error) {
	sums, count, err := r.Windows(prompt, layer)
	if err != nil || count < 2 {
		return nil, err
	}
	n := r.Prompts()[prompt].PromptTokens
	w := rand.New(rand.NewPCG(seed, uint64(prompt))).IntN(count - 1) // one window for all layers
	heads := len(sums) / (count * n)
	votes := make([][]float64, heads)
	for h := range votes {
		votes[h] = make([]float64, prefix)
		for j := range votes[h] {
			votes[h][j] = float64(sums[(h*count+w)*n+j])
		}
	}
	return votes, nil
}

// fitted is a vote over n positions from one over another number: its two halves
// stay at the two ends, the middle is cut or filled with zeros.
func fitted(vote []float64, n int) []float64 {
	out := make([]float64, n)
	front, back := (min(n, len(vote))+1)/2, min(n, len(vote))/2
	copy(out, vote[:front])
	copy(out[n-back:], vote[len(vote)-back:])
	return out
}

// countVote rates the top 5 % of a vote, without the first skip positions.
func countVote(vote []float64, lists [][]int32, skip, prefix int) hitrate.Counts {
	k := hitrate.Budget(hitrate.PaperTop, prefix)
	skip = min(skip, prefix)
	keep := snapkv.TopK(vote[skip:], min(k, prefix-skip))
	for i := range keep {
		keep[i] += int32(skip)
	}
	return hitrate.Count(lists, keep, k, skip, prefix)
}
