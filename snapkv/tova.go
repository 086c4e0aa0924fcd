package snapkv

// tova keeps the positions that the last query attends to most, on average over all
// heads of the layer, as kvpress does. All heads keep the same positions.
//
//	score[h, j] = 1/heads · Σ weight[g, last query, j] over the heads g
//
// Source: Oren et al., "Transformers are Multi-State RNNs", arXiv:2401.06104.
var tova = Method{
	Name:   "tova",
	Source: "arXiv:2401.06104",
	Common: true,
	Needs:  Needs{Rows: true},
	Scope:  ScopeLayer,
	Nested: true,
	Alike:  true,
	Score:  scoreTOVA,
}

func scoreTOVA(l *Layer, c Config) ([][]float64, error) {
	score := make([]float64, l.Len-c.Window)
	for h := range l.Heads {
		last := l.Rows[(h*l.N+l.N-1)*l.Len:]
		for j := range score {
			score[j] += float64(last[j]) / float64(l.Heads)
		}
	}
	return forAllHeads(score, l.Heads), nil
}
