package snapkv

import "math"

// pyramidBeta is the ratio of the mean budget to the budget of the last layer, as in
// KVCache-Factory and kvpress.
const pyramidBeta = 20

// pyramidKV ranks as snapkv does, with budgets that fall linearly from the first layer
// to the last. With b, the budget per head of the config:
//
//	first = min(2·b - b/20, positions of the prefix)
//	last  = 2·b - first
//
// as in kvpress. KVCache-Factory gives all layers b if the prompt is shorter than 2·b, and
// kvpress does so if last is below the window.
//
// Source: Cai et al., "PyramidKV: Dynamic KV Cache Compression based on Pyramidal
// Information Funneling", arXiv:2406.02069.
var pyramidKV = Method{
	Name:        "pyramidkv",
	Source:      "arXiv:2406.02069",
	Common:      true,
	Needs:       Needs{Rows: true},
	Nested:      true,
	PooledVotes: true,
	Score:       pooledVotes,
	ShareLayers: sharePyramid,
}

func sharePyramid(stats []float64, prefix int, c Config) []int {
	layers := len(stats)
	budget := float64(c.Budget())
	first := min(2*budget-budget/pyramidBeta, float64(prefix))
	last := 2*budget - first
	budgets := make([]int, layers)
	for i := range budgets {
		depth := 0.5 // a single layer gets the mean budget
		if layers > 1 {
			depth = float64(i) / float64(layers-1)
		}
		budgets[i] = int(math.Round(first - float64((first-last)*depth)))
	}
	return budgets
}
