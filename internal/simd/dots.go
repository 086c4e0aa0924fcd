package simd

import (
	"math"
	"unsafe"
)

// HasDotBF16 reports whether the processor can multiply pairs of bfloat16
// (AVX512_BF16, or FEAT_BF16 of ARM).
func HasDotBF16() bool { return active.dotBF16 != nil }

// DotBF16 computes C = A·B, or C += A·B with acc, for one panel of B. A and B are
// bfloat16 values in pairs; the sums are float32. It needs HasDotBF16.
//
//	c  [rows, cols]   cols <= Width
//	a  [rows, 2k]     its stride is a multiple of 2
//	b  [k, Width, 2]  the panel
func DotBF16(c Mat[float32], a Mat[uint16], b []uint16, acc bool) {
	k := a.Cols / 2
	if k == 0 || c.Rows == 0 {
		return
	}
	_ = b[2*k*Width-1]
	_ = a.Data[(c.Rows-1)*a.Stride+2*k-1]
	words := Mat[float32]{
		Data: unsafe.Slice((*float32)(unsafe.Pointer(&a.Data[0])), len(a.Data)/2),
		Rows: c.Rows, Cols: k, Stride: a.Stride / 2,
	}
	mulPanel(active.dotBF16, c, words, unsafe.Pointer(&b[0]), 4, acc)
}

// RoundBF16 writes x, rounded to the nearest bfloat16 (ties to even), to dst.
func RoundBF16(dst []uint16, x []float32) {
	dst = dst[:len(x)]
	if n := len(x) &^ 15; n > 0 && active.roundBF16 != nil {
		active.roundBF16(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] = roundedBF16(v)
	}
}

// roundedBF16 rounds to the nearest bfloat16, ties to even.
func roundedBF16(v float32) uint16 {
	u := math.Float32bits(v)
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}
