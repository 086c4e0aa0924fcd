package topk

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

func BenchmarkSelect(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range []int{2048, 32768} {
		x := make([]float64, n)
		for i := range x {
			x[i] = r.ExpFloat64()
		}
		b.Run(fmt.Sprintf("scores=%d/k=%d", n, n/20), func(b *testing.B) {
			b.SetBytes(int64(8 * n))
			for b.Loop() {
				Select(x, n/20)
			}
		})
	}
}
