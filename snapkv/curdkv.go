package snapkv

// curWindow is the number of neighboring positions that share leverage scores, as in
// kvpress.
const curWindow = 16

// curDKV ranks by the squared norms of key and value, each relative to the sum over the 16
// positions of its block: approximations of leverage scores. The first Config.Sinks
// positions are kept.
//
//	score[j] = |K[j]|² / Σ |K[x]|² · |V[j]|² / Σ |V[x]|², sums over the block of j
//
// Source: Sengupta et al., "Value-Guided KV Compression for LLMs via Approximated CUR
// Decomposition", arXiv:2509.15038, as kvpress does it by default, without random
// projections.
var curDKV = Method{
	Name:    "curdkv",
	Source:  "arXiv:2509.15038",
	Needs:   Needs{Keys: true, Values: true},
	Nested:  true,
	Alike:   true,
	BySinks: true,
	Score:   scoreCurDKV,
}

func scoreCurDKV(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.KVHeads)
	for kv := range scores {
		keys := make([]float64, l.Len)
		values := make([]float64, l.Len)
		for j := range keys {
			k, v := norm(l.key(j, kv)), norm(l.value(j, kv))
			keys[j] = k * k
			values[j] = v * v
		}
		score := make([]float64, l.Len)
		for from := 0; from < l.Len; from += curWindow {
			to := min(l.Len, from+curWindow)
			ofKeys, ofValues := sum(keys[from:to]), sum(values[from:to])
			for j := from; j < to; j++ {
				score[j] = keys[j] / ofKeys * (values[j] / ofValues)
			}
		}
		scores[kv] = score[:l.Len-c.Window]
		raiseSinks(scores[kv], c)
	}
	return ofKVHeads(scores, l.Heads), nil
}

func sum(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v
	}
	return s
}
