package snapkv

// h2o keeps the heavy hitters: weight summed over all prompt queries, without
// pooling, as KVCache-Factory does it.
var h2o = Method{
	Name: "h2o", Source: "arXiv:2306.14048", Nested: true, Needs: Needs{Sums: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		out := make([][]float64, l.Heads)
		for h := range out {
			out[h] = make([]float64, l.Len-c.Window)
			for j := range out[h] {
				out[h][j] = float64(l.Sums[h*l.Len+j])
			}
		}
		return out, nil
	},
}
