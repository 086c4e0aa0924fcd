package snapkv

import "math"

// pyramidBeta sets how narrow the last layer is (KVCache-Factory, kvpress).
const pyramidBeta = 20

// pyramidKV is snapkv with budgets that fall linearly over the layers:
// min = budget/20, max = 2 budget - min.
var pyramidKV = Method{
	Name: "pyramidkv", Source: "arXiv:2406.02069", Nested: true, Needs: Needs{Rows: true}, PooledVotes: true, Score: pooledVotes,
	ShareLayers: func(stats []float64, c Config) []int {
		n, budget := len(stats), float64(c.Budget())
		low := budget / pyramidBeta
		high := 2*budget - low
		out := make([]int, n)
		for i := range out {
			share := 0.5
			if n > 1 {
				share = float64(i) / float64(n-1)
			}
			out[i] = int(math.Round(high - (high-low)*share))
		}
		return out
	},
}
