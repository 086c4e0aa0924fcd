package snapkv

// finch ranks by the weights of the window's queries, each multiplied by the number of
// positions before its query. Votes are not pooled.
//
//	score[h, j] = Σ weight[h, i, j] · i over the positions i of the window
//
// The original's window is the question at the end of the prompt, found by a delimiter;
// here it is that of the config. The original assigns new rotations to the keys.
//
// Source: Corallo and Papotti, "FINCH: Prompt-guided Key-Value Cache Compression for
// Large Language Models", arXiv:2408.00167, TACL 2024.
var finch = Method{
	Name:   "finch",
	Source: "arXiv:2408.00167",
	Needs:  Needs{Rows: true},
	Nested: true,
	Score:  scoreFinch,
}

func scoreFinch(l *Layer, c Config) ([][]float64, error) {
	prefix := l.Len - c.Window
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = make([]float64, prefix)
		for i := range c.Window {
			before := float64(prefix + i)
			for j, v := range l.row(h, l.N-c.Window+i)[:prefix] {
				scores[h][j] += float64(float64(v) * before)
			}
		}
	}
	return scores, nil
}
