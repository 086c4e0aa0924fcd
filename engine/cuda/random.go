//go:build cuda

package cuda

import (
	"math"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
)

// LoadRandom returns a decoder of the given sizes with random weights on card i, to
// measure speed: of the compute type or, for float32, bfloat16. theta is the base of the
// rotation.
func LoadRandom(i int, s Sizes, theta float64, o Options) (Model, error) {
	d := &Decoder{
		Sizes: s, NormEps: 1e-5, Scale: float32(1 / math.Sqrt(float64(s.HeadDim))), EmbedScale: 1, ResidualScale: 1, LogitScale: 1, Activation: "silu",
		Turns: func(_, _, pos0, n int) Turns { return plainTurns(theta, s.HeadDim, pos0, n) },
	}
	c, err := openCard(i, d, o)
	if err != nil {
		return nil, err
	}
	if err := c.t.do(func() error { return c.random() }); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func plainTurns(theta float64, dim, pos0, n int) Turns {
	half := dim / 2
	t := Turns{Cos: make([]float32, n*half), Sin: make([]float32, n*half), Half: half}
	for i := range n {
		for j := range half {
			angle := float64(pos0+i) / math.Pow(theta, float64(2*j)/float64(dim))
			t.Cos[i*half+j], t.Sin[i*half+j] = float32(math.Cos(angle)), float32(math.Sin(angle))
		}
	}
	return t
}

func (c *card) random() error {
	u, s := &uploader{c: c}, &c.d.Sizes
	seed := uint64(1)
	t := c.dt
	if c.mixes {
		t = bf16
	}
	fresh := func(out, in int) (matrix, error) {
		m := matrix{out: out, in: in, mixed: c.mixes}
		b, err := u.block(int64(out)*int64(in)*t.bytes(), "weights")
		if err != nil {
			return m, err
		}
		m.at = b.at
		seed++
		return m, c.l.fillRandom(b.at, t, int64(out)*int64(in), seed, float32(1/math.Sqrt(float64(in))))
	}
	ones := make([]float32, s.Hidden)
	for i := range ones {
		ones[i] = 1
	}
	norm, err := u.vector(ones)
	if err != nil {
		return err
	}
	c.norm = norm
	if c.head, err = fresh(s.Vocab, s.Hidden); err != nil {
		return err
	}
	c.embed, c.embedType = c.head.at, ownType[t]
	for range s.Layers {
		w := layerWeights{attnNorm: norm, ffnNorm: norm, rope: 1}
		nq, nk, nv := s.Heads*s.HeadDim, s.KVHeads*s.HeadDim, s.KVHeads*s.ValueDim
		for _, m := range []struct {
			at      *matrix
			out, in int
		}{{&w.qkv, nq + nk + nv, s.Hidden}, {&w.out, s.Hidden, s.Heads * s.ValueDim}, {&w.gateUp, 2 * s.Intermediate, s.Hidden}, {&w.down, s.Hidden, s.Intermediate}} {
			if *m.at, err = fresh(m.out, m.in); err != nil {
				return err
			}
		}
		c.layers = append(c.layers, w)
	}
	c.weightBytes = u.bytes
	if err := c.prepare(u); err != nil {
		return err
	}
	return call("cuCtxSynchronize", cu.Synchronize())
}

// Watch starts to measure the card's time by kind of work. It returns a function that
// returns the time of each kind since Watch or since its last call.
func Watch(m Model) func() (map[string]Spent, error) {
	c := m.(*card)
	w := &stopwatch{t: c.t}
	_ = c.t.do(func() error { c.times = w; return nil })
	return c.reading(w)
}

// WatchKernels starts to measure the time of each kernel, between an event before and one
// after each launch. It returns a function that returns these times since WatchKernels
// or since its last call, and one that ends the measurement.
func WatchKernels(m Model) (read func() (map[string]Spent, error), end func()) {
	c := m.(*card)
	w := &stopwatch{t: c.t}
	_ = c.t.do(func() error { c.l.times = w; return nil })
	return c.reading(w), func() { _ = c.t.do(func() error { c.l.times = nil; return nil }) }
}

// reading returns a function that reads a stopwatch on the card's thread.
func (c *card) reading(w *stopwatch) func() (map[string]Spent, error) {
	return func() (out map[string]Spent, err error) {
		err = c.t.do(func() (err error) { out, err = w.read(); return err })
		return out, err
	}
}

// Image names the compiled kernels that the driver took: an architecture such as sm_90a,
// or ptx if the driver has compiled them.
func Image(m Model) string { return m.(*card).t.image }

// Blas returns the library of cuBLAS that multiplies, or an empty string if attnscope's own
// kernels do.
func Blas(m Model) string {
	if m.(*card).blas == nil {
		return ""
	}
	blasLibrary.Lock()
	defer blasLibrary.Unlock()
	return blasLibrary.path
}

// Operands names the types of the matrices of a product.
type Operands string

// The products that ProductRate measures.
const (
	Bfloat16 Operands = "bf16"
	Float32  Operands = "f32"
	Mixed    Operands = "f32_bf16" // float32 activations, in terms, and bfloat16 weights
)

// ProductRate measures the product of two n x n matrices, in operations per second, of
// which a product in several terms has as many as in one. It is the speed that the card
// reaches in practice. blas reports whether cuBLAS was used.
func ProductRate(m Model, n int, o Operands) (rate float64, blas bool, err error) {
	c := m.(*card)
	t, tw := bf16, bf16
	if o != Bfloat16 {
		t = f32
	}
	if o == Float32 {
		tw = f32
	}
	err = c.t.do(func() error {
		size := int64(n) * int64(n)
		var b [4]block
		split := size
		if o == Mixed {
			split *= terms * bf16.bytes()
		}
		for i, bytes := range []int64{size * t.bytes(), size * tw.bytes(), 4 * size, split} {
			var err error
			if b[i], err = c.pool.get(bytes, "a product to measure"); err != nil {
				return err
			}
			defer c.pool.put(b[i])
		}
		before := c.work.terms
		defer func() { c.work.terms = before }()
		c.work.terms = b[3].at
		p := product{
			C: b[2].at, Ldc: n, A: b[0].at, T: t, Lda: n, W: b[1].at, Ldw: n, M: n, N: n, K: n, Mixed: o == Mixed,
		}
		err := inOrder(
			func() error { return c.l.fillRandom(b[0].at, t, size, 1, 1) },
			func() error { return c.l.fillRandom(b[1].at, tw, size, 2, 1) },
		)
		if err != nil {
			return err
		}
		seconds, err := c.pace(func() error { return c.product(p) })
		rate = 2 * float64(n) * float64(size) / seconds
		return err
	})
	return rate, c.blas != nil && o != Mixed, err
}

// QuantizedRate measures the product of one row with n x n weights of type Q4_K, in bytes of
// weights per second. n is a multiple of 256.
func QuantizedRate(m Model, n int) (rate float64, err error) {
	c := m.(*card)
	bytes, err := tensor.Q4_K.Bytes(n * n)
	if err != nil {
		return 0, err
	}
	err = c.t.do(func() error {
		var b [3]block
		for i, size := range []int64{int64(n) * bf16.bytes(), int64(bytes), 4 * int64(n)} {
			var err error
			if b[i], err = c.pool.get(size, "a product to measure"); err != nil {
				return err
			}
			defer c.pool.put(b[i])
		}
		p := product{C: b[2].at, Ldc: n, A: b[0].at, T: bf16, Lda: n, W: b[1].at, M: 1, N: n, K: n}
		err := inOrder(
			func() error { return c.l.fillRandom(b[0].at, bf16, int64(n), 1, 1) },
			func() error { return c.l.fillRandom(b[1].at, f16, int64(bytes)/2, 2, 1) }, // of any values
		)
		if err != nil {
			return err
		}
		seconds, err := c.pace(func() error { return c.l.gemvQuant(p, tensor.Q4_K) })
		rate = float64(bytes) / seconds
		return err
	})
	return rate, err
}

// pace returns the seconds that launch takes on the card, after a first one that warms up.
func (c *card) pace(launch func() error) (float64, error) {
	const rounds = 10
	w := &stopwatch{t: c.t}
	if err := launch(); err != nil {
		return 0, err
	}
	w.mark("launch")
	for range rounds {
		if err := launch(); err != nil {
			return 0, err
		}
	}
	w.mark("")
	ms, err := w.read()
	return max(ms["launch"].Milliseconds/1e3, 1e-9) / rounds, err
}
