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
// and sums in float32.
const (
	F32  Compute = "f32"
	BF16 Compute = "bf16"
)

// Computes lists the arithmetics that Pack knows.
var Computes = []Compute{F32, BF16}

// roundedPanels are weights rounded for BF16: words of two bfloat16,
// [out/32][words][32]. Products round the activations likewise.
type roundedPanels struct {
	out, in int
	words   int // per row
	slab    *slab
	source  []tensor.Tensor
	exact   bool                  // multiply the original weights, as a reference
	failed  atomic.Pointer[error] // of reading an original weight
}

func newRoundedPanels(p *Pool, out, in int, source []tensor.Tensor) *roundedPanels {
	words := (in + 1) / 2
	return &roundedPanels{
		out: out, in: in, words: words, source: source,
		slab: p.zeroSlab(4 * simd.Panels(out) * words * simd.Width),
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
	half := make([]uint16, rp.in)
	simd.RoundBF16(half, row)
	for x, h := range half {
		binary.LittleEndian.PutUint16(data[4*(x/2*simd.Width+r)+x%2*2:], h)
	}
	return nil
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
			h := binary.LittleEndian.Uint16(data[4*(k/2*simd.Width+r)+k%2*2:])
			dst[x*simd.Width+r] = math.Float32frombits(uint32(h) << 16)
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

// tiles returns the words of a panel themselves, whose layout is that of tiles.
func (rp *roundedPanels) tiles(dst []uint16, _ []float32, panel, k0, kl int, s *Scratch) tilePanel {
	if !rp.ownTiles() {
		return wideTiles(rp, dst, panel, k0, kl, s)
	}
	stride := 2 * rp.words * simd.Width
	own := slabOf[uint16](rp.slab)[panel*stride+k0*simd.Width:]
	return tilePanel{Tiles: simd.Tiles{Data: own, Terms: simd.RoundedTerm, Stride: stride}}
}

func (rp *roundedPanels) tileTerms() int {
	if rp.ownTiles() {
		return simd.RoundedTerm
	}
	return simd.ExactTerms
}

// ownTiles reports whether the words are operands of products by tiles: pairs of
// bfloat16, in whole steps.
func (rp *roundedPanels) ownTiles() bool { return !rp.exact && rp.in%simd.TileDepth == 0 }

func (rp *roundedPanels) memory() *slab { return rp.slab }

// takeFailed returns the error of an original weight that could not be read since the
// last call.
func (rp *roundedPanels) takeFailed() error {
	if failed := rp.failed.Swap(nil); failed != nil {
		return *failed
	}
	return nil
}

func (rp *roundedPanels) bytes() int { return len(rp.slab.data) }

// mul multiplies rounded weights and activations.
func (rp *roundedPanels) mul(p *Pool, dst, x Mat, acc bool) {
	stride := (rp.words + 15) / 16 * 16
	if stride%512 == 0 {
		stride += 16
	}
	rows := x.Rows
	a := simd.Mat[uint16]{
		Data: halvesOf(resize(&p.words, rows*stride)), Rows: rows, Cols: 2 * rp.words, Stride: 2 * stride,
	}
	const block = 8
	p.Run((rows+block-1)/block, func(task, _ int) {
		for i := task * block; i < min(rows, (task+1)*block); i++ {
			rp.round(a.Data[i*a.Stride:(i+1)*a.Stride], x.Data[i*x.Stride:i*x.Stride+rp.in])
		}
	})
	panels := simd.Panels(rp.out)
	group := groupOf(panels, p.threads)
	if rows < fewRows {
		group = fewGroup(panels, p.threads)
	}
	p.Run((panels+group-1)/group, func(task, _ int) {
		for i := 0; i < rows; i += rowBlock {
			some := a.Sub(i, 0, min(rowBlock, rows-i), a.Cols)
			for j := task * group; j < min(panels, (task+1)*group); j++ {
				cols := min(simd.Width, rp.out-j*simd.Width)
				panel := slabOf[uint16](rp.slab)[2*j*rp.words*simd.Width:][:2*rp.words*simd.Width]
				simd.DotBF16(dst.Sub(i, j*simd.Width, some.Rows, cols), some, panel, acc)
			}
		}
	})
}

// round writes a row's activations as words of two bfloat16.
func (rp *roundedPanels) round(words []uint16, x []float32) {
	words[2*rp.words-1] = 0 // the last word may extend past the inputs
	simd.RoundBF16(words[:len(x)], x)
}

// afterRounding returns x as a product sees it after rounding, in float32.
func (rp *roundedPanels) afterRounding(x Mat) Mat {
	out := Dense(make([]float32, x.Rows*rp.in), x.Rows, rp.in)
	half := make([]uint16, rp.in)
	for i := range x.Rows {
		simd.RoundBF16(half, x.Data[i*x.Stride:i*x.Stride+rp.in])
		simd.WidenBF16(out.Data[i*rp.in:(i+1)*rp.in], half)
	}
	return out
}

// halvesOf views words as pairs of bfloat16.
func halvesOf(words []uint32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(&words[0])), 2*len(words))
}
