package cpu

import (
	"runtime"
	"slices"
	"time"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Rates holds the speeds that this machine reaches at present, under its current load.
type Rates struct {
	FLOPs float64 // per second, in products of many rows
	Bytes float64 // per second, read from memory
}

// Measure measures the rates of a pool of threads, in about half a second. After a
// warm-up, in which threads and clocks reach their speed, it takes the medians of
// short runs.
func Measure(threads int) Rates {
	const rows, out, in, bytes = 504, 1024, 576, 64 << 20
	p := NewPool(threads)
	defer p.Close()
	var r Rates
	w := make([]float32, out*in)
	for i := range w {
		w[i] = float32(i%7) - 3
	}
	if m, err := Pack(p, F32, tensor.FromFloat32("w", w, out, in)); err == nil {
		x := Dense(make([]float32, rows*in), rows, in)
		y := Dense(make([]float32, rows*out), rows, out)
		m.Mul(p, y, x)
		r.FLOPs = 2 * rows * out * in * perSecond(func() { m.Mul(p, y, x) })
	}
	const parts = 64
	slab := newSlab(bytes)
	defer runtime.KeepAlive(slab)
	big := slabOf[float32](slab)
	for i := 0; i < len(big); i += 512 {
		big[i] = 1
	}
	r.Bytes = bytes * perSecond(func() {
		p.Run(parts, func(task, _ int) { simd.Max(big[task*len(big)/parts : (task+1)*len(big)/parts]) })
	})
	return r
}

// attained is the share of the measured rates that a whole model reaches: attention,
// normalization and recording are slower than matrix products.
const attained = 0.87

// OfModel returns the rates that a whole model reaches in an arithmetic.
func (r Rates) OfModel(compute Compute) Rates {
	r.FLOPs *= attained
	r.Bytes *= attained
	if compute == BF16 { // speed compared with float32, attention included
		r.FLOPs /= 0.75
	}
	return r
}

// perSecond returns the number of times that f runs per second: the median of five runs
// of at least 30 ms, after a warm-up run.
func perSecond(f func()) float64 {
	var rates []float64
	for range 6 {
		begin := time.Now()
		n := 0
		for ; n < 1 || time.Since(begin) < 30*time.Millisecond; n++ {
			f()
		}
		rates = append(rates, float64(n)/time.Since(begin).Seconds())
	}
	rates = rates[1:]
	slices.Sort(rates)
	return rates[len(rates)/2]
}

// MeasurePacking measures how fast a pool of threads packs weights of a type that are in
// memory, in packed bytes per second.
func MeasurePacking(threads int, d tensor.DType) (float64, error) {
	const out, in = 1024, 2048
	size, err := d.Bytes(out * in)
	if err != nil {
		return 0, err
	}
	p := NewPool(threads)
	defer p.Close()
	w := tensor.Tensor{Name: "w", DType: d, Shape: []int{out, in}, Data: make([]byte, size)}
	m, err := Deferred(F32, []tensor.Tensor{w}, nil)
	if err != nil {
		return 0, err
	}
	n := float64(m.Bytes())
	rate := n * perSecond(func() {
		if failed := m.Load(p); failed != nil {
			err = failed
		}
		m.Unload(p)
	})
	return rate, err
}
