package simd

import (
	"math"
	"unsafe"
)

// HasDotBF16 reports whether the processor can multiply pairs of bfloat16
// (AVX512_BF16, or FEAT_BF16 of ARM).
func HasDotBF16() bool { return active.dotBF16 != nil }

// HasDotI8 reports whether the processor can multiply groups of four bytes
// (AVX512_VNNI, or FEAT_DotProd of ARM).
func HasDotI8() bool { return active.dotI8 != nil }

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

// DotI8 computes C = A·B for one panel of B: unsigned bytes of A times signed bytes
// of B, in groups of four; the sums are int32. It needs HasDotI8.
//
//	c  [rows, cols]   cols <= Width
//	a  [rows, 4k]     its stride is a multiple of 4
//	b  [k, Width, 4]  the panel
func DotI8(c Mat[int32], a Mat[uint8], b []int8) {
	k := a.Cols / 4
	if k == 0 || c.Rows == 0 {
		return
	}
	_ = b[4*k*Width-1]
	_ = a.Data[(c.Rows-1)*a.Stride+4*k-1]
	words := Mat[float32]{
		Data: unsafe.Slice((*float32)(unsafe.Pointer(&a.Data[0])), len(a.Data)/4),
		Rows: c.Rows, Cols: k, Stride: a.Stride / 4,
	}
	sums := Mat[float32]{
		Data: unsafe.Slice((*float32)(unsafe.Pointer(&c.Data[0])), len(c.Data)),
		Rows: c.Rows, Cols: c.Cols, Stride: c.Stride,
	}
	mulPanel(active.dotI8, sums, words, unsafe.Pointer(&b[0]), 4, false)
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

// RoundI8 writes round(x*127/largest) + 128, which is from 1 to 255, to dst, where
// largest is the largest absolute value of x. It returns largest/127, the step between
// two integers.
func RoundI8(dst []uint8, x []float32) (step float32) {
	var largest float32
	for _, v := range x {
		largest = max(largest, v, -v)
	}
	if largest == 0 {
		for i := range x {
			dst[i] = 128
		}
		return 0
	}
	inverse := 127 / largest
	dst = dst[:len(x)]
	if n := len(x) &^ 15; n > 0 && active.roundI8 != nil {
		active.roundI8(n, &dst[0], &x[0], inverse)
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] = uint8(128 + int(math.RoundToEven(float64(v*inverse))))
	}
	return largest / 127
}
