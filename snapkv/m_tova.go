package snapkv

// tova ranks by the last query's weights, averaged over all heads: one set for
// all of them (arXiv:2401.06104, as kvpress does it).
var tova = Method{
	Name: "tova", Source: "arXiv:2401.06104", Nested: true, Scope: ScopeLayer, Needs: Needs{Rows: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		score := make([]float64, l.Len-c.Window)
		for h := range l.Heads {
			last := l.Rows[(h*l.N+l.N-1)*l.Len:]
			for j := range score {
				score[j] += float64(last[j]) / float64(l.Heads)
			}
		}
		return same(score, l.Heads), nil
	},
}
