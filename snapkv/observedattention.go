package snapkv

// observedAttention ranks by the mean weight of a position over all queries of the prompt
// that see it. h2o, which sums instead, prefers early positions, which more queries see.
//
//	score[h, j] = Σ weight[h, i, j] over all queries i of the prompt / (length - j)
//
// Source: kvpress, ObservedAttentionPress.
var observedAttention = Method{
	Name:   "observedattention",
	Source: "kvpress",
	Needs:  Needs{Sums: true},
	Nested: true,
	Score:  scoreObservedAttention,
}

func scoreObservedAttention(l *Layer, c Config) ([][]float64, error) {
	scores, err := scoreH2O(l, c)
	if err != nil {
		return nil, err
	}
	for _, score := range scores {
		for j := range score {
			score[j] /= float64(l.Len - j)
		}
	}
	return scores, nil
}
