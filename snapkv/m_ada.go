package snapkv

import (
	"errors"
)

// adaFloor is the share of an even budget that every head keeps (Ada-KV's
// alpha, as in kvpress).
const adaFloor = 0.2

// adaKV is snapkv with a layer's total shared out by the scores: the largest
// of all heads together, after a floor for each.
var adaKV = Method{
	Name: "adakv", Source: "arXiv:2407.11550", Scope: ScopeLayer, Needs: Needs{Rows: true}, Score: pooledVotes,
	ShareHeads: func(scores [][]float64, total, _ int, _ Config) ([]int, error) {
		heads, prefix := len(scores), len(scores[0])
		total = min(total, heads*prefix)
		floor := int(adaFloor * float64(total) / float64(heads))
		out := make([]int, heads)
		var rest []float64
		for h := range scores {
			out[h] = floor
			taken := make([]bool, prefix)
			for _, j := range TopK(scores[h], floor) {
				taken[j] = true
			}
			for j, v := range scores[h] {
				if taken[j] {
					v = -1 // kept already
				}
				rest = append(rest, v)
			}
		}
		for _, at := range TopK(rest, total-floor*heads) {
			out[int(at)/prefix]++
		}
		return out, nil
	},
}

// headKV is snapkv with budgets by given scores of the heads: half of a head's
// even budget is shared out in proportion.
var headKV = Method{
	Name: "headkv", Source: "arXiv:2410.19258", Scope: ScopeLayer, Needs: Needs{Rows: true}, Score: pooledVotes,
	ShareHeads: func(scores [][]float64, total, layer int, c Config) ([]int, error) {
		if layer >= len(c.HeadScores) || len(c.HeadScores[layer]) != len(scores) {
			return nil, errors.New("headkv needs a score for each head of each layer (--head-scores)")
		}
		sum := 0.0
		for _, list := range c.HeadScores {
			for _, v := range list {
				sum += v
			}
		}
		even := total / len(scores)
		pool := float64(even/2) * float64(len(scores)*len(c.HeadScores))
		out := make([]int, len(scores))
		for h, v := range c.HeadScores[layer] {
			out[h] = min(len(scores[h]), even-even/2+int(v/max(sum, 1e-30)*pool+0.5))
		}
		return out, nil
	},
}
