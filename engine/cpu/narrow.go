package cpu

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Compute is the arithmetic of products with weights. All else, attention
// included, is float32.
type Compute string

// F32 keeps activations as they are. BF16 rounds weights and activations to
// bfloat16 and adds up in float32. Int8 rounds weights to 255 steps by output and
// activations to 255 steps by row, and adds up exactly.
const (
	F32  Compute = "f32"
	BF16 Compute = "bf16"
	Int8 Compute = "int8"
)

// Computes lists what Narrow takes.
var Computes = []Compute{F32, BF16, Int8}

// narrowed are weights of a narrow product: words of two bfloat16 or of four
// int8, [out/32][words][32], rounded activations times them.
type narrowed struct {
	compute Compute
	out, in int
	words   int // of a row
	slab    *slab
	step    []float32 // int8: by output
	sums    []int32   // int8: of each output's integers
	source  []tensor.Tensor
	exact   bool // multiply the weights as they lie in the file: the yardstick
}

// Narrow packs weights for a narrow arithmetic, one under the other. The tensors
// must stay readable: what [Matrix.Exact] multiplies is read from them.
func Narrow(p *Pool, compute Compute, list ...tensor.Tensor) (*Matrix, error) {
	if compute == F32 || compute == "" {
		return PackRows(p, list...)
	}
	m := &Matrix{}
	if err := m.measure(list); err != nil {
		return nil, err
	}
	per := 2
	if compute == Int8 {
		per = 4
	}
	n := &narrowed{compute: compute, out: m.out, in: m.in, words: (m.in + per - 1) / per, source: list}
	panels := (m.out + simd.Width - 1) / simd.Width
	n.slab = newSlab(4 * panels * n.words * simd.Width)
	n.step, n.sums = make([]float32, panels*simd.Width), make([]int32, panels*simd.Width)
	m.panels = n
	return m, m.packRows(p, list)
}

// pack rounds row i of w into output r of a panel.
func (n *narrowed) pack(w tensor.Tensor, panel, r, i int, row []float32) error {
	if err := w.Row(row, i); err != nil {
		return err
	}
	for x, v := range row {
		if v-v != 0 {
			return notFinite(w, i, x, v)
		}
	}
	data := n.slab.data[4*panel*n.words*simd.Width:]
	if n.compute == BF16 {
		half := make([]uint16, n.in)
		simd.RoundBF16(half, row)
		for x, h := range half {
			binary.LittleEndian.PutUint16(data[4*(x/2*simd.Width+r)+x%2*2:], h)
		}
		return nil
	}
	bytes, o := make([]uint8, n.in), panel*simd.Width+r
	n.step[o] = simd.RoundI8(bytes, row)
	for x, b := range bytes {
		q := int32(b) - 128
		n.sums[o] += q
		data[4*(x/4*simd.Width+r)+x%4] = byte(int8(q))
	}
	return nil
}

// hasKernel says whether the processor multiplies words; otherwise they are
// widened to float32, which gives the same products.
func (n *narrowed) hasKernel() bool {
	return n.compute == BF16 && simd.HasDotBF16() || n.compute == Int8 && simd.HasDotI8()
}

// wide returns inputs [k0, k0+kl) of a panel as float32, [kl][32]: as they lie in
// the file, or rounded.
func (n *narrowed) wide(dst []float32, panel, k0, kl int) []float32 {
	dst = dst[:kl*simd.Width]
	if n.exact {
		return n.original(dst, panel, k0, kl)
	}
	data := n.slab.data[4*panel*n.words*simd.Width:]
	for x := range kl {
		for r := range simd.Width {
			k := k0 + x
			if n.compute == BF16 {
				h := binary.LittleEndian.Uint16(data[4*(k/2*simd.Width+r)+k%2*2:])
				dst[x*simd.Width+r] = math.Float32frombits(uint32(h) << 16)
			} else {
				dst[x*simd.Width+r] = n.step[panel*simd.Width+r] * float32(int8(data[4*(k/4*simd.Width+r)+k%4]))
			}
		}
	}
	return dst
}

// original decodes a part of a panel from the file.
func (n *narrowed) original(dst []float32, panelAt, k0, kl int) []float32 {
	row := make([]float32, kl)
	for r := range simd.Width {
		at, o := 0, panelAt*simd.Width+r
		if o >= n.out {
			break
		}
		for o >= n.source[at].Rows() {
			o -= n.source[at].Rows()
			at++
		}
		if err := n.source[at].Part(row, o, k0); err != nil {
			panic(err) // it was read when it was packed
		}
		for x, v := range row {
			dst[x*simd.Width+r] = v
		}
	}
	return dst
}

func (n *narrowed) few(c []float32, ldc int, x []float32, ldx, rows, cols, panel int, acc bool, _ []float32, s *Scratch) {
	simd.MulPanel(c, ldc, x, ldx, n.wide(s.widened(n.in*simd.Width), panel, 0, n.in), rows, cols, n.in, acc)
}

func (n *narrowed) bytes() int { return len(n.slab.data) + 4*(len(n.step)+len(n.sums)) }

// mulNarrow is mul for rounded weights and activations, of some rows.
func (m *Matrix) mulNarrow(p *Pool, w *narrowed, dst []float32, ldd int, x []float32, ldx, n int, acc bool) {
	lda := (w.words + 15) / 16 * 16 // in words
	if lda%512 == 0 {
		lda += 16
	}
	codes, step := room(&p.codes, n*lda), room(&p.sums, n)
	const block = 8
	p.Run((n+block-1)/block, func(task, _ int) {
		for i := task * block; i < min(n, (task+1)*block); i++ {
			step[i] = w.round(codes[i*lda:(i+1)*lda], x[i*ldx:i*ldx+w.in])
		}
	})
	panels, group := (m.out+simd.Width-1)/simd.Width, groupPanels
	if n < fewRows {
		group = max(1, min(groupPanels, panels/(4*p.threads)))
	}
	p.Run((panels+group-1)/group, func(task, worker int) {
		for i := 0; i < n; i += rowBlock {
			rows := min(rowBlock, n-i)
			for j := task * group; j < min(panels, (task+1)*group); j++ {
				cols := min(simd.Width, m.out-j*simd.Width)
				w.product(dst[i*ldd+j*simd.Width:], ldd, codes[i*lda:], lda, step[i:], rows, cols, j, acc, p.Scratch(worker))
			}
		}
	})
}

// round writes a row's activations as words and returns int8's step.
func (n *narrowed) round(words []uint32, x []float32) float32 {
	words[n.words-1] = 0 // what stands past the inputs
	if n.compute == BF16 {
		simd.RoundBF16(cast[uint16](words)[:len(x)], x)
		return 1
	}
	return simd.RoundI8(cast[uint8](words)[:len(x)], x)
}

// product multiplies rows of words by one panel.
func (n *narrowed) product(c []float32, ldc int, words []uint32, lda int, step []float32, rows, cols, panel int, acc bool, s *Scratch) {
	data := of[uint32](n.slab)[panel*n.words*simd.Width:][:n.words*simd.Width]
	if n.compute == BF16 {
		simd.DotBF16(c, ldc, cast[uint16](words), 2*lda, cast[uint16](data), rows, cols, n.words, acc)
		return
	}
	sums := room(&s.integers, rows*simd.Width)
	simd.DotI8(sums, simd.Width, cast[uint8](words), 4*lda, cast[int8](data), rows, simd.Width, n.words)
	for i := range rows {
		for j := range cols {
			o := panel*simd.Width + j
			v := step[i] * n.step[o] * float32(sums[i*simd.Width+j]-128*n.sums[o])
			if acc {
				v += c[i*ldc+j]
			}
			c[i*ldc+j] = v
		}
	}
}

// rounded returns activations as the narrow product sees them, in float32.
func (n *narrowed) rounded(x []float32, ldx, rows int) []float32 {
	out, words := make([]float32, rows*n.in), make([]uint32, n.words)
	for i := range rows {
		step := n.round(words, x[i*ldx:i*ldx+n.in])
		for k := range n.in {
			if n.compute == BF16 {
				out[i*n.in+k] = math.Float32frombits(uint32(cast[uint16](words)[k]) << 16)
			} else {
				out[i*n.in+k] = step * float32(int(cast[uint8](words)[k])-128)
			}
		}
	}
	return out
}

// cast sees words as narrower values.
func cast[T uint16 | uint8 | int8](words []uint32) []T {
	var zero T
	return unsafe.Slice((*T)(unsafe.Pointer(&words[0])), 4/int(unsafe.Sizeof(zero))*len(words))
}
