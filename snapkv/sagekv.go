package snapkv

// sageKV keeps the first Config.Sinks positions and those that the last query attends to
// most, head by head.
//
//	score[h, j] = weight[h, last query, j]
//
// Source: Wang et al., "LLMs Know What to Drop: Self-Attention Guided KV Cache Eviction
// for Efficient Long-Context Inference", arXiv:2503.08879.
var sageKV = Method{
	Name:    "sagekv",
	Source:  "arXiv:2503.08879",
	Needs:   Needs{Rows: true},
	Nested:  true,
	BySinks: true,
	Score:   scoreSageKV,
}

func scoreSageKV(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = make([]float64, l.Len-c.Window)
		for j := range scores[h] {
			scores[h][j] = float64(l.row(h, l.N-1)[j])
		}
		raiseSinks(scores[h], c)
	}
	return scores, nil
}
