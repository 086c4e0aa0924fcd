package snapkv

import (
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/topk"
)

// Vote sums the last window rows of rows [n, keys] over the prefix:
// vote[j] = Σ rows[i][j], j < prefix. Sums are float64.
func Vote(rows []float32, n, keys, window, prefix int) []float64 {
	vote := make([]float64, prefix)
	for i := n - window; i < n; i++ {
		simd.AddWide(vote, rows[i*keys:i*keys+prefix])
	}
	return vote
}

// TopK returns the k positions of the largest scores, ascending; of equal
// scores the lower position is taken.
func TopK(score []float64, k int) []int32 { return topk.Select(score, k) }
