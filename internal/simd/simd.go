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
//	c  [rows, cols]  row-major, ldc apart; cols <= Width
//	a  [rows, k]     row-major, lda apart
//	b  [k, Width]
func MulPanel(c []float32, ldc int, a []float32, lda int, b []float32, rows, cols, k int, acc bool) {
	if k == 0 {
		return
	}
	_ = b[k*Width-1]
	mulPanel(active.f32, c, ldc, a, lda, unsafe.Pointer(&b[0]), 4, rows, cols, k, acc)
}

// MulPanelBF16 is MulPanel for a panel of bfloat16, widened in registers.
func MulPanelBF16(c []float32, ldc int, a []float32, lda int, b []uint16, rows, cols, k int, acc bool) {
	if k == 0 {
		return
	}
	_ = b[k*Width-1]
	mulPanel(active.bf16, c, ldc, a, lda, unsafe.Pointer(&b[0]), 2, rows, cols, k, acc)
}

// MulPanelF16 is MulPanel for a panel of IEEE half precision, widened in
// registers.
func MulPanelF16(c []float32, ldc int, a []float32, lda int, b []uint16, rows, cols, k int, acc bool) {
	if k == 0 {
		return
	}
	_ = b[k*Width-1]
	mulPanel(active.f16, c, ldc, a, lda, unsafe.Pointer(&b[0]), 2, rows, cols, k, acc)
}

func mulPanel(list []kernel, c []float32, ldc int, a []float32, lda int, b unsafe.Pointer, size, rows, cols, k int, acc bool) {
	if rows == 0 {
		return
	}
	_ = a[(rows-1)*lda+k-1]
	_ = c[(rows-1)*ldc+cols-1]
	flag := 0
	if acc {
		flag = 1
	}
	for row, at := 0, 0; row < rows; {
		kn := list[at]
		if rows-row < kn.rows {
			at++
			continue
		}
		ap := &a[row*lda]
		if cols == Width {
			for col := 0; col < Width; col += kn.cols {
				kn.mul(k, ap, lda, unsafe.Add(b, col*size), &c[row*ldc+col], ldc, flag)
			}
		} else {
			edge(kn, c[row*ldc:], ldc, ap, lda, b, size, cols, k, flag)
		}
		row += kn.rows
	}
}

// edge runs a kernel whose columns pass the end of C through a buffer.
func edge(kn kernel, c []float32, ldc int, a *float32, lda int, b unsafe.Pointer, size, cols, k, acc int) {
	var buf [14 * Width]float32
	if acc != 0 {
		for r := range kn.rows {
			copy(buf[r*Width:], c[r*ldc:r*ldc+cols])
		}
	}
	for col := 0; col < Width; col += kn.cols {
		kn.mul(k, a, lda, unsafe.Add(b, col*size), &buf[col], Width, acc)
	}
	for r := range kn.rows {
		copy(c[r*ldc:r*ldc+cols], buf[r*Width:])
	}
}

// PackPanel writes rows [n0, n0+Width) of b, row-major [n, k] with ldb between
// rows, as one panel [k][Width]; rows past n are zeros.
func PackPanel(panel, b []float32, ldb, n0, n, k int) {
	rows, r := min(Width, n-n0), 0
	for ; active.pack8 != nil && k%8 == 0 && k > 0 && r+8 <= rows; r += 8 {
		_, _ = panel[(k-1)*Width+r+7], b[(n0+r+7)*ldb+k-1]
		active.pack8(k, &panel[r], &b[(n0+r)*ldb], ldb)
	}
	for ; r+4 <= rows; r += 4 { // four at a time: stores of 16 bytes
		at := b[(n0+r)*ldb:]
		b0, b1, b2, b3 := at[:k], at[ldb:][:k], at[2*ldb:][:k], at[3*ldb:][:k]
		to := panel[r : (k-1)*Width+r+4]
		for x, v := range b0 {
			p := to[x*Width : x*Width+4 : x*Width+4]
			p[0], p[1], p[2], p[3] = v, b1[x], b2[x], b3[x]
		}
	}
	for ; r < rows; r++ {
		for x, v := range b[(n0+r)*ldb : (n0+r)*ldb+k] {
			panel[x*Width+r] = v
		}
	}
	for ; r < Width; r++ {
		for x := range k {
			panel[x*Width+r] = 0
		}
	}
}

// GemmT computes C = A·Bᵀ: C[i*ldc+j] = Σ_k A[i*lda+k]·B[j*ldb+k], i < m, j < n.
func GemmT(c []float32, ldc int, a []float32, lda int, b []float32, ldb int, m, n, k int) {
	panel := make([]float32, k*Width)
	for j := 0; j < n; j += Width {
		PackPanel(panel, b, ldb, j, n, k)
		MulPanel(c[j:], ldc, a, lda, panel, m, min(Width, n-j), k, false)
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
