package experiments

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// controlNames lists the prompt's own vote and the control votes. Hits that a control
// vote also scores are no evidence that the window anticipates the reply.
var controlNames = []string{"own", "other prompt", "random window"}

// controlKey identifies a vote, by its index in controlNames, that is rated on a
// layer without the first skip positions.
type controlKey struct{ control, layer, skip int }

// controlRow is the hit rate of one vote, over prompts.
type controlRow struct {
	control    string
	layer      int
	skip       int // first positions that were left out
	window     int
	prompts    int
	rate       estimate
	difference difference // own vote minus this one, paired by prompt
}

func (r controlRow) cells() []any {
	return slices.Concat([]any{r.control, r.layer, r.skip, r.window, r.prompts}, r.rate.cells(), r.difference.cells())
}

func controlTable(rows []controlRow) *table.Table {
	return tableOf([]string{
		"control", "layer", "skip_first", "window", "prompts", "hit_rate", "ci_low", "ci_high",
		"difference", "difference_low", "difference_high", "p",
	}, rows)
}

// controlRates rates three votes on the same reply rows. Each vote keeps the top 5 %
// of the prefix, and weights above 0.05 are significant:
//
//	own            the vote of the prompt's last window
//	other prompt   the vote of the next prompt's last window; its middle is cut or
//	               filled with zeros to equal length, so that both ends stay where
//	               they are
//	random window  the vote of one of the earlier prompt windows, drawn by seed
//
// There is a row for each vote, each layer and all layers together, and each number
// of first positions left out.
func controlRates(path string, seed uint64) ([]controlRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	plan := r.Header().Plan
	window := min(plan.WindowRows, plan.PromptWindowSize)
	rates := map[controlKey][]float64{} // of each prompt
	totals := make([]map[controlKey]hitrate.Counts, len(r.Prompts()))
	for p := range totals {
		totals[p] = map[controlKey]hitrate.Counts{}
	}
	for _, layer := range plan.Layers {
		votes, err := lastVotes(r, layer, window)
		if err != nil {
			return nil, err
		}
		for p := range r.Prompts() {
			counts, err := controlCounts(r, p, layer, votes, seed)
			if err != nil {
				return nil, err
			}
			for at, c := range counts {
				rates[at] = append(rates[at], c.Rate())
				at.layer = allLayers
				total := totals[p][at]
				total.Add(c)
				totals[p][at] = total
			}
		}
	}
	for _, total := range totals {
		for at, c := range total {
			rates[at] = append(rates[at], c.Rate())
		}
	}
	return controlRows(rates, plan.Layers, window, seed), nil
}

// controlCounts counts the hits of each vote in one layer of a prompt, over its
// heads. votes come from [lastVotes]; a prompt without a vote of its own has no
// counts.
func controlCounts(r *dumps.Reader, prompt, layer int, votes [][][]float64, seed uint64) (map[controlKey]hitrate.Counts, error) {
	own := votes[prompt]
	if own == nil {
		return nil, nil
	}
	prefix := len(own[0])
	earlier, err := randomWindow(r, prompt, layer, prefix, seed)
	if err != nil {
		return nil, err
	}
	reply, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return nil, err
	}
	other := votes[(prompt+1)%len(votes)]
	byHead := make([]map[controlKey]hitrate.Counts, reply.Heads)
	parallel.For(reply.Heads, func(h int) {
		byHead[h] = map[controlKey]hitrate.Counts{}
		lists := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, prefix, hitrate.PaperTheta)
		candidates := make([][]float64, len(controlNames))
		candidates[0] = own[h]
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
			for _, skip := range sinkSkips {
				byHead[h][controlKey{control, layer, skip}] = countVote(vote, lists, skip, prefix)
			}
		}
	})
	sums := map[controlKey]hitrate.Counts{}
	for _, counts := range byHead {
		for at, c := range counts {
			sum := sums[at]
			sum.Add(c)
			sums[at] = sum
		}
	}
	return sums, nil
}

// controlRows summarizes rates over prompts.
func controlRows(rates map[controlKey][]float64, layers []int, window int, seed uint64) []controlRow {
	var rows []controlRow
	for control, name := range controlNames {
		for _, layer := range append([]int{allLayers}, layers...) {
			for _, skip := range sinkSkips {
				values := rates[controlKey{control, layer, skip}]
				own := rates[controlKey{0, layer, skip}]
				if len(values) == 0 {
					continue
				}
				differences := make([]float64, len(values))
				for i := range differences {
					differences[i] = math.NaN()
					if len(own) == len(values) {
						differences[i] = own[i] - values[i]
					}
				}
				rows = append(rows, controlRow{
					control:    name,
					layer:      layer,
					skip:       skip,
					window:     window,
					prompts:    len(values),
					rate:       estimateOf(values, seed),
					difference: differenceOf(differences, seed),
				})
			}
		}
	}
	return rows
}

// lastVotes returns the votes of every prompt's last window over its prefix,
// [prompt][head][prefix]; nil for a prompt that is no longer than the window.
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

// randomWindow returns the vote, [head][prefix], of a randomly drawn prompt window
// before the last one; nil if there is none. That window saw only the positions
// before it.
func randomWindow(r *dumps.Reader, prompt, layer, prefix int, seed uint64) ([][]float64, error) {
	sums, count, err := r.Windows(prompt, layer)
	if err != nil || count < 2 {
		return nil, err
	}
	n := r.Prompts()[prompt].PromptTokens
	window := rand.New(rand.NewPCG(seed, uint64(prompt))).IntN(count - 1) // the same for all layers
	votes := make([][]float64, len(sums)/(count*n))
	for h := range votes {
		row := sums[(h*count+window)*n:]
		votes[h] = make([]float64, prefix)
		for j := range votes[h] {
			votes[h][j] = float64(row[j])
		}
	}
	return votes, nil
}

// fitted resizes a vote to n positions. Its first half stays at the beginning and its
// second half at the end; the middle is cut or filled with zeros.
func fitted(vote []float64, n int) []float64 {
	out := make([]float64, n)
	front := (min(n, len(vote)) + 1) / 2
	back := min(n, len(vote)) / 2
	copy(out, vote[:front])
	copy(out[n-back:], vote[len(vote)-back:])
	return out
}

// countVote rates the top 5 % of a vote, without the first skip positions, on the
// significant positions of reply rows.
func countVote(vote []float64, significant [][]int32, skip, prefix int) hitrate.Counts {
	k := hitrate.Budget(hitrate.PaperTop, prefix)
	skip = min(skip, prefix)
	keep := snapkv.TopK(vote[skip:], min(k, prefix-skip))
	for i := range keep {
		keep[i] += int32(skip)
	}
	return hitrate.Count(significant, keep, k, skip, prefix)
}
