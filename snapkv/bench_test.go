package snapkv

import (
	"math/rand/v2"
	"testing"
)

// BenchmarkSelect measures the selection of every method on one layer of the size of
// SmolLM2-135M, for a prompt of 3,000 tokens.
func BenchmarkSelect(b *testing.B) {
	const length = 3000
	l := &Layer{Layers: 1, Heads: 9, KVHeads: 3, Len: length, N: 32, Dim: 64, ValueDim: 64}
	r := rand.New(rand.NewPCG(1, 2))
	list := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	l.Keys = list(length * l.KVHeads * l.Dim)
	l.Values = list(length * l.KVHeads * l.Dim)
	l.Queries = list(length * l.Heads * l.Dim)
	l.Rows = list(l.Heads * l.N * length)
	l.Sums = list(l.Heads * length)
	for _, x := range [][]float32{l.Rows, l.Sums} {
		for i, v := range x {
			x[i] = v * v / length
		}
	}
	l.Generated = make([]float64, l.Heads*length)
	c := Config{Window: 32, Capacity: 320, Kernel: 5, Pooling: AvgPool, Group: GroupMean}
	c.HeadScores = [][]float64{{1, 2, 3}}
	for _, m := range Methods {
		of := *l
		if m.Needs.AllQueries {
			of.N = length
		}
		b.Run(m.Name, func(b *testing.B) {
			for b.Loop() {
				if _, err := m.Select(&of, c, c.Budget()); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
