package cpu

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"github.com/attnscope/attnscope/capture/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Matrix is a weight W [out, in], packed into panels of 32 outputs, each
// [in][32]: products with many rows and with one read the same panels.
type Matrix struct {
	out, in int
	f32     []float32
	bf16    []uint16
	parts   []tensor.Tensor // of Unpacked
}

// Unpacked is a weight as it lies in the file, for a backend that brings it into
// a form of its own: it cannot be multiplied.
func Unpacked(list ...tensor.Tensor) *Matrix { return &Matrix{parts: list} }

// Parts are the tensors of Unpacked, one under the other.
func (m *Matrix) Parts() []tensor.Tensor { return m.parts }

// Pack packs a weight; bfloat16 stays bfloat16, all else becomes float32. A
// weight that is not finite is an error.
func Pack(p *Pool, w tensor.Tensor) (*Matrix, error) { return PackRows(p, w) }

// PackRows packs several weights of equal width, one under the other.
func PackRows(p *Pool, list ...tensor.Tensor) (*Matrix, error) {
	m := &Matrix{}
	half := true
	var starts []int
	for _, w := range list {
		if len(w.Shape) != 2 {
			return nil, fmt.Errorf("tensor %s: shape %v, want a matrix", w.Name, w.Shape)
		}
		if m.in == 0 {
			m.in = w.Cols()
		}
		if w.Cols() != m.in {
			return nil, fmt.Errorf("tensor %s: shape %v, want %d columns", w.Name, w.Shape, m.in)
		}
		starts = append(starts, m.out)
		m.out += w.Rows()
		half = half && w.DType == tensor.BF16
	}
	panels := (m.out + simd.Width - 1) / simd.Width
	if half {
		m.bf16 = make([]uint16, panels*m.in*simd.Width)
	} else {
		m.f32 = make([]float32, panels*m.in*simd.Width)
	}
	var once sync.Once
	var bad error
	p.Run(panels, func(task, worker int) {
		row := p.Scratch(worker).Floats(m.in)
		for r := range min(simd.Width, m.out-task*simd.Width) {
			o := task*simd.Width + r
			at := len(starts) - 1
			for starts[at] > o {
				at--
			}
			err := m.packRow(task, r, list[at], o-starts[at], row)
			if err != nil {
				once.Do(func() { bad = err })
				return
			}
		}
	})
	if bad != nil {
		return nil, bad
	}
	return m, nil
}

func (m *Matrix) packRow(panel, r int, w tensor.Tensor, i int, row []float32) error {
	at := panel*m.in*simd.Width + r
	if m.bf16 != nil {
		data := w.Data[i*m.in*2 : (i+1)*m.in*2]
		for x := range m.in {
			h := binary.LittleEndian.Uint16(data[2*x:])
			if h&0x7f80 == 0x7f80 {
				return notFinite(w, i, x, tensor.BF16ToF32(h))
			}
			m.bf16[at+x*simd.Width] = h
		}
		return nil
	}
	if err := w.Row(row, i); err != nil {
		return err
	}
	for x, v := range row {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return notFinite(w, i, x, v)
		}
		m.f32[at+x*simd.Width] = v
	}
	return nil
}

func notFinite(w tensor.Tensor, i, x int, v float32) error {
	return fmt.Errorf("tensor %s: element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again", w.Name, i, x, v)
}

// Out is the number of outputs.
func (m *Matrix) Out() int { return m.out }

// In is the number of inputs.
func (m *Matrix) In() int { return m.in }

// Bytes is the memory of the packed weight.
func (m *Matrix) Bytes() int { return 4*len(m.f32) + 2*len(m.bf16) }

// Shape of the blocks a product is done in: a K-block of a panel group stays
// in the second-level cache while all rows pass.
const (
	blockIn     = 256
	groupPanels = 8
)

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
	panels := (m.out + simd.Width - 1) / simd.Width
	group := groupPanels
	if n < 8 { // memory-bound: whole panels, in one go
		group = max(1, min(groupPanels, panels/(4*p.threads)))
	}
	const rowBlock = 14 * 8
	p.Run((panels+group-1)/group, func(task, _ int) {
		lo, hi := task*group, min(panels, (task+1)*group)
		step := blockIn
		if n < 8 {
			step = m.in
		}
		for k0 := 0; k0 < m.in; k0 += step {
			kl := min(step, m.in-k0)
			for i := 0; i < n; i += rowBlock {
				rows := min(rowBlock, n-i)
				for j := lo; j < hi; j++ {
					cols := min(simd.Width, m.out-j*simd.Width)
					at := (j*m.in + k0) * simd.Width
					c := dst[i*ldd+j*simd.Width:]
					if m.bf16 != nil {
						simd.MulPanelBF16(c, ldd, x[i*ldx+k0:], ldx, m.bf16[at:at+kl*simd.Width], rows, cols, kl, acc || k0 > 0)
					} else {
						simd.MulPanel(c, ldd, x[i*ldx+k0:], ldx, m.f32[at:at+kl*simd.Width], rows, cols, kl, acc || k0 > 0)
					}
				}
			}
		}
	})
}
