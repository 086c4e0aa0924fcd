package snapkv

// scissorhands ranks by how many queries of the window give a position more weight than
// an even distribution over the positions that they see. Votes decide between equal
// counts.
//
//	score[h, j] = number of queries i of the window with weight[h, i, j] > 1/(i+1)
//
// The original repeats this while it decodes.
//
// Source: Liu et al., "Scissorhands: Exploiting the Persistence of Importance Hypothesis
// for LLM KV Cache Compression at Test Time", arXiv:2305.17118.
var scissorhands = Method{
	Name:   "scissorhands",
	Source: "arXiv:2305.17118",
	Needs:  Needs{Rows: true},
	Nested: true,
	Score:  scoreScissorhands,
}

func scoreScissorhands(l *Layer, c Config) ([][]float64, error) {
	prefix := l.Len - c.Window
	scores := votes(l, c)
	for h, score := range scores {
		for j := range score {
			score[j] /= float64(c.Window + 1) // less than one count
		}
		for i := range c.Window {
			even := 1 / float32(prefix+i+1)
			for j, v := range l.row(h, l.N-c.Window+i)[:prefix] {
				if v > even {
					score[j]++
				}
			}
		}
	}
	return scores, nil
}
