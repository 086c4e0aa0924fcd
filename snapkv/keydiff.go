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
	Needs:  Needs{Keys: true},
	Nested: true,
	Alike:  true,
	Score:  scoreKeyDiff,
}

func scoreKeyDiff(l *Layer, c Config) ([][]float64, error) {
	mean := make([][]float64, l.KVHeads) // times the number of positions
	for kv := range mean {
		mean[kv] = make([]float64, l.Dim)
		for j := range l.Len {
			k := l.key(j, kv)
			n := math.Max(norm(k), 1e-12)
			for d, v := range k {
				mean[kv][d] += float64(v) / n
			}
		}
	}
	return byKVHead(l, c, func(j, kv int) float64 {
		k := l.key(j, kv)
		dot := 0.0
		square := 0.0
		for d, v := range k {
			dot += float64(float64(v) * mean[kv][d])
			square += float64(mean[kv][d] * mean[kv][d])
		}
		return -dot / math.Max(norm(k)*math.Sqrt(square), 1e-12)
	}), nil
}
