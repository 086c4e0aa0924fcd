package snapkv

// kvCompose ranks by the largest weight that any query of the window gives to a position,
// averaged over the query heads of a kv head, plus the mean of this over all kv heads.
//
//	own[kv, j]   = mean of max weight[h, i, j] over the query heads h of kv; i in the window
//	score[kv, j] = own[kv, j] + mean of own[x, j] over all kv heads x
//
// The original takes the queries of tasks that follow the context, and distributes the
// budget over the layers; here every layer has the same budget.
//
// Source: Akulov et al., "KVCompose: Efficient Structured KV Cache Compression with
// Composite Tokens", arXiv:2509.05165.
var kvCompose = Method{
	Name:   "kvcompose",
	Source: "arXiv:2509.05165",
	Needs:  Needs{Rows: true},
	Scope:  ScopeLayer,
	Nested: true,
	Alike:  true,
	Score:  scoreKVCompose,
}

func scoreKVCompose(l *Layer, c Config) ([][]float64, error) {
	own := GroupMean.merge(largestWeights(l, c), l.KVHeads)
	mean := make([]float64, l.Len-c.Window)
	for _, list := range own {
		for j, v := range list {
			mean[j] += v / float64(l.KVHeads)
		}
	}
	for _, list := range own {
		for j := range list {
			list[j] += mean[j]
		}
	}
	return ofKVHeads(own, l.Heads), nil
}
