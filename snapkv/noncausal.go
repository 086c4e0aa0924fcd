package snapkv

import "github.com/attnscope/attnscope/internal/simd"

// nonCausalChunk is the number of positions that attend to each other, as in kvpress.
const nonCausalChunk = 256

// nonCausal ranks by weights without a causal mask: within chunks of 256 positions, every
// query attends to all keys. The weights that a key gets are summed, multiplied by the
// norm of its value, and averaged over 3 neighboring positions.
//
//	weight[h, i, j] = softmax of q[h, i]·K[j] over the positions j of the chunk
//	score[h, j]     = mean of Σ weight[h, i, x]·|V[x]| for x from j-1 to j+1
//
// Scores of queries and keys have no scale, as in kvpress. In a last chunk that is
// incomplete, kvpress also counts rows of padding.
//
// Source: Chari and Van Durme, "Compactor: Calibrated Query-Agnostic KV Cache Compression
// with Approximate Leverage Scores", arXiv:2507.08143.
var nonCausal = Method{
	Name:   "noncausal",
	Source: "arXiv:2507.08143",
	Needs:  Needs{Keys: true, Values: true, Queries: true, AllQueries: true},
	Nested: true,
	Score:  scoreNonCausal,
}

func scoreNonCausal(l *Layer, c Config) ([][]float64, error) {
	scores, err := nonCausalScores(l, 0, l.Len)
	for h := range scores {
		scores[h] = scores[h][:l.Len-c.Window]
	}
	return scores, err
}

// nonCausalScores returns the scores of positions [from, to), whose chunks begin at from,
// [query head][position].
func nonCausalScores(l *Layer, from, to int) ([][]float64, error) {
	group := l.Heads / l.KVHeads
	scores := make([][]float64, l.Heads)
	row := make([]float64, nonCausalChunk)
	buffer := make([]float32, nonCausalChunk*nonCausalChunk)
	for h := range scores {
		score := make([]float64, to-from)
		for lo := from; lo < to; lo += nonCausalChunk {
			n := min(nonCausalChunk, to-lo)
			queries := simd.Mat[float32]{
				Data: l.Queries[(lo*l.Heads+h)*l.Dim:], Rows: n, Cols: l.Dim, Stride: l.Heads * l.Dim,
			}
			keys := simd.Mat[float32]{
				Data: l.Keys[(lo*l.KVHeads+h/group)*l.Dim:], Rows: n, Cols: l.Dim, Stride: l.KVHeads * l.Dim,
			}
			products := simd.Dense(buffer[:n*n], n, n)
			simd.GemmT(products, queries, keys)
			for i := range n {
				for j, v := range products.Data[i*n : (i+1)*n] {
					row[j] = float64(v)
				}
				softmax(row[:n])
				for j, v := range row[:n] {
					score[lo-from+j] += v
				}
			}
		}
		for j := range score {
			score[j] *= norm(l.value(from+j, h/group))
		}
		var err error
		if scores[h], err = Pool(score, 3, AvgPool); err != nil {
			return nil, err
		}
	}
	return scores, nil
}
