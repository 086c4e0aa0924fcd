package snapkv

import "slices"

// kvZip ranks by the largest weight that any query of the window gives to a position. The
// total of a layer goes to the largest scores of all its heads, without a floor. The first
// Config.Sinks positions are kept.
//
//	score[h, j] = max weight[h, i, j] over the queries i of the window
//
// The original asks the model to repeat the context, and its queries are those of the
// repetition. For the same here, put the context, the request and the context once more
// into the prompt, and set the window to the length of the second context. The
// original takes the maximum over the query heads of a kv head, as group max does, and
// also distributes the budget over the layers.
//
// Source: Kim et al., "KVzip: Query-Agnostic KV Cache Compression with Context
// Reconstruction", arXiv:2505.23416.
var kvZip = Method{
	Name:       "kvzip",
	Source:     "arXiv:2505.23416",
	Needs:      Needs{Rows: true},
	Scope:      ScopeLayer,
	BySinks:    true,
	Score:      scoreKVZip,
	ShareHeads: shareKVZip,
}

func scoreKVZip(l *Layer, c Config) ([][]float64, error) {
	scores := largestWeights(l, c)
	for _, score := range scores {
		raiseSinks(score, c)
	}
	return scores, nil
}

// largestWeights returns the largest weight of each prefix position in the rows of the
// window, [heads][prefix].
func largestWeights(l *Layer, c Config) [][]float64 {
	largest := make([][]float64, l.Heads)
	for h := range largest {
		largest[h] = make([]float64, l.Len-c.Window)
		for i := l.N - c.Window; i < l.N; i++ {
			for j, v := range l.row(h, i)[:len(largest[h])] {
				largest[h][j] = max(largest[h][j], float64(v))
			}
		}
	}
	return largest
}

func shareKVZip(scores [][]float64, total, _ int, _ Config) ([]int, error) {
	prefix := len(scores[0])
	budgets := make([]int, len(scores))
	for _, at := range TopK(slices.Concat(scores...), min(total, len(scores)*prefix)) {
		budgets[int(at)/prefix]++
	}
	return budgets, nil
}
