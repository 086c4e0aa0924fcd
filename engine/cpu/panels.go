package cpu

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// panels are packed weights of one element type: panels of 32 outputs, each
// [in][32].
type panels interface {
	// pack writes row i of w as output r of a panel; row is a buffer of in floats. It
	// fails if a weight is not finite or does not fit the element type.
	pack(w tensor.Tensor, panel, r, i int, row []float32) error
	// wide returns inputs [k0, k0+kl) of a panel as float32, [kl][32], either its own
	// memory or dst. k0 and kl are multiples of 32, except at the end of in.
	wide(dst []float32, panel, k0, kl int) []float32
	// mulFew multiplies a few rows by a panel, without widening it in memory where the
	// processor can. Quantized panels multiply each row as if it were alone if sums holds
	// its sums over groups of inputs; other panels always do.
	mulFew(c, x Mat, panel int, acc bool, sums *Mat, s *Scratch)
	// tiles returns inputs [k0, k0+kl) of a panel as an operand of products by tiles,
	// with tileTerms terms per weight, either its own memory or dst. floats,
	// [kl/32][2][32], is for scales.
	tiles(dst []uint16, floats []float32, panel, k0, kl int, s *Scratch) tilePanel
	tileTerms() int
	bytes() int
	memory() *slab
}

// floatPanels are panels of float32.
type floatPanels struct {
	in   int
	slab *slab
	data []float32
}

func (f *floatPanels) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
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

func (f *floatPanels) wide(_ []float32, panel, k0, kl int) []float32 {
	return f.data[(panel*f.in+k0)*simd.Width:][:kl*simd.Width]
}

func (f *floatPanels) mulFew(c, x Mat, panel int, acc bool, _ *Mat, _ *Scratch) {
	simd.MulPanel(c, x, f.wide(nil, panel, 0, f.in), acc)
}

func (f *floatPanels) tiles(dst []uint16, _ []float32, panel, k0, kl int, s *Scratch) tilePanel {
	return wideTiles(f, dst, panel, k0, kl, s)
}

func (f *floatPanels) tileTerms() int { return simd.ExactTerms }

func (f *floatPanels) bytes() int { return 4 * len(f.data) }

func (f *floatPanels) memory() *slab { return f.slab }

// halfPanels are panels of bfloat16 or float16.
type halfPanels struct {
	in       int
	bfloat16 bool
	slab     *slab
	data     []uint16
}

// halves returns row i of a tensor of float16 or bfloat16, as it is stored.
func halves(w tensor.Tensor, i int) ([]byte, error) {
	one, err := w.Slice(i, i+1)
	if err == nil {
		one, err = one.Plain()
	}
	return one.Data, err
}

func (h *halfPanels) pack(w tensor.Tensor, panel, r, i int, _ []float32) error {
	at := panel*h.in*simd.Width + r
	data, err := halves(w, i)
	if err != nil {
		return err
	}
	exponent := uint16(0x7c00) // all ones: infinity or NaN
	if h.bfloat16 {
		exponent = 0x7f80
	}
	return tensor.Guard(func() error {
		for x := range h.in {
			v := binary.LittleEndian.Uint16(data[2*x:])
			if v&exponent == exponent {
				f := tensor.F16ToF32(v)
				if h.bfloat16 {
					f = tensor.BF16ToF32(v)
				}
				return notFinite(w, i, x, f)
			}
			h.data[at+x*simd.Width] = v
		}
		return nil
	})
}

// part returns inputs [k0, k0+kl) of a panel, [kl][32].
func (h *halfPanels) part(panel, k0, kl int) []uint16 {
	return h.data[(panel*h.in+k0)*simd.Width:][:kl*simd.Width]
}

func (h *halfPanels) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	if h.bfloat16 {
		simd.WidenBF16(dst, h.part(panel, k0, kl))
	} else {
		simd.WidenF16(dst, h.part(panel, k0, kl))
	}
	return dst
}

func (h *halfPanels) mulFew(c, x Mat, panel int, acc bool, _ *Mat, _ *Scratch) {
	if h.bfloat16 {
		simd.MulPanelBF16(c, x, h.part(panel, 0, h.in), acc)
	} else {
		simd.MulPanelF16(c, x, h.part(panel, 0, h.in), acc)
	}
}

func (h *halfPanels) tiles(dst []uint16, _ []float32, panel, k0, kl int, s *Scratch) tilePanel {
	if !h.bfloat16 {
		return wideTiles(h, dst, panel, k0, kl, s)
	}
	simd.PackTilePanelBF16(dst, h.part(panel, k0, kl), kl)
	return packedTiles(dst, 1, kl)
}

// tileTerms is 1 for bfloat16, which is its own only term.
func (h *halfPanels) tileTerms() int {
	if h.bfloat16 {
		return 1
	}
	return simd.ExactTerms
}

func (h *halfPanels) bytes() int { return 2 * len(h.data) }

func (h *halfPanels) memory() *slab { return h.slab }

// quantizedPanels are panels of integers with scales and offsets.
type quantizedPanels struct {
	in   int
	form simd.Quant
	slab *slab
	data []byte
	// uncentered is set if offsets are not multiples of their scales: Q4_0 to Q8_0 have
	// only such multiples, Q4_1 and the K-quants others.
	uncentered atomic.Bool
}

// errInexact reports that float16 cannot represent a scale or an offset exactly.
type errInexact struct{}

func (errInexact) Error() string { return "scales do not fit float16" }

func (q *quantizedPanels) panelBytes() int { return q.in / q.form.Group * q.form.GroupBytes() }

func (q *quantizedPanels) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
	a, _ := w.Exactly().Affine()
	integers := make([]uint8, q.in)
	scales := row[:q.in/a.Group]
	offsets := row[q.in/2:][:q.in/a.Group]
	if err := w.AffineRow(i, integers, scales, offsets); err != nil {
		return err
	}
	group := q.form.Group
	size := q.form.GroupBytes()
	data := q.data[panel*q.panelBytes():]
	for g := range q.in / group {
		scale := scales[g*group/a.Group]
		offset := offsets[g*group/a.Group]
		if v := scale + offset; v-v != 0 {
			return notFinite(w, i, g*group, v)
		}
		if !q.form.PutScale(data[g*size:], r, scale, offset) {
			return errInexact{}
		}
		if _, rest := q.form.Center(scale, offset); rest != 0 {
			q.uncentered.Store(true)
		}
		q.form.Put(data[g*size:(g+1)*size], r, integers[g*group:(g+1)*group])
	}
	return nil
}

func (q *quantizedPanels) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	at := panel*q.panelBytes() + k0/q.form.Group*q.form.GroupBytes()
	q.form.Unpack(dst, q.data[at:], kl/q.form.Group)
	return dst
}

func (q *quantizedPanels) mulFew(c, x Mat, panel int, acc bool, sums *Mat, s *Scratch) {
	if sums != nil && (q.mulTogether(c, x, panel, acc, sums, s) || q.mulRows(c, x, panel, acc, sums)) {
		return
	}
	const block = 128 // inputs whose widened weights stay in the first-level cache
	buf := s.widened(block * simd.Width)
	for k0 := 0; k0 < q.in; k0 += block {
		kl := min(block, q.in-k0)
		simd.MulPanel(c, x.Sub(0, k0, x.Rows, kl), q.wide(buf, panel, k0, kl), acc || k0 > 0)
	}
}

// mulTogether multiplies several rows with the integers of a panel, unpacked once for all
// of them, with the results of mulRows. It returns false if the processor has no kernels
// for that, and for so few rows that mulRows is as fast.
func (q *quantizedPanels) mulTogether(c, x Mat, panel int, acc bool, sums *Mat, s *Scratch) bool {
	if c.Rows < 2 {
		return false
	}
	const width = simd.Width
	buf := s.widened((q.form.Group + 2*c.Rows) * width)
	y := buf[:c.Rows*width]
	clear(y)
	for i := range c.Rows {
		if acc {
			copy(y[i*width:], c.Data[i*c.Stride:i*c.Stride+c.Cols])
		}
	}
	data := q.data[panel*q.panelBytes() : (panel+1)*q.panelBytes()]
	if !q.form.MulRows(y, x, *sums, data, buf[c.Rows*width:]) {
		return false
	}
	for i := range c.Rows {
		copy(c.Data[i*c.Stride:i*c.Stride+c.Cols], y[i*width:])
	}
	return true
}

// mulRows multiplies each row by the integers of a panel, which are not widened in
// memory. It returns false if the processor has no kernel for that.
func (q *quantizedPanels) mulRows(c, x Mat, panel int, acc bool, sums *Mat) bool {
	data := q.data[panel*q.panelBytes() : (panel+1)*q.panelBytes()]
	for i := range c.Rows {
		var y [simd.Width]float32
		row := c.Data[i*c.Stride : i*c.Stride+c.Cols]
		if acc {
			copy(y[:], row)
		}
		own := sums.Data[i*sums.Stride : i*sums.Stride+sums.Cols]
		if !q.form.MulRow(&y, x.Data[i*x.Stride:i*x.Stride+q.in], own, data, acc) {
			return false
		}
		copy(row, y[:])
	}
	return true
}

// tiles returns integers and their scales if a group is a step of the tiles. Smaller
// groups would leave half of each tile empty, so their weights are widened to three
// terms.
func (q *quantizedPanels) tiles(dst []uint16, floats []float32, panel, k0, kl int, s *Scratch) tilePanel {
	if !q.form.ScalesWithTiles() {
		return wideTiles(q, dst, panel, k0, kl, s)
	}
	groups := kl / q.form.Group
	t := packedTiles(dst, 1, kl)
	t.scales = floats[:groups*simd.Width]
	rests := floats[groups*simd.Width:][:groups*simd.Width]
	if q.uncentered.Load() {
		t.rests = rests
	}
	at := panel*q.panelBytes() + k0/q.form.Group*q.form.GroupBytes()
	q.form.PackTiles(dst, t.scales, rests, q.data[at:], groups)
	return t
}

func (q *quantizedPanels) tileTerms() int {
	if q.form.ScalesWithTiles() {
		return 1
	}
	return simd.ExactTerms
}

func (q *quantizedPanels) bytes() int { return len(q.data) }

func (q *quantizedPanels) memory() *slab { return q.slab }
