package snapkv

import (
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/topk"
)

// Vote sums the last window rows of rows [n, keys] over the first prefix positions:
// vote[j] = Σ rows[i][j], in float64.
func Vote(rows []float32, n, keys, window, prefix int) []float64 {
	vote := make([]float64, prefix)
	for i := n - window; i < n; i++ {
		simd.AddWide(vote, rows[i*keys:i*keys+prefix])
	}
	return vote
}

// TopK returns the k positions with the largest scores, in ascending order. Of equal
// scores, the lower position is taken.
func TopK(score []float64, k int) []int32 { return topk.Select(score, k) }

// votes returns the votes of the window, [heads][prefix].
func votes(l *Layer, c Config) [][]float64 {
	list := make([][]float64, l.Heads)
	for h := range list {
		list[h] = Vote(l.Rows[h*l.N*l.Len:(h+1)*l.N*l.Len], l.N, l.Len, c.Window, l.Len-c.Window)
	}
	return list
}

// pooledVotes returns the pooled votes of the window, [heads][prefix]: the scores of
// snapkv and of methods that differ from it only in their budgets.
func pooledVotes(l *Layer, c Config) ([][]float64, error) {
	list := votes(l, c)
	for h := range list {
		var err error
		if list[h], err = Pool(list[h], c.Kernel, c.Pooling); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// forAllHeads gives every head the same list of scores.
func forAllHeads(score []float64, heads int) [][]float64 {
	return slices.Repeat([][]float64{score}, heads)
}

// byKVHead scores each position of each kv head once and gives the scores to all of
// its query heads.
func byKVHead(l *Layer, c Config, score func(j, kv int) float64) [][]float64 {
	group := l.Heads / l.KVHeads
	scores := make([][]float64, l.Heads)
	for h := range scores {
		if h%group != 0 {
			scores[h] = scores[h-1]
			continue
		}
		scores[h] = make([]float64, l.Len-c.Window)
		for j := range scores[h] {
			scores[h][j] = score(j, h/group)
		}
	}
	return scores
}
