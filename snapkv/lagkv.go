package snapkv

import (
	"cmp"
	"math"
	"slices"
)

// lagSize is the number of positions of a partition, as in kvpress.
const lagSize = 128

// lagKV cuts the prompt after the first Config.Sinks positions into partitions of 128 and
// keeps an equal share of each. Within a partition, it keeps the keys and values that
// vary most between channels, after each channel is scaled to the range that it has in the
// next partition. The sinks, the last full partition and what follows it are kept.
//
//	x[j, d]  = (K[j, d] - min[d]) / (max[d] - min[d]), min and max over the next partition
//	y[j]     = softmax of the standard deviation of x[j] over d, within the partition
//	score[j] = rank, within the partition, of the sum of y for keys and y for values
//
// Prompts with fewer than two partitions keep the sinks and the last positions.
//
// Source: Liang et al., "LagKV: Lag-Relative Information of the KV Cache Tells Which Tokens
// Are Important", arXiv:2504.04704.
var lagKV = Method{
	Name:    "lagkv",
	Source:  "arXiv:2504.04704",
	Needs:   Needs{Keys: true, Values: true},
	Nested:  true,
	Alike:   true,
	BySinks: true,
	Score:   scoreLagKV,
}

func scoreLagKV(l *Layer, c Config) ([][]float64, error) {
	sinks := c.sinks()
	if l.Len < sinks+2*lagSize {
		return scoreStreamingLLM(l, c)
	}
	partitions := (l.Len - sinks) / lagSize
	scores := make([][]float64, l.KVHeads)
	for kv := range scores {
		score := make([]float64, l.Len)
		for j := range score {
			score[j] = 1 + float64(j)/float64(l.Len) // of the tail, above all ranks
		}
		for p := range partitions - 1 {
			from := sinks + p*lagSize
			keys := lagSpread(from, l.Dim, func(j int) []float32 { return l.key(j, kv) })
			values := lagSpread(from, l.ValueDim, func(j int) []float32 { return l.value(j, kv) })
			for i := range keys {
				keys[i] += values[i]
			}
			for rank, i := range ascending(keys) {
				score[from+i] = float64(rank) / lagSize
			}
		}
		scores[kv] = score[:l.Len-c.Window]
		raiseSinks(scores[kv], c)
	}
	return ofKVHeads(scores, l.Heads), nil
}

// lagSpread returns y of the partition that begins at position from; of is the key or
// the value of a position, with dim elements.
func lagSpread(from, dim int, of func(j int) []float32) []float64 {
	low := slices.Clone(of(from + lagSize))
	high := slices.Clone(low)
	for j := from + lagSize; j < from+2*lagSize; j++ {
		for d, v := range of(j) {
			low[d] = min(low[d], v)
			high[d] = max(high[d], v)
		}
	}
	spread := make([]float64, lagSize)
	scaled := make([]float64, dim)
	for i := range spread {
		mean := 0.0
		for d, v := range of(from + i) {
			scaled[d] = float64(v-low[d]) / math.Max(float64(high[d]-low[d]), 1e-12)
			mean += scaled[d] / float64(dim)
		}
		square := 0.0
		for _, v := range scaled {
			square += float64((v - mean) * (v - mean))
		}
		spread[i] = math.Sqrt(square / float64(max(1, dim-1)))
	}
	softmax(spread)
	return spread
}

// ascending returns the indices of x in ascending order of its elements.
func ascending(x []float64) []int {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	return order
}
