package snapkv

import (
	"math"

	"github.com/attnscope/attnscope/internal/topk"
)

// sparQ ranks by the last query's weights, computed from the quarter of its components
// with the largest absolute values.
//
//	score[h, j] = softmax of Σ q[d]·K[j][d]·scale/√share over the components d
//	share       = Σ |q[d]| over these components / Σ |q[d]| over all
//
// The original keeps the whole cache and reads other positions for each token of the
// reply; here those that the last query would read serve the whole reply.
//
// Source: Ribar et al., "SparQ Attention: Bandwidth-Efficient LLM Inference",
// arXiv:2312.04985.
var sparQ = Method{
	Name:   "sparq",
	Source: "arXiv:2312.04985",
	Needs:  Needs{Keys: true, Queries: true},
	Nested: true,
	Score:  scoreSparQ,
}

func scoreSparQ(l *Layer, c Config) ([][]float64, error) {
	group := l.Heads / l.KVHeads
	scores := make([][]float64, l.Heads)
	for h := range scores {
		q := l.query(h, l.N-1)
		size := make([]float64, len(q))
		for d, v := range q {
			size[d] = math.Abs(float64(v))
		}
		largest := topk.Select(size, max(1, len(q)/4))
		share := 0.0
		for _, d := range largest {
			share += size[d]
		}
		share /= math.Max(sum(size), 1e-300)
		scale := l.scale() / math.Sqrt(math.Max(share, 1e-300))
		scores[h] = make([]float64, l.Len-c.Window)
		for j := range scores[h] {
			k := l.key(j, h/group)
			for _, d := range largest {
				scores[h][j] += float64(q[d]) * float64(k[d]) // an exact product
			}
			scores[h][j] *= scale
		}
		softmax(scores[h])
	}
	return scores, nil
}
