package snapkv

// SnapKV is the name of the paper's method.
const SnapKV = "snapkv"

// snapKV keeps the positions with the most votes of the observation window: the
// weights of the window's queries, summed and pooled.
//
//	vote[h, j]  = Σ weight[h, i, j] over the queries i of the window
//	score[h, j] = pool(vote[h])[j]
//
// Source: Li et al., "SnapKV: LLM Knows What You are Looking for Before Generation",
// arXiv:2404.14469, listing 1.
var snapKV = Method{
	Name:        SnapKV,
	Source:      "arXiv:2404.14469",
	Common:      true,
	Needs:       Needs{Rows: true},
	Nested:      true,
	PooledVotes: true,
	ByStates:    true,
	Score:       pooledVotes,
}
