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
		narrow := make([]float32, n)
		for i, v := range x {
			narrow[i] = float32(v)
		}
		b.Run(fmt.Sprintf("list/scores=%d/k=%d", n, n/20), func(b *testing.B) {
			for b.Loop() {
				Select(x, n/20)
			}
		})
		b.Run(fmt.Sprintf("cut/scores=%d/k=%d", n, n/20), func(b *testing.B) {
			for b.Loop() {
				CutOf(narrow, n/20)
			}
		})
	}
}
