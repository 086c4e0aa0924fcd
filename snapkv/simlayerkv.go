package snapkv

import "math"

// lazyThreshold is the share of the last query's weight on the first and the last
// positions above which a layer is lazy, as kvpress recommends it for Llama 3.
const lazyThreshold = 0.9

// simLayerKV keeps the first Config.Sinks and the last positions of lazy layers, and
// everything of the others. A layer is lazy if the last query gives more than 90 % of its
// weight, on average over the heads, to the positions that would be kept. The cache can
// therefore be larger than the capacity.
//
// The original keeps 1,024 recent positions of lazy layers; here it is as many as the
// capacity has room for. kvpress drops one recent position more than it measures.
//
// Source: Zhang et al., "SimLayerKV: A Simple Framework for Layer-Level KV Cache
// Reduction", arXiv:2410.13846.
var simLayerKV = Method{
	Name:        "simlayerkv",
	Source:      "arXiv:2410.13846",
	Needs:       Needs{Rows: true},
	ByCapacity:  true,
	Alike:       true,
	BySinks:     true,
	Score:       scoreStreamingLLM,
	LayerStat:   laziness,
	ShareLayers: shareSimLayerKV,
}

// laziness returns the share of the last query's weight on the first and last positions
// that fit into the capacity, mean over the heads.
func laziness(l *Layer, c Config) float64 {
	sinks := min(c.sinks(), l.Len)
	recent := min(max(sinks, l.Len-c.Capacity+sinks), l.Len) // a capacity below sinks leaves none
	sum := 0.0
	for h := range l.Heads {
		row := l.row(h, l.N-1)
		for _, v := range row[:sinks] {
			sum += float64(v)
		}
		for _, v := range row[recent:] {
			sum += float64(v)
		}
	}
	return sum / float64(l.Heads)
}

func shareSimLayerKV(stats []float64, _ int, c Config) []int {
	budgets := make([]int, len(stats))
	for i, v := range stats {
		budgets[i] = math.MaxInt32
		if v > lazyThreshold {
			budgets[i] = c.Budget()
		}
	}
	return budgets
}
