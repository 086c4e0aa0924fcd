package simd

import (
	"math"
	"unsafe"
)

// HasDotBF16 says whether the path multiplies pairs of bfloat16.
func HasDotBF16() bool { return active.dotBF16 != nil }

// HasDotI8 says whether the path multiplies fours of bytes.
func HasDotI8() bool { return active.dotI8 != nil }

// DotBF16 computes C = A·B for one panel of B, or C += A·B with acc, of bfloat16
// values in pairs; sums are float32.
//
//	c  [rows, cols]      row-major, ldc apart; cols <= Width
//	a  [rows, 2k]        row-major, lda apart, an even number
//	b  [k, Width, 2]
func DotBF16(c []float32, ldc int, a []uint16, lda int, b []uint16, rows, cols, k int, acc bool) {
	if k == 0 || rows == 0 {
		return
	}
	_, _ = b[2*k*Width-1], a[(rows-1)*lda+2*k-1]
	words := unsafe.Slice((*float32)(unsafe.Pointer(&a[0])), len(a)/2)
	mulPanel(active.dotBF16, c, ldc, words, lda/2, unsafe.Pointer(&b[0]), 4, rows, cols, k, acc)
}

// DotI8 computes C = A·B for one panel of B, unsigned bytes times signed ones in
// fours; sums are int32.
//
//	c  [rows, cols]      row-major, ldc apart; cols <= Width
//	a  [rows, 4k]        row-major, lda apart, a multiple of 4
//	b  [k, Width, 4]
func DotI8(c []int32, ldc int, a []uint8, lda int, b []int8, rows, cols, k int) {
	if k == 0 || rows == 0 {
		return
	}
	_, _ = b[4*k*Width-1], a[(rows-1)*lda+4*k-1]
	words := unsafe.Slice((*float32)(unsafe.Pointer(&a[0])), len(a)/4)
	sums := unsafe.Slice((*float32)(unsafe.Pointer(&c[0])), len(c))
	mulPanel(active.dotI8, sums, ldc, words, lda/4, unsafe.Pointer(&b[0]), 4, rows, cols, k, false)
}

// RoundBF16 rounds to bfloat16, to nearest even, as far as x goes.
func RoundBF16(dst []uint16, x []float32) {
	dst = dst[:len(x)]
	if n := len(x) &^ 15; n > 0 && active.name == "avx512" {
		roundBF16(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		u := math.Float32bits(v)
		dst[i] = uint16((u + 0x7fff + u>>16&1) >> 16)
	}
}

// RoundI8 writes round(x*127/largest) + 128, 1 to 255, and returns the step,
// largest/127 with the largest absolute value of x.
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
	if n := len(x) &^ 15; n > 0 && active.name == "avx512" {
		roundI8(n, &dst[0], &x[0], inverse)
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] = uint8(128 + int(math.RoundToEven(float64(v*inverse))))
	}
	return largest / 127
}
