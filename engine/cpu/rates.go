package cpu

import (
	"runtime"
	"slices"
	"time"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Rates are what this machine does just now, other work on it included.
type Rates struct {
	FLOPs float64 // a second, of products of many rows
	Bytes float64 // a second, read from memory
}

// Measure takes about half a second: after a while in which threads and clocks
// come up to speed, the medians of some short runs.
func Measure(threads int) Rates {
	const rows, out, in, bytes = 504, 1024, 576, 64 << 20
	p := NewPool(threads)
	defer p.Close()
	var r Rates
	w := make([]float32, out*in)
	for i := range w {
		w[i] = float32(i%7) - 3
	}
	if m, err := Pack(p, tensor.FromFloat32("w", w, out, in)); err == nil {
		x, y := make([]float32, rows*in), make([]float32, rows*out)
		m.Mul(p, y, out, x, in, rows)
		r.FLOPs = 2 * rows * out * in * often(func() { m.Mul(p, y, out, x, in, rows) })
	}
	const parts = 64
	slab := newSlab(bytes)
	defer runtime.KeepAlive(slab)
	big := of[float32](slab)
	for i := 0; i < len(big); i += 512 {
		big[i] = 1
	}
	r.Bytes = bytes * often(func() {
		p.Run(parts, func(task, _ int) { simd.Max(big[task*len(big)/parts : (task+1)*len(big)/parts]) })
	})
	return r
}

// often is how many times a second f runs: the median of five runs of at least
// 30 ms, after one that does not count.
func often(f func()) float64 {
	var rates []float64
	for range 6 {
		begin, n := time.Now(), 0
		for ; n < 1 || time.Since(begin) < 30*time.Millisecond; n++ {
			f()
		}
		rates = append(rates, float64(n)/time.Since(begin).Seconds())
	}
	rates = rates[1:]
	slices.Sort(rates)
	return rates[len(rates)/2]
}
