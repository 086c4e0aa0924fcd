package snapkv

import "math"

// keyDiff keeps the keys that differ most from the others: those with the smallest
// cosine similarity to the mean of all normalized keys of the prompt.
//
//	mean        = Σ K[j] / |K[j]|
//	score[h, j] = -K[j]·mean / (|K[j]|·|mean|)
//
// Source: Park et al., "KeyDiff: Key Similarity-Based KV Cache Eviction for
// Long-Context LLM Inference in Resource-Constrained Environments", arXiv:2504.15364.
var keyDiff = Method{
	Name:   "keydiff",
	Source: "arXiv:2504.15364",
	Common: true,
	Needs:  Needs{Keys: true},
	Nested: true,
	Alike:  true,
	Score:  scoreKeyDiff,
}

func scoreKeyDiff(l *Layer, c Config) ([][]float64, error) {
	all := make([]int32, l.Len)
	for j := range all {
		all[j] = int32(j)
	}
	mean := make([][]float64, l.KVHeads)
	for kv := range mean {
		mean[kv] = meanDirection(l, kv, all)
	}
	return byKVHead(l, c, func(j, kv int) float64 { return -cosine(l.key(j, kv), mean[kv]) }), nil
}

// meanDirection returns the sum of the normalized keys of positions.
func meanDirection(l *Layer, kv int, positions []int32) []float64 {
	mean := make([]float64, l.Dim)
	for _, j := range positions {
		k := l.key(int(j), kv)
		n := math.Max(norm(k), 1e-12)
		for d, v := range k {
			mean[d] += float64(v) / n
		}
	}
	return mean
}

// cosine returns the cosine of the angle between a key and a direction.
func cosine(k []float32, direction []float64) float64 {
	dot := 0.0
	square := 0.0
	for d, v := range k {
		dot += float64(float64(v) * direction[d])
		square += float64(direction[d] * direction[d])
	}
	return dot / math.Max(norm(k)*math.Sqrt(square), 1e-12)
}
