package cpu

import (
	"runtime"
	"time"

	"github.com/attnscope/attnscope/capture/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Rates are what this machine does just now, other work on it included.
type Rates struct {
	FLOPs float64 // a second, of products of many rows
	Bytes float64 // a second, read from memory
}

// Measure takes about a tenth of a second.
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
		begin, n := time.Now(), 0
		for ; n < 2 || time.Since(begin) < 60*time.Millisecond; n++ {
			m.Mul(p, y, out, x, in, rows)
		}
		r.FLOPs = float64(n) * 2 * rows * out * in / time.Since(begin).Seconds()
	}
	const parts = 64
	slab := newSlab(bytes)
	defer runtime.KeepAlive(slab)
	big := of[float32](slab)
	for i := 0; i < len(big); i += 512 {
		big[i] = 1
	}
	begin, n := time.Now(), 0
	for ; n < 2 || time.Since(begin) < 40*time.Millisecond; n++ {
		p.Run(parts, func(task, _ int) { simd.Max(big[task*len(big)/parts : (task+1)*len(big)/parts]) })
	}
	r.Bytes = float64(n) * bytes / time.Since(begin).Seconds()
	return r
}
