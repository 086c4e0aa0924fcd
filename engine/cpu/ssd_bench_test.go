package cpu

import (
	"math"
	"math/rand/v2"
	"testing"
)

// BenchmarkSSD measures the recurrence of a layer of Granite 4 Tiny, per position, in
// chunks of a prompt and in decoding.
func BenchmarkSSD(b *testing.B) {
	b.Run("prompt", func(b *testing.B) { benchmarkSSD(b, 64) })
	b.Run("decoding", func(b *testing.B) { benchmarkSSD(b, 1) })
}

func benchmarkSSD(b *testing.B, n int) {
	s := SSD{Heads: 48, HeadDim: 64, Groups: 1, State: 128, MaxStep: math.Inf(1)}
	r := rand.New(rand.NewPCG(1, 2))
	s.D, s.DtBias, s.A = normals(r, s.Heads), normals(r, s.Heads), normals(r, s.Heads)
	for i := range s.A {
		s.A[i] = -1
	}
	y := Dense(make([]float32, n*s.Heads*s.HeadDim), n, s.Heads*s.HeadDim)
	x := Dense(normals(r, n*s.InputWidth()), n, s.InputWidth())
	dt := Dense(normals(r, n*s.Heads), n, s.Heads)
	state := make([]float32, s.StateSize())
	var buf Scratch
	for b.Loop() {
		s.Run(y, x, dt, state, 0, s.Heads, &buf)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "µs/position")
}
