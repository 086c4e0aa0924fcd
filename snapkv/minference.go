package snapkv

// mInference keeps what the vertical-slash pattern of MInference reads for the first token
// after the prompt. Half of the budget goes to the positions with the most votes of the
// window (vertical lines), the rest to the distances between query and key with the most
// weight (slashes), counted back from that token.
//
//	vote[h, j]  = Σ weight[h, i, j] over the queries i of the window
//	slash[h, d] = Σ weight[h, i, i-d] over the queries i of the window
//	score[h, j] = slash[h, length - j]
//
// The original chooses a pattern for every head, to prefill faster, and keeps the whole
// cache. Its A-shape is streamingllm.
//
// Source: Jiang et al., "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs
// via Dynamic Sparse Attention", arXiv:2407.02490.
var mInference = Method{
	Name:       "minference",
	Source:     "arXiv:2407.02490",
	Needs:      Needs{Rows: true},
	ByCapacity: true,
	ByGroup:    true,
	Score:      scoreMInference,
}

func scoreMInference(l *Layer, c Config) ([][]float64, error) {
	slash := make([][]float64, l.Heads) // [head][prefix position]
	for h := range slash {
		slash[h] = make([]float64, l.Len-c.Window)
		for i := range c.Window {
			row := l.row(h, l.N-c.Window+i)
			back := c.Window - i // from the token after the prompt to the query of the row
			for j := back; j < len(slash[h]); j++ {
				slash[h][j] += float64(row[j-back])
			}
		}
	}
	slash = c.Group.merge(slash, l.KVHeads)
	return twoStages(votes(l, c), l, c, func(list, j int, _ float64) float64 { return slash[list][j] }), nil
}
