package snapkv

import "math"

// questPage is the number of positions per page, as in Quest's paper.
const questPage = 16

// quest keeps the pages of 16 positions with the highest bound on the score of the last
// query. The bound follows from the smallest and the largest key of the page in each
// dimension. The budget may cut the last page that is kept.
//
//	score[h, j] = Σ max(q[d]·min[d], q[d]·max[d]) over d, min and max over the page of j
//
// The original keeps the whole cache and reads other pages for each token of the reply;
// here the pages that the last query would read serve the whole reply.
//
// Source: Tang et al., "Quest: Query-Aware Sparsity for Efficient Long-Context LLM
// Inference", arXiv:2406.10774.
var quest = Method{
	Name:   "quest",
	Source: "arXiv:2406.10774",
	Needs:  Needs{Keys: true, Queries: true},
	Nested: true,
	Score:  scoreQuest,
}

func scoreQuest(l *Layer, c Config) ([][]float64, error) {
	group := l.Heads / l.KVHeads
	prefix := l.Len - c.Window
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = make([]float64, prefix)
		q := l.query(h, l.N-1)
		for from := 0; from < prefix; from += questPage {
			to := min(prefix, from+questPage)
			bound := 0.0
			for d, v := range q {
				top := math.Inf(-1)
				for j := from; j < to; j++ {
					top = max(top, float64(v)*float64(l.key(j, h/group)[d])) // an exact product
				}
				bound += top
			}
			for j := from; j < to; j++ {
				scores[h][j] = bound
			}
		}
	}
	return scores, nil
}
