package simd

import (
	"math"
	"math/bits"
	"unsafe"
)

// moves holds the operations of a set that mostly move or compare values. n is a
// positive multiple of 16, and k is a positive multiple of 8.
type moves struct {
	joinPlanes func(n int, dst *float32, p0, p1, p2, p3 *byte)
	joinHalves func(n int, dst *float32, p0, p1 *byte)
	pack8      func(k int, panel, b *float32, ldb int)
	between    func(n int, x *float32, lo, hi float32, bits *uint16)

	countNotBelow func(n int, x *float32, t float32, count *int64)
	countBoth     func(n int, x, y *float32, tx, ty float32, count *int64)
	sumWhere      func(n int, x, y *float32, t float32, sum *float64)
	addDoubles    func(n int, dst, x *float64)
	narrowScaled  func(n int, dst *float32, x *float64, s float64)
}

// JoinPlanes writes float32 values whose bytes are in four planes of len(dst) bytes
// each, the lowest byte first.
func JoinPlanes(dst []float32, planes []byte) {
	n := len(dst)
	p0 := planes[:n]
	p1 := planes[n : 2*n]
	p2 := planes[2*n : 3*n]
	p3 := planes[3*n : 4*n]
	at := 0
	if m := n &^ 15; m > 0 && active.joinPlanes != nil {
		active.joinPlanes(m, &dst[0], &p0[0], &p1[0], &p2[0], &p3[0])
		at = m
	}
	for i := at; i < n; i++ {
		dst[i] = math.Float32frombits(uint32(p0[i]) | uint32(p1[i])<<8 | uint32(p2[i])<<16 | uint32(p3[i])<<24)
	}
}

// JoinHalves writes IEEE half-precision values, widened to float32, whose bytes are in
// two planes of len(dst) bytes each, the lower byte first.
func JoinHalves(dst []float32, planes []byte) {
	n := len(dst)
	lo, hi := planes[:n], planes[n:2*n]
	at := 0
	if m := n &^ 15; m > 0 && active.joinHalves != nil {
		active.joinHalves(m, &dst[0], &lo[0], &hi[0])
		at = m
	}
	for i := at; i < n; i++ {
		dst[i] = fromHalf(uint16(lo[i]) | uint16(hi[i])<<8)
	}
}

// Between appends to list the positions of the values of x in [lo, hi), ascending. A
// NaN is not in the range.
func Between(list []int32, x []float32, lo, hi float32) []int32 {
	const step = 1024
	var words [step / 64]uint64 // little-endian, as the kernel writes them
	at := 0
	for n := len(x) &^ 15; at < n && active.between != nil; {
		m := min(step, n-at)
		words[(m-1)/64] = 0
		active.between(m, &x[at], lo, hi, (*uint16)(unsafe.Pointer(&words)))
		for i, word := range words[:(m+63)/64] {
			for ; word != 0; word &= word - 1 {
				list = append(list, int32(at+64*i+bits.TrailingZeros64(word)))
			}
		}
		at += m
	}
	for ; at < len(x); at++ {
		if v := x[at]; v >= lo && v < hi {
			list = append(list, int32(at))
		}
	}
	return list
}

// CountNotBelow counts the values of x that are at least t. A NaN is not counted.
func CountNotBelow(x []float32, t float32) int {
	var count int64
	if n := len(x) &^ 15; n > 0 && active.countNotBelow != nil {
		active.countNotBelow(n, &x[0], t, &count)
		x = x[n:]
	}
	for _, v := range x {
		if v >= t {
			count++
		}
	}
	return int(count)
}

// CountBoth counts the positions of x where x is at least tx and y is at least ty.
func CountBoth(x, y []float32, tx, ty float32) int {
	y = y[:len(x)]
	var count int64
	at := 0
	if n := len(x) &^ 15; n > 0 && active.countBoth != nil {
		active.countBoth(n, &x[0], &y[0], tx, ty, &count)
		at = n
	}
	for ; at < len(x); at++ {
		if x[at] >= tx && y[at] >= ty {
			count++
		}
	}
	return int(count)
}

// SumWhere returns the sum, in float64, of y over the positions where x is at least t.
func SumWhere(x, y []float32, t float32) float64 {
	y = y[:len(x)]
	var sum float64
	at := 0
	if n := len(x) &^ 15; n > 0 && active.sumWhere != nil {
		active.sumWhere(n, &x[0], &y[0], t, &sum)
		at = n
	}
	for ; at < len(x); at++ {
		if x[at] >= t {
			sum += float64(y[at])
		}
	}
	return sum
}

// AddDoubles adds the first len(dst) values of x to dst.
func AddDoubles(dst, x []float64) {
	x = x[:len(dst)]
	if n := len(dst) &^ 15; n > 0 && active.addDoubles != nil {
		active.addDoubles(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] += v
	}
}

// NarrowScaled writes the first len(dst) values of x, times s, as float32.
func NarrowScaled(dst []float32, x []float64, s float64) {
	x = x[:len(dst)]
	if n := len(dst) &^ 15; n > 0 && active.narrowScaled != nil {
		active.narrowScaled(n, &dst[0], &x[0], s)
		dst, x = dst[n:], x[n:]
	}
	for i, v := range x {
		dst[i] = float32(v * s)
	}
}
