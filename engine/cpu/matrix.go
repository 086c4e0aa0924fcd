package cpu

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Mat is a view of a row-major matrix of float32: element [i, j] is
// Data[i*Stride+j].
type Mat = simd.Mat[float32]

// Dense returns the view of a matrix whose rows lie next to each other.
func Dense(data []float32, rows, cols int) Mat { return simd.Dense(data, rows, cols) }

// Matrix is a weight W [out, in], packed into panels of 32 outputs, each [in][32].
// Products with one row and with many rows read the same panels. The panels have the
// element type of the checkpoint: bfloat16, float16 and quantized weights are widened
// when they are used: in registers for a few rows, or once per block for many rows.
type Matrix struct {
	out, in int
	panels  panels
	group   int // a product of a row alone needs the sums of groups of this many inputs; 0: none
	compute Compute

	parts  []tensor.Tensor // the tensors given to Unpacked or Deferred
	read   func() ([]tensor.Tensor, error)
	exact  bool  // what Exact has set
	failed error // of products with the original weights of panels that were unloaded
}

// Unpacked returns a matrix that only holds its tensors as stored in the file, for a
// backend that converts them itself. It cannot be multiplied.
func Unpacked(compute Compute, weights ...tensor.Tensor) *Matrix {
	m := &Matrix{compute: compute, parts: weights}
	_ = m.measure(weights) // only Bytes needs the size
	return m
}

// Parts returns the tensors that Unpacked or Deferred was given, in order.
func (m *Matrix) Parts() []tensor.Tensor { return m.parts }

// Pack packs weights of equal width into one matrix, their outputs one after another,
// for products in the arithmetic compute. With BF16 the tensors must stay
// readable, since [Matrix.Exact] products read them again. Pack fails if a weight is
// not finite.
func Pack(p *Pool, compute Compute, weights ...tensor.Tensor) (*Matrix, error) {
	m := &Matrix{compute: compute}
	if err := m.measure(weights); err != nil {
		return nil, err
	}
	if err := m.pack(p, weights); err != nil {
		return nil, err
	}
	return m, nil
}

// pack packs the weights of a matrix whose size is known.
func (m *Matrix) pack(p *Pool, weights []tensor.Tensor) error {
	if m.compute == BF16 {
		m.panels = newRoundedPanels(p, m.out, m.in, weights)
		return m.packRows(p, weights)
	}
	m.choosePanels(p, weights, true)
	err := m.packRows(p, weights)
	if errors.As(err, &errInexact{}) {
		p.keep(m.panels.memory())
		m.choosePanels(p, weights, false)
		err = m.packRows(p, weights)
	}
	return err
}

// measure sets the numbers of inputs and outputs of the matrix.
func (m *Matrix) measure(weights []tensor.Tensor) error {
	for _, w := range weights {
		if len(w.Shape) != 2 {
			return fmt.Errorf("tensor %s: shape %v, want a matrix", w.Name, w.Shape)
		}
		if m.in == 0 {
			m.in = w.Cols()
		}
		if w.Cols() != m.in {
			return fmt.Errorf("tensor %s: shape %v, want %d columns", w.Name, w.Shape, m.in)
		}
		m.out += w.Rows()
	}
	return nil
}

// choosePanels makes empty panels of the smallest element type that holds all
// weights exactly. half allows quantized panels with float16 scales.
func (m *Matrix) choosePanels(p *Pool, weights []tensor.Tensor, half bool) {
	n := simd.Panels(m.out)
	types := map[tensor.DType]bool{}
	form := simd.Quant{Bits: 4, Group: 32, Half: half}
	quantized := true
	for _, w := range weights {
		types[w.Exactly()] = true
		a, ok := w.Exactly().Affine()
		quantized = quantized && ok
		form.Bits = max(form.Bits, a.Bits)
		form.Half = form.Half && a.Half
		if ok {
			form.Group = min(form.Group, a.Group)
		}
	}
	switch {
	case quantized && len(weights) > 0:
		q := &quantizedPanels{in: m.in, form: form}
		q.slab = p.zeroSlab(n * q.panelBytes())
		q.data = q.slab.data
		m.panels = q
		m.group = form.Group
	case len(types) == 1 && (types[tensor.BF16] || types[tensor.F16]):
		slab := p.panelSlab(2*n*m.in*simd.Width, m.out)
		m.panels = &halfPanels{in: m.in, bfloat16: types[tensor.BF16], slab: slab, data: slabOf[uint16](slab)}
	default:
		slab := p.panelSlab(4*n*m.in*simd.Width, m.out)
		m.panels = &floatPanels{in: m.in, slab: slab, data: slabOf[float32](slab)}
	}
}

// packRows packs all rows into the panels.
func (m *Matrix) packRows(p *Pool, weights []tensor.Tensor) error {
	var once sync.Once
	var bad error
	p.Run(simd.Panels(m.out), func(panel, worker int) {
		if h, ok := m.panels.(*halfPanels); ok && panel*simd.Width+simd.Width <= m.out {
			if w, i := locate(weights, panel*simd.Width); h.fastPanel(w, panel, i) {
				return
			}
		}
		row := p.Scratch(worker).Floats(m.in)
		for r := range min(simd.Width, m.out-panel*simd.Width) {
			w, i := locate(weights, panel*simd.Width+r)
			if err := m.panels.pack(w, panel, r, i, row); err != nil {
				once.Do(func() { bad = err })
				return
			}
		}
	})
	return bad
}

// locate finds the tensor and its row that hold an output of the matrix.
func locate(weights []tensor.Tensor, output int) (tensor.Tensor, int) {
	at := 0
	for output >= weights[at].Rows() {
		output -= weights[at].Rows()
		at++
	}
	return weights[at], output
}

// notFinite returns the error for element [i, x] of a weight.
func notFinite(w tensor.Tensor, i, x int, v float32) error {
	return fmt.Errorf("tensor %s: element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again",
		w.Name, i, x, v)
}

// Out returns the number of outputs.
func (m *Matrix) Out() int { return m.out }

// In returns the number of inputs.
func (m *Matrix) In() int { return m.in }

// PackedBytes returns the memory that Pack uses for a weight [out, in] of a type.
func PackedBytes(compute Compute, d tensor.DType, out, in int) int64 {
	panels := int64(simd.Panels(out))
	if compute == BF16 {
		return panels * simd.Width * (int64(in+1) / 2 * 4)
	}
	if a, ok := d.Affine(); ok {
		form := simd.Quant{Bits: a.Bits, Group: a.Group, Half: a.Half}
		return panels * int64(in/form.Group*form.GroupBytes())
	}
	if d == tensor.BF16 || d == tensor.F16 {
		return panels * simd.Width * int64(in) * 2
	}
	return panels * simd.Width * int64(in) * 4
}

// Bytes returns the memory of the packed weight, or the memory that it would take.
func (m *Matrix) Bytes() int {
	if m.panels == nil {
		return m.packedBytes()
	}
	return m.panels.bytes()
}

// Exact switches between the arithmetic of a matrix packed for BF16 and
// slow products with the original weights, to measure the error of the former. It
// has no effect on other matrices. It returns the error of an original weight that the
// products since the last call could not read; their results are not valid then.
func (m *Matrix) Exact(on bool) error {
	m.exact = on
	failed := m.failed
	m.failed = nil
	if r, ok := m.panels.(*roundedPanels); ok {
		r.exact = on
		failed = cmp.Or(failed, r.takeFailed())
	}
	return failed
}

// A product of many rows is computed block by block: a block of blockIn inputs of
// groupPanels panels stays in the second-level cache while all rows are multiplied by
// it.
const (
	blockIn     = 320
	groupPanels = 8
	fewRows     = 8 // products of fewer rows are limited by memory
	rowBlock    = 14 * 8
)

// blockOf splits in inputs into equal blocks of at most most inputs, and returns their
// size. Both are multiples of 32.
func blockOf(in, most int) int {
	blocks := (in + most - 1) / most
	return ((in+blocks-1)/blocks + 31) &^ 31
}

// groupOf returns the number of panels per task: the largest number, up to groupPanels,
// for which the busiest thread has the fewest panels.
func groupOf(panels, threads int) int {
	best := 1
	least := panels + 1
	for g := groupPanels; g > 1; g-- {
		tasks := (panels + g - 1) / g
		most := (tasks + threads - 1) / threads * g
		if tasks%threads == 1 || threads == 1 { // the last task, perhaps a small one, runs alone
			most -= tasks*g - panels
		}
		if most < least {
			best = g
			least = most
		}
	}
	return best
}

// Mul computes dst = x·Wᵀ for x [n, in] and dst [n, out].
func (m *Matrix) Mul(p *Pool, dst, x Mat) { m.mul(p, dst, x, false) }

// MulAdd computes dst += x·Wᵀ for x [n, in] and dst [n, out].
func (m *Matrix) MulAdd(p *Pool, dst, x Mat) { m.mul(p, dst, x, true) }

// MulEach computes dst = x·Wᵀ, or dst += x·Wᵀ with acc, where each row of dst is bit for
// bit what a product with that row of x alone gives. It suits a few rows, since it does
// not split the inputs into blocks as Mul does for many rows.
func (m *Matrix) MulEach(p *Pool, dst, x Mat, acc bool) {
	m.multiply(p, dst, x, acc, m.mulEach)
}

func (m *Matrix) mul(p *Pool, dst, x Mat, acc bool) {
	r, ok := m.panels.(*roundedPanels)
	if ok && r.ownTiles() && simd.HasTiles() && x.Rows >= fewRows {
		m.check(dst, x)
		m.mulTiles(p, dst, x, simd.RoundedTerm, acc)
		runtime.KeepAlive(m)
		return
	}
	m.multiply(p, dst, x, acc, m.mulFloat)
}

// check panics if the shapes of a product do not match.
func (m *Matrix) check(dst, x Mat) {
	if dst.Rows != x.Rows || dst.Cols != m.out || x.Cols != m.in {
		panic(fmt.Sprintf("cpu: product [%d, %d] = [%d, %d] · [%d, %d]ᵀ",
			dst.Rows, dst.Cols, x.Rows, x.Cols, m.out, m.in))
	}
}

// multiply computes dst = x·Wᵀ or dst += x·Wᵀ, with inFloat unless the processor
// multiplies rounded weights directly; these products treat each row alone.
func (m *Matrix) multiply(p *Pool, dst, x Mat, acc bool, inFloat func(p *Pool, dst, x Mat, acc bool)) {
	m.check(dst, x)
	if x.Rows == 0 {
		return
	}
	defer runtime.KeepAlive(m)
	r, rounded := m.panels.(*roundedPanels)
	switch {
	case rounded && !r.exact && simd.HasDotBF16():
		r.mul(p, dst, x, acc)
	case rounded && !r.exact:
		inFloat(p, dst, r.afterRounding(x), acc)
	default:
		inFloat(p, dst, x, acc)
	}
}

// mulFloat multiplies in float32.
func (m *Matrix) mulFloat(p *Pool, dst, x Mat, acc bool) {
	switch {
	case x.Rows == 1:
		m.mulEach(p, dst, x, acc)
	case x.Rows < fewRows:
		m.mulFew(p, dst, x, acc, nil)
	case simd.HasTiles():
		m.mulTiles(p, dst, x, simd.ExactTerms, acc)
	default:
		m.mulMany(p, dst, x, acc)
	}
}

// mulEach multiplies each row as if it were alone.
func (m *Matrix) mulEach(p *Pool, dst, x Mat, acc bool) {
	if m.group == 0 {
		m.mulFew(p, dst, x, acc, nil)
		return
	}
	sums := m.sumGroups(p, x)
	m.mulFew(p, dst, x, acc, &sums)
}

// sumGroups returns the sums of the rows of x over groups of inputs, valid until the next
// call.
func (m *Matrix) sumGroups(p *Pool, x Mat) Mat {
	groups := m.in / m.group
	sums := Dense(resize(&p.groupSums, x.Rows*groups), x.Rows, groups)
	p.Run(x.Rows, func(i, _ int) {
		simd.GroupSums(sums.Data[i*groups:(i+1)*groups], x.Data[i*x.Stride:i*x.Stride+m.in], m.group)
	})
	return sums
}

// mulMany widens a block of panels once and multiplies all rows by it.
func (m *Matrix) mulMany(p *Pool, dst, x Mat, acc bool) {
	panels := simd.Panels(m.out)
	step := blockOf(m.in, blockIn)
	group := groupOf(panels, p.threads)
	p.Run((panels+group-1)/group, func(task, worker int) {
		lo := task * group
		hi := min(panels, lo+group)
		s := p.Scratch(worker)
		buf := s.widened(group * step * simd.Width)
		var wide [groupPanels][]float32
		for k0 := 0; k0 < m.in; k0 += step {
			kl := min(step, m.in-k0)
			for j := lo; j < hi; j++ {
				wide[j-lo] = m.panels.wide(buf[(j-lo)*step*simd.Width:][:kl*simd.Width], j, k0, kl)
			}
			for i := 0; i < x.Rows; i += rowBlock {
				rows := min(rowBlock, x.Rows-i)
				a := s.spread(x.Sub(i, k0, rows, kl))
				for j := lo; j < hi; j++ {
					cols := min(simd.Width, m.out-j*simd.Width)
					simd.MulPanel(dst.Sub(i, j*simd.Width, rows, cols), a, wide[j-lo], acc || k0 > 0)
				}
			}
		}
	})
}

// spread returns x, or a copy with another stride if all rows of x would use the same
// sets of the first-level cache.
func (s *Scratch) spread(x Mat) Mat {
	if x.Stride%1024 != 0 {
		return x
	}
	stride := x.Cols + 16
	y := Mat{Data: s.Floats(x.Rows * stride), Rows: x.Rows, Cols: x.Cols, Stride: stride}
	for r := range x.Rows {
		copy(y.Data[r*stride:r*stride+x.Cols], x.Data[r*x.Stride:])
	}
	return y
}

// mulFew multiplies a few rows, panel by panel: every weight is read once.
func (m *Matrix) mulFew(p *Pool, dst, x Mat, acc bool, sums *Mat) {
	panels := simd.Panels(m.out)
	group := fewGroup(panels, p.threads)
	p.Run((panels+group-1)/group, func(task, worker int) {
		for j := task * group; j < min(panels, (task+1)*group); j++ {
			cols := min(simd.Width, m.out-j*simd.Width)
			m.panels.mulFew(dst.Sub(0, j*simd.Width, x.Rows, cols), x, j, acc, sums, p.Scratch(worker))
		}
	})
}

// fewGroup returns the number of panels per task in a product of a few rows. It gives
// about four tasks per thread.
func fewGroup(panels, threads int) int { return max(1, min(groupPanels, panels/(4*threads))) }
