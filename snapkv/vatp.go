package snapkv

// vatp ranks by the weights over all queries of the prompt, times the sum of the value's
// absolute elements, and keeps the first Config.Sinks positions, whose values are small.
//
//	score[h, j] = Σ weight[h, i, j] over all queries i of the prompt · Σ |V[j][d]| over d
//
// Source: Guo et al., "Attention Score is not All You Need for Token Importance Indicator
// in KV Cache Reduction: Value Also Matters", arXiv:2406.12335.
var vatp = Method{
	Name:    "vatp",
	Source:  "arXiv:2406.12335",
	Needs:   Needs{Sums: true, Values: true},
	Nested:  true,
	BySinks: true,
	Score:   scoreVATP,
}

func scoreVATP(l *Layer, c Config) ([][]float64, error) {
	scores, err := scoreH2O(l, c)
	if err != nil {
		return nil, err
	}
	size := byKVHead(l, c, func(j, kv int) float64 {
		sum := 0.0
		for _, v := range l.value(j, kv) {
			sum += max(float64(v), -float64(v))
		}
		return sum
	})
	for h, score := range scores {
		for j := range score {
			score[j] *= size[h][j]
		}
		raiseSinks(score, c)
	}
	return scores, nil
}
