package snapkv

// h2o keeps the heavy hitters: the positions with the most weight over all queries
// of the prompt, without pooling, as KVCache-Factory does. The window takes the
// place of H2O's recent half.
//
//	score[h, j] = Σ weight[h, i, j] over all queries i of the prompt
//
// Source: Zhang et al., "H2O: Heavy-Hitter Oracle for Efficient Generative Inference
// of Large Language Models", arXiv:2306.14048.
var h2o = Method{
	Name:   "h2o",
	Source: "arXiv:2306.14048",
	Common: true,
	Needs:  Needs{Sums: true},
	Nested: true,
	Score:  scoreH2O,
}

func scoreH2O(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = make([]float64, l.Len-c.Window)
		for j := range scores[h] {
			scores[h][j] = float64(l.Sums[h*l.Len+j])
		}
	}
	return scores, nil
}
