package simd

import "math"

// vectors holds the arithmetic operations of a set on vectors. Lengths are positive
// multiples of 16.
type vectors struct {
	expSum     func(n int, x *float32, m float32, sum *float32)
	max        func(n int, x *float32, max *float32)
	scale      func(n int, x *float32, s float32)
	axpy       func(n int, dst, x *float32, s float32)
	sumRows    func(n int, dst, x *float32, stride, rows int)
	siluMul    func(n int, dst, gate, up *float32)
	sumSquares func(n int, x *float32, sum *float64)
	mulScaled  func(n int, dst, x, y *float32, s float32)
	addFixed   func(n int, dst *int64, x *float32)
	addWide    func(n int, dst *float64, x *float32)
	rowSums    func(n int, x *float32, out *[3]float64)
}

// Max returns the largest value of x, or -Inf if x is empty.
func Max(x []float32) float32 {
	m := float32(math.Inf(-1))
	if n := len(x) &^ 15; n > 0 && active.max != nil {
		active.max(n, &x[0], &m)
		x = x[n:]
	}
	for _, v := range x {
		m = max(m, v)
	}
	return m
}

// ExpSum replaces x by exp(x - m) and returns the sum. The relative error of a value
// is below 4e-7; values below exp(-87) become 0.
func ExpSum(x []float32, m float32) float32 {
	var sum float32
	if n := len(x) &^ 15; n > 0 && active.expSum != nil {
		active.expSum(n, &x[0], m, &sum)
		x = x[n:]
	}
	if len(x) > 0 && active.expSum != nil {
		var buf [16]float32
		copy(buf[:], x)
		for i := len(x); i < 16; i++ {
			buf[i] = m - 200
		}
		var part float32
		active.expSum(16, &buf[0], m, &part)
		copy(x, buf[:])
		return sum + part
	}
	for i, v := range x {
		if v -= m; v < -87 {
			x[i] = 0
			continue
		}
		x[i] = float32(math.Exp(float64(v)))
		sum += x[i]
	}
	return sum
}

// Scale multiplies x by s.
func Scale(x []float32, s float32) {
	if n := len(x) &^ 15; n > 0 && active.scale != nil {
		active.scale(n, &x[0], s)
		x = x[n:]
	}
	for i := range x {
		x[i] *= s
	}
}

// AddScaled adds s times the first len(dst) values of x to dst.
func AddScaled(dst, x []float32, s float32) {
	x = x[:len(dst)]
	if n := len(dst) &^ 15; n > 0 && active.axpy != nil {
		active.axpy(n, &dst[0], &x[0], s)
		dst, x = dst[n:], x[n:]
	}
	for i := range dst {
		dst[i] += float32(s * x[i])
	}
}

// SumRows writes the sums of columns: dst[j] = Σ_r x[r*stride+j] for r < rows.
func SumRows(dst, x []float32, stride, rows int) {
	if rows == 0 {
		clear(dst)
		return
	}
	at := 0
	if n := len(dst) &^ 15; n > 0 && active.sumRows != nil {
		_ = x[(rows-1)*stride+n-1]
		active.sumRows(n, &dst[0], &x[0], stride, rows)
		at = n
	}
	rest := dst[at:]
	clear(rest)
	for r := range rows {
		for j, v := range x[r*stride+at : r*stride+len(dst)] {
			rest[j] += v
		}
	}
}

// SiLUMul writes silu(gate) * up to dst, with silu(g) = g / (1 + exp(-g)).
func SiLUMul(dst, gate, up []float32) {
	up = up[:len(gate)]
	dst = dst[:len(gate)]
	if n := len(gate) &^ 15; n > 0 && active.siluMul != nil {
		active.siluMul(n, &dst[0], &gate[0], &up[0])
		dst = dst[n:]
		gate = gate[n:]
		up = up[n:]
	}
	for i, g := range gate {
		dst[i] = g / (1 + float32(math.Exp(float64(-max(g, -80))))) * up[i]
	}
}

// SumSquares returns the sum of squares, added in float64.
func SumSquares(x []float32) float64 {
	var sum float64
	if n := len(x) &^ 15; n > 0 && active.sumSquares != nil {
		active.sumSquares(n, &x[0], &sum)
		x = x[n:]
	}
	for _, v := range x {
		sum += float64(v) * float64(v) // an exact product
	}
	return sum
}

// MulScaled writes x * s * y, multiplied in this order, to the first len(x) values of
// dst.
func MulScaled(dst, x, y []float32, s float32) {
	dst = dst[:len(x)]
	y = y[:len(x)]
	if n := len(x) &^ 15; n > 0 && active.mulScaled != nil {
		active.mulScaled(n, &dst[0], &x[0], &y[0], s)
		dst = dst[n:]
		x = x[n:]
		y = y[n:]
	}
	for i, v := range x {
		dst[i] = v * s * y[i]
	}
}

// FixedOne is the fixed-point representation of 1. With 2^40, a sum of 2^22 weights
// does not overflow, and a step is 1e-12.
const FixedOne = 1 << 40

// AddFixed adds x to the first len(x) values of dst in fixed point: dst[j] += x[j] *
// [FixedOne], truncated to an integer.
func AddFixed(dst []int64, x []float32) {
	dst = dst[:len(x)]
	if n := len(x) &^ 15; n > 0 && active.addFixed != nil {
		active.addFixed(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for j, v := range x {
		dst[j] += int64(v * FixedOne)
	}
}

// AddWide adds the first len(dst) values of x to sums in float64.
func AddWide(dst []float64, x []float32) {
	x = x[:len(dst)]
	if n := len(dst) &^ 15; n > 0 && active.addWide != nil {
		active.addWide(n, &dst[0], &x[0])
		dst, x = dst[n:], x[n:]
	}
	for j, v := range x {
		dst[j] += float64(v)
	}
}

// RowSums returns three sums over a row of weights, none of which is negative: Σ w[j],
// Σ w[j]·j and Σ w[j]·log2 w[j], where 0·log2 0 is 0 and the error of a logarithm is
// below 1e-6.
func RowSums(w []float32) (sum, place, log float64) {
	var s [3]float64
	from := 0
	if n := len(w) &^ 15; n > 0 && active.rowSums != nil {
		active.rowSums(n, &w[0], &s)
		from = n
	}
	for j, v := range w[from:] {
		x := float64(v)
		s[0] += x
		s[1] += float64(x * float64(from+j))
		if v > 0 {
			s[2] += float64(x * math.Log2(x))
		}
	}
	return s[0], s[1], s[2]
}
