// Package simd holds the float32 kernels that the CPU backend and the reader of
// dumps share: matrix products over panels, exp, and a few vector operations,
// in Go assembler for AVX-512 and AVX2 and in plain Go elsewhere.
// ATTNSCOPE_CPU=avx2 or portable forces a lower path.
package simd

import "unsafe"

// Width is the number of columns of a panel: a matrix B of [k, n] is stored as
// ceil(n/Width) panels, each [k][Width], the last padded with zeros.
const Width = 32

// kernel adds rows x cols of a product; B is one panel, 32 wide.
type kernel struct {
	rows, cols int
	mul        func(k int, a *float32, lda int, b unsafe.Pointer, c *float32, ldc int, acc int)
}

// kernels is one path through the instruction sets.
type kernels struct {
	name           string
	f32, bf16, f16 []kernel // by falling rows, the last with one row
	vectors
	moves

	unpack    [4]func(groups, size int, b unsafe.Pointer, dst *float32)
	gemv      [4]func(groups, size int, x, xs *float32, b unsafe.Pointer, y *float32, acc int)
	widenBF16 func(n int, dst *float32, x *uint16)
	widenF16  func(n int, dst *float32, x *uint16)
	pause     func(n int)
	dotBF16   []kernel // nil: the processor has no such instruction
	dotI8     []kernel
	peak      func(n int)
	peakWidth int
}

var active = portable

func use(k kernels) { active = k }

// Path names the instruction set in use: avx512, avx2 or portable.
func Path() string { return active.name }

// MulPanel computes C = A·B, or C += A·B with acc, for one panel of B.
//
//	c  [rows, cols]  cols <= Width
//	a  [rows, k]
//	b  [k, Width]    the panel
func MulPanel(c, a Mat[float32], b []float32, acc bool) {
	if a.Cols == 0 {
		return
	}
	_ = b[a.Cols*Width-1]
	mulPanel(active.f32, c, a, unsafe.Pointer(&b[0]), 4, acc)
}

// MulPanelBF16 is MulPanel for a panel of bfloat16, widened in registers.
func MulPanelBF16(c, a Mat[float32], b []uint16, acc bool) {
	if a.Cols == 0 {
		return
	}
	_ = b[a.Cols*Width-1]
	mulPanel(active.bf16, c, a, unsafe.Pointer(&b[0]), 2, acc)
}

// MulPanelF16 is MulPanel for a panel of IEEE half precision, widened in
// registers.
func MulPanelF16(c, a Mat[float32], b []uint16, acc bool) {
	if a.Cols == 0 {
		return
	}
	_ = b[a.Cols*Width-1]
	mulPanel(active.f16, c, a, unsafe.Pointer(&b[0]), 2, acc)
}

// mulPanel covers the rows of C with the kernels of list, the largest that fits
// first. size is the number of bytes from one column of the panel to the next.
func mulPanel(list []kernel, c, a Mat[float32], b unsafe.Pointer, size int, acc bool) {
	if c.Rows == 0 {
		return
	}
	_ = a.Data[(c.Rows-1)*a.Stride+a.Cols-1]
	_ = c.Data[(c.Rows-1)*c.Stride+c.Cols-1]
	flag := 0
	if acc {
		flag = 1
	}
	at := 0
	for row := 0; row < c.Rows; {
		kn := list[at]
		if c.Rows-row < kn.rows {
			at++
			continue
		}
		ap := &a.Data[row*a.Stride]
		if c.Cols == Width {
			for col := 0; col < Width; col += kn.cols {
				kn.mul(a.Cols, ap, a.Stride, unsafe.Add(b, col*size), &c.Data[row*c.Stride+col], c.Stride, flag)
			}
		} else {
			kn.edge(c.Sub(row, 0, kn.rows, c.Cols), a.Sub(row, 0, kn.rows, a.Cols), b, size, flag)
		}
		row += kn.rows
	}
}

// edge computes the rows of one kernel call through a buffer of whole columns: C
// has fewer columns than the kernel writes.
func (kn *kernel) edge(c, a Mat[float32], b unsafe.Pointer, size, acc int) {
	var buf [14 * Width]float32
	if acc != 0 {
		for r := range kn.rows {
			copy(buf[r*Width:], c.Data[r*c.Stride:r*c.Stride+c.Cols])
		}
	}
	for col := 0; col < Width; col += kn.cols {
		kn.mul(a.Cols, &a.Data[0], a.Stride, unsafe.Add(b, col*size), &buf[col], Width, acc)
	}
	for r := range kn.rows {
		copy(c.Data[r*c.Stride:r*c.Stride+c.Cols], buf[r*Width:])
	}
}

// PackPanel writes rows [n0, n0+Width) of b, [n, k], as one panel [k][Width]; rows
// from n on are zeros.
func PackPanel(panel []float32, b Mat[float32], n0 int) {
	k := b.Cols
	rows := min(Width, b.Rows-n0)
	r := 0
	for ; active.pack8 != nil && k%8 == 0 && k > 0 && r+8 <= rows; r += 8 {
		_ = panel[(k-1)*Width+r+7]
		_ = b.Data[(n0+r+7)*b.Stride+k-1]
		active.pack8(k, &panel[r], &b.Data[(n0+r)*b.Stride], b.Stride)
	}
	for ; r+4 <= rows; r += 4 { // four at a time: stores of 16 bytes
		from := b.Data[(n0+r)*b.Stride:]
		b0 := from[:k]
		b1 := from[b.Stride:][:k]
		b2 := from[2*b.Stride:][:k]
		b3 := from[3*b.Stride:][:k]
		to := panel[r : (k-1)*Width+r+4]
		for x, v := range b0 {
			p := to[x*Width : x*Width+4 : x*Width+4]
			p[0] = v
			p[1] = b1[x]
			p[2] = b2[x]
			p[3] = b3[x]
		}
	}
	for ; r < rows; r++ {
		for x, v := range b.Data[(n0+r)*b.Stride : (n0+r)*b.Stride+k] {
			panel[x*Width+r] = v
		}
	}
	for ; r < Width; r++ {
		for x := range k {
			panel[x*Width+r] = 0
		}
	}
}

// GemmT computes C = A·Bᵀ for a [m, k], b [n, k] and c [m, n].
func GemmT(c, a, b Mat[float32]) {
	panel := make([]float32, b.Cols*Width)
	for j := 0; j < b.Rows; j += Width {
		PackPanel(panel, b, j)
		MulPanel(c.Sub(0, j, c.Rows, min(Width, b.Rows-j)), a, panel, false)
	}
}

// Dot is the scalar product of a and b, as far as a goes.
func Dot(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3 float32
	n := len(a) &^ 3
	for i := 0; i < n; i += 4 {
		s0 += a[i] * b[i]
		s1 += a[i+1] * b[i+1]
		s2 += a[i+2] * b[i+2]
		s3 += a[i+3] * b[i+3]
	}
	for i := n; i < len(a); i++ {
		s0 += a[i] * b[i]
	}
	return (s0 + s1) + (s2 + s3)
}
