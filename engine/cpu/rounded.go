package cpu

import (
	"encoding/binary"
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Compute is the arithmetic of products with weights. Everything else, including
// attention, is float32.
type Compute string

// F32 does not round activations. BF16 rounds weights and activations to bfloat16
// and sums in float32. Int8 rounds weights to 255 steps per output and activations
// to 255 steps per row, and sums exactly.
const (
	F32  Compute = "f32"
	BF16 Compute = "bf16"
	Int8 Compute = "int8"
)

// Computes lists the arithmetics that Pack knows.
var Computes = []Compute{F32, BF16, Int8}

// roundedPanels are weights rounded for BF16 or Int8: words of two bfloat16 or of
// four int8, [out/32][words][32]. Products round the activations likewise.
type roundedPanels struct {
	compute Compute
	out, in int
	words   int // per row
	slab    *slab
	step    []float32 // Int8: per output, the weight that the integer 1 represents
	sums    []int32   // Int8: per output, the sum of its integers
	source  []tensor.Tensor
	exact   bool                  // multiply the original weights, as a reference
	failed  atomic.Pointer[error] // of reading an original weight
}

func newRoundedPanels(compute Compute, out, in int, source []tensor.Tensor) *roundedPanels {
	perWord := 2
	if compute == Int8 {
		perWord = 4
	}
	words := (in + perWord - 1) / perWord
	panels := simd.Panels(out)
	return &roundedPanels{
		compute: compute, out: out, in: in, words: words, source: source,
		slab: newSlab(4 * panels * words * simd.Width),
		step: make([]float32, panels*simd.Width),
		sums: make([]int32, panels*simd.Width),
	}
}

// pack rounds row i of w into output r of a panel.
func (rp *roundedPanels) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
	if err := w.Row(row, i); err != nil {
		return err
	}
	for x, v := range row {
		if v-v != 0 {
			return notFinite(w, i, x, v)
		}
	}
	data := rp.slab.data[4*panel*rp.words*simd.Width:]
	if rp.compute == BF16 {
		half := make([]uint16, rp.in)
		simd.RoundBF16(half, row)
		for x, h := range half {
			binary.LittleEndian.PutUint16(data[4*(x/2*simd.Width+r)+x%2*2:], h)
		}
		return nil
	}
	bytes := make([]uint8, rp.in)
	o := panel*simd.Width + r
	rp.step[o] = simd.RoundI8(bytes, row)
	for x, b := range bytes {
		q := int32(b) - 128
		rp.sums[o] += q
		data[4*(x/4*simd.Width+r)+x%4] = byte(int8(q))
	}
	return nil
}

// hasKernel reports whether the processor can multiply words directly. Otherwise they
// are widened to float32, which gives the same products.
func (rp *roundedPanels) hasKernel() bool {
	return rp.compute == BF16 && simd.HasDotBF16() || rp.compute == Int8 && simd.HasDotI8()
}

// wide returns inputs [k0, k0+kl) of a panel as float32, [kl][32]: rounded, or
// original if rp.exact.
func (rp *roundedPanels) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	if rp.exact {
		return rp.original(dst, panel, k0, kl)
	}
	data := rp.slab.data[4*panel*rp.words*simd.Width:]
	for x := range kl {
		for r := range simd.Width {
			k := k0 + x
			if rp.compute == BF16 {
				h := binary.LittleEndian.Uint16(data[4*(k/2*simd.Width+r)+k%2*2:])
				dst[x*simd.Width+r] = math.Float32frombits(uint32(h) << 16)
			} else {
				q := int8(data[4*(k/4*simd.Width+r)+k%4])
				dst[x*simd.Width+r] = rp.step[panel*simd.Width+r] * float32(q)
			}
		}
	}
	return dst
}

// original decodes a part of a panel from the file.
func (rp *roundedPanels) original(dst []float32, panel, k0, kl int) []float32 {
	row := make([]float32, kl)
	for r := range simd.Width {
		output := panel*simd.Width + r
		if output >= rp.out {
			break
		}
		w, i := locate(rp.source, output)
		if err := w.Part(row, i, k0); err != nil {
			rp.failed.Store(&err)
			return dst
		}
		for x, v := range row {
			dst[x*simd.Width+r] = v
		}
	}
	return dst
}

func (rp *roundedPanels) mulFew(c, x Mat, panel int, acc bool, _ *Mat, s *Scratch) {
	simd.MulPanel(c, x, rp.wide(s.widened(rp.in*simd.Width), panel, 0, rp.in), acc)
}

// tiles returns the words of a panel themselves for BF16, whose layout is that of tiles.
func (rp *roundedPanels) tiles(dst []uint16, panel, k0, kl int, s *Scratch) []uint16 {
	if !rp.ownTiles() {
		return wideTiles(rp, dst, panel, k0, kl, s)
	}
	return slabOf[uint16](rp.slab)[2*panel*rp.words*simd.Width+k0*simd.Width:][:kl*simd.Width]
}

func (rp *roundedPanels) tileTerms() int {
	if rp.ownTiles() {
		return simd.RoundedTerm
	}
	return simd.ExactTerms
}

// ownTiles reports whether the words are operands of products by tiles: pairs of
// bfloat16, in whole steps.
func (rp *roundedPanels) ownTiles() bool {
	return rp.compute == BF16 && !rp.exact && rp.in%simd.TileDepth == 0
}

func (rp *roundedPanels) bytes() int { return len(rp.slab.data) + 4*(len(rp.step)+len(rp.sums)) }

// roundedRows holds activations rounded to words, [rows][stride], and for Int8 the
// value of one step per row.
type roundedRows struct {
	words  []uint32
	stride int
	step   []float32
}

// mul multiplies rounded weights and activations.
func (rp *roundedPanels) mul(p *Pool, dst, x Mat, acc bool) {
	stride := (rp.words + 15) / 16 * 16
	if stride%512 == 0 {
		stride += 16
	}
	rows := x.Rows
	a := roundedRows{words: resize(&p.words, rows*stride), stride: stride, step: resize(&p.steps, rows)}
	const block = 8
	p.Run((rows+block-1)/block, func(task, _ int) {
		for i := task * block; i < min(rows, (task+1)*block); i++ {
			a.step[i] = rp.round(a.words[i*stride:(i+1)*stride], x.Data[i*x.Stride:i*x.Stride+rp.in])
		}
	})
	panels := simd.Panels(rp.out)
	group := groupPanels
	if rows < fewRows {
		group = fewGroup(panels, p.threads)
	}
	p.Run((panels+group-1)/group, func(task, worker int) {
		for i := 0; i < rows; i += rowBlock {
			some := roundedRows{words: a.words[i*stride:], stride: stride, step: a.step[i:]}
			for j := task * group; j < min(panels, (task+1)*group); j++ {
				cols := min(simd.Width, rp.out-j*simd.Width)
				c := dst.Sub(i, j*simd.Width, min(rowBlock, rows-i), cols)
				rp.mulPanel(c, some, j, acc, p.Scratch(worker))
			}
		}
	})
}

// round writes a row's activations as words and, for Int8, returns the value of one
// step.
func (rp *roundedPanels) round(words []uint32, x []float32) float32 {
	words[rp.words-1] = 0 // the last word may extend past the inputs
	if rp.compute == BF16 {
		simd.RoundBF16(wordsAs[uint16](words)[:len(x)], x)
		return 1
	}
	return simd.RoundI8(wordsAs[uint8](words)[:len(x)], x)
}

// mulPanel multiplies c.Rows rounded rows by one panel.
func (rp *roundedPanels) mulPanel(c Mat, a roundedRows, panel int, acc bool, s *Scratch) {
	data := slabOf[uint32](rp.slab)[panel*rp.words*simd.Width:][:rp.words*simd.Width]
	if rp.compute == BF16 {
		x := simd.Mat[uint16]{Data: wordsAs[uint16](a.words), Rows: c.Rows, Cols: 2 * rp.words, Stride: 2 * a.stride}
		simd.DotBF16(c, x, wordsAs[uint16](data), acc)
		return
	}
	x := simd.Mat[uint8]{Data: wordsAs[uint8](a.words), Rows: c.Rows, Cols: 4 * rp.words, Stride: 4 * a.stride}
	sums := resize(&s.integers, c.Rows*simd.Width)
	simd.DotI8(simd.Dense(sums, c.Rows, simd.Width), x, wordsAs[int8](data))
	for i := range c.Rows {
		for j := range c.Cols {
			o := panel*simd.Width + j
			v := float32(a.step[i] * rp.step[o] * float32(sums[i*simd.Width+j]-128*rp.sums[o]))
			if acc {
				v += c.Data[i*c.Stride+j]
			}
			c.Data[i*c.Stride+j] = v
		}
	}
}

// afterRounding returns x as a product sees it after rounding, in float32.
func (rp *roundedPanels) afterRounding(x Mat) Mat {
	out := Dense(make([]float32, x.Rows*rp.in), x.Rows, rp.in)
	words := make([]uint32, rp.words)
	for i := range x.Rows {
		step := rp.round(words, x.Data[i*x.Stride:i*x.Stride+rp.in])
		for k := range rp.in {
			if rp.compute == BF16 {
				out.Data[i*rp.in+k] = math.Float32frombits(uint32(wordsAs[uint16](words)[k]) << 16)
			} else {
				out.Data[i*rp.in+k] = step * float32(int(wordsAs[uint8](words)[k])-128)
			}
		}
	}
	return out
}

// wordsAs views words as narrower values.
func wordsAs[T uint16 | uint8 | int8](words []uint32) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(&words[0])), 4/int(unsafe.Sizeof(zero))*len(words))
}
