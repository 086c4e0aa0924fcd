package cpu

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Matrix is a weight W [out, in], packed into panels of 32 outputs, each
// [in][32]: products with many rows and with one read the same panels. They keep
// the size that the checkpoint gives them: bfloat16, float16 and quantised
// weights are widened when they are used, in registers for a few rows, once for a
// block of many.
type Matrix struct {
	out, in int
	panels  panels
	group   int             // inputs whose sums a product with one row needs; 0: none
	parts   []tensor.Tensor // of Unpacked
}

// Unpacked is a weight as it lies in the file, for a backend that brings it into
// a form of its own: it cannot be multiplied.
func Unpacked(list ...tensor.Tensor) *Matrix { return &Matrix{parts: list} }

// Parts are the tensors of Unpacked, one under the other.
func (m *Matrix) Parts() []tensor.Tensor { return m.parts }

// Pack packs a weight. One that is not finite is an error.
func Pack(p *Pool, w tensor.Tensor) (*Matrix, error) { return PackRows(p, w) }

// PackRows packs several weights of equal width, one under the other.
func PackRows(p *Pool, list ...tensor.Tensor) (*Matrix, error) {
	m := &Matrix{}
	if err := m.measure(list); err != nil {
		return nil, err
	}
	err := m.pack(p, list, true)
	if errors.As(err, &errInexact{}) {
		err = m.pack(p, list, false)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

// measure reads the size of weights under one another.
func (m *Matrix) measure(list []tensor.Tensor) error {
	for _, w := range list {
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

// choose makes empty panels in the smallest form that holds all weights.
func (m *Matrix) choose(list []tensor.Tensor, half bool) {
	n := (m.out + simd.Width - 1) / simd.Width
	kinds := map[tensor.DType]bool{}
	form := simd.Quant{Bits: 4, Group: 32, Half: half}
	quant := true
	for _, w := range list {
		kinds[w.DType] = true
		a, ok := w.DType.Affine()
		quant = quant && ok
		form.Bits, form.Half = max(form.Bits, a.Bits), form.Half && a.Half
		if ok {
			form.Group = min(form.Group, a.Group)
		}
	}
	switch {
	case quant && len(list) > 0:
		q := &quantised{in: m.in, form: form}
		q.slab = newSlab(n * q.panelBytes())
		q.data = q.slab.data
		m.panels, m.group = q, form.Group
	case len(kinds) == 1 && (kinds[tensor.BF16] || kinds[tensor.F16]):
		slab := newSlab(2 * n * m.in * simd.Width)
		m.panels = &halves{m.in, kinds[tensor.BF16], slab, of[uint16](slab)}
	default:
		slab := newSlab(4 * n * m.in * simd.Width)
		m.panels = &floats{m.in, slab, of[float32](slab)}
	}
}

func (m *Matrix) pack(p *Pool, list []tensor.Tensor, half bool) error {
	m.choose(list, half)
	return m.packRows(p, list)
}

// packRows packs all rows into the panels.
func (m *Matrix) packRows(p *Pool, list []tensor.Tensor) error {
	var once sync.Once
	var bad error
	p.Run((m.out+simd.Width-1)/simd.Width, func(panel, worker int) {
		row := p.Scratch(worker).Floats(m.in)
		for r := range min(simd.Width, m.out-panel*simd.Width) {
			at, o := 0, panel*simd.Width+r
			for o >= list[at].Rows() {
				o -= list[at].Rows()
				at++
			}
			if err := m.panels.pack(list[at], panel, r, o, row); err != nil {
				once.Do(func() { bad = err })
				return
			}
		}
	})
	return bad
}

func notFinite(w tensor.Tensor, i, x int, v float32) error {
	return fmt.Errorf("tensor %s: element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again", w.Name, i, x, v)
}

// Out is the number of outputs.
func (m *Matrix) Out() int { return m.out }

// PackedBytes is the memory that a weight [out, in] of a type takes packed.
func PackedBytes(compute Compute, d tensor.DType, out, in int) int64 {
	panels := int64(out+simd.Width-1) / simd.Width
	switch {
	case compute == BF16:
		return panels * simd.Width * int64(in+1) / 2 * 4
	case compute == Int8:
		return panels * simd.Width * (int64(in+3)/4*4 + 8)
	}
	a, quantised := d.Affine()
	switch {
	case quantised:
		form := simd.Quant{Bits: a.Bits, Group: a.Group, Half: a.Half}
		return panels * int64(in/form.Group*form.GroupBytes())
	case d == tensor.BF16 || d == tensor.F16:
		return panels * simd.Width * int64(in) * 2
	}
	return panels * simd.Width * int64(in) * 4
}

// In is the number of inputs.
func (m *Matrix) In() int { return m.in }

// Bytes is the memory of the packed weight.
func (m *Matrix) Bytes() int { return m.panels.bytes() }

// Exact lets a matrix of Narrow multiply its weights as they lie in the file,
// slowly; other matrices always do.
func (m *Matrix) Exact(on bool) {
	if w, ok := m.panels.(*narrowed); ok {
		w.exact = on
	}
}

// Shape of the blocks a product of many rows is done in: a block of a group of
// panels stays in the second-level cache while all rows pass.
const (
	blockIn     = 320
	groupPanels = 8
	fewRows     = 8 // less than so many are bound by memory
	rowBlock    = 14 * 8
)

// blockOf splits in into equal blocks of at most blockIn, multiples of 32.
func blockOf(in int) int {
	blocks := (in + blockIn - 1) / blockIn
	return ((in+blocks-1)/blocks + 31) &^ 31
}

// groupOf is how many panels a task takes: the most, up to groupPanels, with
// which the slowest of the threads has the fewest.
func groupOf(panels, threads int) int {
	best, least := 1, panels+1
	for g := groupPanels; g > 1; g-- {
		tasks := (panels + g - 1) / g
		most := (tasks + threads - 1) / threads * g
		if tasks%threads == 1 || threads == 1 { // the last task, perhaps a small one, is alone at the end
			most -= tasks*g - panels
		}
		if most < least {
			best, least = g, most
		}
	}
	return best
}

// Mul computes dst = x·Wᵀ: dst[i*ldd+o] = Σ_k x[i*ldx+k]·W[o, k], i < n.
func (m *Matrix) Mul(p *Pool, dst []float32, ldd int, x []float32, ldx, n int) {
	m.mul(p, dst, ldd, x, ldx, n, false)
}

// MulAdd computes dst += x·Wᵀ.
func (m *Matrix) MulAdd(p *Pool, dst []float32, ldd int, x []float32, ldx, n int) {
	m.mul(p, dst, ldd, x, ldx, n, true)
}

func (m *Matrix) mul(p *Pool, dst []float32, ldd int, x []float32, ldx, n int, acc bool) {
	if n == 0 {
		return
	}
	defer runtime.KeepAlive(m)
	if w, ok := m.panels.(*narrowed); ok && !w.exact {
		if w.hasKernel() {
			m.mulNarrow(p, w, dst, ldd, x, ldx, n, acc)
			return
		}
		x, ldx = w.rounded(x, ldx, n), m.in
	}
	panels := (m.out + simd.Width - 1) / simd.Width
	if n < fewRows {
		m.few(p, dst, ldd, x, ldx, n, panels, acc)
		return
	}
	step, group := blockOf(m.in), groupOf(panels, p.threads)
	p.Run((panels+group-1)/group, func(task, worker int) {
		lo, hi := task*group, min(panels, (task+1)*group)
		s := p.Scratch(worker)
		buf := s.widened(group * step * simd.Width)
		var wide [groupPanels][]float32
		for k0 := 0; k0 < m.in; k0 += step {
			kl := min(step, m.in-k0)
			for j := lo; j < hi; j++ {
				wide[j-lo] = m.panels.wide(buf[(j-lo)*step*simd.Width:][:kl*simd.Width], j, k0, kl)
			}
			for i := 0; i < n; i += rowBlock {
				rows := min(rowBlock, n-i)
				a, lda := x[i*ldx+k0:], ldx
				if ldx%1024 == 0 { // all rows would share the sets of the first-level cache
					a, lda = s.Floats(rows*(kl+16)), kl+16
					for r := range rows {
						copy(a[r*lda:r*lda+kl], x[(i+r)*ldx+k0:])
					}
				}
				for j := lo; j < hi; j++ {
					cols := min(simd.Width, m.out-j*simd.Width)
					simd.MulPanel(dst[i*ldd+j*simd.Width:], ldd, a, lda, wide[j-lo], rows, cols, kl, acc || k0 > 0)
				}
			}
		}
	})
}

// few multiplies a few rows, panel by panel: every weight is read once.
func (m *Matrix) few(p *Pool, dst []float32, ldd int, x []float32, ldx, n, panels int, acc bool) {
	var sums []float32
	if m.group > 0 && n == 1 {
		sums = room(&p.sums, m.in/m.group)
		simd.GroupSums(sums, x[:m.in], m.group)
	}
	group := max(1, min(groupPanels, panels/(4*p.threads)))
	p.Run((panels+group-1)/group, func(task, worker int) {
		for j := task * group; j < min(panels, (task+1)*group); j++ {
			cols := min(simd.Width, m.out-j*simd.Width)
			m.panels.few(dst[j*simd.Width:], ldd, x, ldx, n, cols, j, acc, sums, p.Scratch(worker))
		}
	})
}
