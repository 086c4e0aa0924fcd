package snapkv

// adaExpected ranks as expectedattention does, with probabilities, and distributes the
// total of a layer over its heads as adakv does.
//
// Source: Devoto et al., "Expected Attention: KV Cache Compression by Estimating Attention
// from Future Queries Distribution", arXiv:2510.00636, AdaKVPress with
// ExpectedAttentionPress of kvpress.
var adaExpected = Method{
	Name:       "adaexpected",
	Source:     "arXiv:2510.00636",
	Needs:      Needs{Keys: true, Queries: true},
	Scope:      ScopeLayer,
	Score:      scoreAdaExpected,
	ShareHeads: shareAdaKV,
}

func scoreAdaExpected(l *Layer, c Config) ([][]float64, error) {
	return expectedScores(l, c, true)
}
