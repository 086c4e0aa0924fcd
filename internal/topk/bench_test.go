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
		bench(b, "float64", x)
		narrow := make([]float32, n)
		for i, v := range x {
			narrow[i] = float32(v)
		}
		bench(b, "float32", narrow)
		b.Run(fmt.Sprintf("cut/scores=%d/k=%d", n, n/20), func(b *testing.B) {
			for b.Loop() {
				CutOf(narrow, n/20)
			}
		})
	}
}

func bench[F float32 | float64](b *testing.B, name string, x []F) {
	b.Run(fmt.Sprintf("%s/scores=%d/k=%d", name, len(x), len(x)/20), func(b *testing.B) {
		for b.Loop() {
			Select(x, len(x)/20)
		}
	})
}
