package snapkv

// chunkKV averages the votes of all heads over chunks and keeps whole chunks,
// the same for every head; the last chunk kept may be cut to the budget.
var chunkKV = Method{
	Name: "chunkkv", Source: "arXiv:2502.00299", Nested: true, Scope: ScopeLayer, Needs: Needs{Rows: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		size := c.Chunk
		if size == 0 {
			size = 20
		}
		score := make([]float64, l.Len-c.Window)
		for _, v := range votes(l, c) {
			for j, x := range v {
				score[j] += x
			}
		}
		for lo := 0; lo < len(score); lo += size {
			hi := min(len(score), lo+size)
			mean := 0.0
			for _, v := range score[lo:hi] {
				mean += v / float64(hi-lo)
			}
			for j := lo; j < hi; j++ {
				score[j] = mean
			}
		}
		return same(score, l.Heads), nil
	},
}
