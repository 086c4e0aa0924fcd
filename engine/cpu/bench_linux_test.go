//go:build linux

package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/attnscope/attnscope/engine/tensor"
)

// fastest returns the least processor time of n runs, in seconds. The time of the
// calling thread depends little on what else the machine does.
func fastest(n int, f func()) float64 {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	best := math.Inf(1)
	for range n {
		start := threadSeconds()
		f()
		best = min(best, threadSeconds()-start)
	}
	return best
}

func threadSeconds() float64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t)
	return float64(t.Sec) + float64(t.Nsec)/1e9
}

// BenchmarkMatrixBurst reports the speed of products with weights in short bursts on one
// thread, in shapes of SmolLM2-135M and Qwen2.5-0.5B.
func BenchmarkMatrixBurst(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range []struct{ n, out, in, pad int }{
		{512, 960, 576, 0},
		{512, 576, 576, 0},
		{512, 3072, 576, 0},
		{512, 3072, 576, 32},
		{512, 3072, 576, 64},
		{512, 576, 1536, 0},
		{512, 9728, 896, 0},
		{512, 9728, 896, 32},
		{512, 896, 4864, 0},
		{512, 1024, 1024, 0},
		{512, 1024, 1024, 32},
	} {
		b.Run(fmt.Sprintf("n=%d/out=%d/in=%d/pad=%d", s.n, s.out, s.in, s.pad), func(b *testing.B) {
			w := make([]float32, s.out*s.in)
			for i := range w {
				w[i] = r.Float32() - 0.5
			}
			m, err := Pack(p, F32, tensor.FromFloat32("w", w, s.out, s.in))
			if err != nil {
				b.Fatal(err)
			}
			x, y := make([]float32, s.n*s.in), make([]float32, s.n*(s.out+s.pad))
			for i := range x {
				x[i] = r.Float32() - 0.5
			}
			product := Mat{Data: y, Rows: s.n, Cols: s.out, Stride: s.out + s.pad}
			for b.Loop() {
				t := fastest(20, func() { m.Mul(p, product, Dense(x, s.n, s.in)) })
				b.ReportMetric(2*float64(s.n*s.out*s.in)/t/1e9, "GFLOP/s")
			}
		})
	}
}

// BenchmarkAttentionBurst reports the speed of a chunk's attention, counting only the
// products.
func BenchmarkAttentionBurst(b *testing.B) {
	p := NewPool(1)
	defer p.Close()
	r := rand.New(rand.NewPCG(1, 2))
	const heads, kv, dim, n = 9, 3, 64, 56
	for _, before := range []int{1024, 2048, 4096, 8192} {
		b.Run(fmt.Sprintf("before=%d", before), func(b *testing.B) {
			s := NewKV(kv, dim, dim)
			rnd := func(n int) []float32 {
				x := make([]float32, n)
				for i := range x {
					x[i] = r.Float32() - 0.5
				}
				return x
			}
			s.Append(nil, rnd((before+n)*kv*dim), rnd((before+n)*kv*dim), before+n)
			q, out := rnd(n*heads*dim), make([]float32, n*heads*dim)
			a := Attention{Heads: heads, KeyDim: dim, ValueDim: dim, Scale: 0.125}
			for b.Loop() {
				t := fastest(20, func() { a.Run(p, s, Queries{Q: q, Out: out, Rows: n, Pos0: before}) })
				b.ReportMetric(4*float64(n*heads*dim)*(float64(before)+n/2)/t/1e9, "GFLOP/s")
			}
		})
	}
}
