package snapkv

// adaExpected ranks as expectedattention does, with probabilities, and distributes the
// total of a layer over its heads as adakv does.
//
// Source: kvpress, AdaKVPress with ExpectedAttentionPress.
var adaExpected = Method{
	Name:       "adaexpected",
	Source:     "kvpress",
	Needs:      Needs{Keys: true, Queries: true},
	Scope:      ScopeLayer,
	Score:      scoreAdaExpected,
	ShareHeads: shareAdaKV,
}

func scoreAdaExpected(l *Layer, c Config) ([][]float64, error) {
	return expectedScores(l, c, true)
}
