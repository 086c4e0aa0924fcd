package cpu

import (
	"encoding/binary"
	"math"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// panels are packed weights in one element type: panels of 32 outputs, each
// [in][32].
type panels interface {
	// pack writes row i of w as output r of a panel; row is scratch, in long.
	// A weight that is not finite, or does not fit the form, is an error.
	pack(w tensor.Tensor, panel, r, i int, row []float32) error
	// wide returns inputs [k0, k0+kl) of a panel as float32, [kl][32]: its own or
	// in dst. k0 and kl are multiples of 32, save at the end of in.
	wide(dst []float32, panel, k0, kl int) []float32
	// few multiplies a few rows by a panel, without widening it in memory where
	// the processor can; sums are those of the one row over groups of inputs.
	few(c []float32, ldc int, x []float32, ldx, rows, cols, panel int, acc bool, sums []float32, s *Scratch)
	bytes() int
}

// floats are float32 panels.
type floats struct {
	in   int
	slab *slab
	data []float32
}

func (f *floats) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
	if err := w.Row(row, i); err != nil {
		return err
	}
	at := panel*f.in*simd.Width + r
	for x, v := range row {
		if math.Float32bits(v)&0x7f800000 == 0x7f800000 {
			return notFinite(w, i, x, v)
		}
		f.data[at+x*simd.Width] = v
	}
	return nil
}

func (f *floats) wide(_ []float32, panel, k0, kl int) []float32 {
	return f.data[(panel*f.in+k0)*simd.Width:][:kl*simd.Width]
}

func (f *floats) few(c []float32, ldc int, x []float32, ldx, rows, cols, panel int, acc bool, _ []float32, _ *Scratch) {
	simd.MulPanel(c, ldc, x, ldx, f.wide(nil, panel, 0, f.in), rows, cols, f.in, acc)
}

func (f *floats) bytes() int { return 4 * len(f.data) }

// halves are bfloat16 or float16 panels.
type halves struct {
	in       int
	bfloat16 bool
	slab     *slab
	data     []uint16
}

func (h *halves) pack(w tensor.Tensor, panel, r, i int, _ []float32) error {
	at, data := panel*h.in*simd.Width+r, w.Data[i*h.in*2:(i+1)*h.in*2]
	infinite := uint16(0x7c00)
	if h.bfloat16 {
		infinite = 0x7f80
	}
	for x := range h.in {
		v := binary.LittleEndian.Uint16(data[2*x:])
		if v&infinite == infinite {
			f := tensor.F16ToF32(v)
			if h.bfloat16 {
				f = tensor.BF16ToF32(v)
			}
			return notFinite(w, i, x, f)
		}
		h.data[at+x*simd.Width] = v
	}
	return nil
}

func (h *halves) panel(panel, k0, kl int) []uint16 {
	return h.data[(panel*h.in+k0)*simd.Width:][:kl*simd.Width]
}

func (h *halves) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	if h.bfloat16 {
		simd.WidenBF16(dst, h.panel(panel, k0, kl))
	} else {
		simd.WidenF16(dst, h.panel(panel, k0, kl))
	}
	return dst
}

func (h *halves) few(c []float32, ldc int, x []float32, ldx, rows, cols, panel int, acc bool, _ []float32, _ *Scratch) {
	if h.bfloat16 {
		simd.MulPanelBF16(c, ldc, x, ldx, h.panel(panel, 0, h.in), rows, cols, h.in, acc)
	} else {
		simd.MulPanelF16(c, ldc, x, ldx, h.panel(panel, 0, h.in), rows, cols, h.in, acc)
	}
}

func (h *halves) bytes() int { return 2 * len(h.data) }

// quantised are panels of integers with scales and offsets.
type quantised struct {
	in   int
	form simd.Quant
	slab *slab
	data []byte
}

// errInexact says that scales do not fit float16.
type errInexact struct{}

func (errInexact) Error() string { return "scales do not fit float16" }

func (q *quantised) panelBytes() int { return q.in / q.form.Group * q.form.GroupBytes() }

func (q *quantised) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
	a, _ := w.DType.Affine()
	integers := make([]uint8, q.in)
	scale, offset := row[:q.in/a.Group], row[q.in/2:][:q.in/a.Group]
	if err := w.AffineRow(i, integers, scale, offset); err != nil {
		return err
	}
	data, size := q.data[panel*q.panelBytes():], q.form.GroupBytes()
	for g := range q.in / q.form.Group {
		s, o := scale[g*q.form.Group/a.Group], offset[g*q.form.Group/a.Group]
		if v := s + o; v-v != 0 {
			return notFinite(w, i, g*q.form.Group, v)
		}
		if !q.form.PutScale(data[g*size:], r, s, o) {
			return errInexact{}
		}
		q.form.Put(data[g*size:(g+1)*size], r, integers[g*q.form.Group:(g+1)*q.form.Group])
	}
	return nil
}

func (q *quantised) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	at := panel*q.panelBytes() + k0/q.form.Group*q.form.GroupBytes()
	q.form.Unpack(dst, q.data[at:], kl/q.form.Group)
	return dst
}

func (q *quantised) few(c []float32, ldc int, x []float32, ldx, rows, cols, panel int, acc bool, sums []float32, s *Scratch) {
	if rows == 1 {
		var y [simd.Width]float32
		if acc {
			copy(y[:cols], c)
		}
		if q.form.MulRow(&y, x[:q.in], sums, q.data[panel*q.panelBytes():(panel+1)*q.panelBytes()], q.in/q.form.Group, acc) {
			copy(c[:cols], y[:])
			return
		}
	}
	const block = 128 // inputs whose widened weights stay in the first-level cache
	buf := s.widened(block * simd.Width)
	for k0 := 0; k0 < q.in; k0 += block {
		kl := min(block, q.in-k0)
		simd.MulPanel(c, ldc, x[k0:], ldx, q.wide(buf, panel, k0, kl), rows, cols, kl, acc || k0 > 0)
	}
}

func (q *quantised) bytes() int { return len(q.data) }
