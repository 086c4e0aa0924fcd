package tensor

import "math"

// BF16ToF32 widens a bfloat16.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds to the nearest bfloat16, ties to even. NaN stays NaN.
func F32ToBF16(v float32) uint16 {
	u := math.Float32bits(v)
	if v != v {
		return uint16(u>>16) | 0x40
	}
	return uint16((u + 0x7fff + u>>16&1) >> 16)
}

// F16ToF32 widens an IEEE half-precision number.
func F16ToF32(h uint16) float32 {
	sign := uint32(h>>15) << 31
	exp := uint32(h >> 10 & 31)
	frac := uint32(h & 1023)
	switch {
	case exp == 31:
		return math.Float32frombits(sign | 0xff<<23 | frac<<13)
	case exp != 0:
		return math.Float32frombits(sign | (exp+112)<<23 | frac<<13)
	case frac == 0:
		return math.Float32frombits(sign)
	}
	v := float32(frac) * (1.0 / (1 << 24))
	if sign != 0 {
		v = -v
	}
	return v
}

// F32ToF16 rounds to the nearest IEEE half-precision number, ties to even. A number that
// is too large becomes infinite.
func F32ToF16(v float32) uint16 {
	u := math.Float32bits(v)
	sign := uint16(u >> 16 & 0x8000)
	u &= 0x7fffffff
	switch {
	case u > 0x7f800000:
		return sign | 0x7e00
	case u >= 0x477ff000:
		return sign | 0x7c00
	case u < 0x38800000: // below 2^-14: a subnormal half, a multiple of 2^-24
		return sign | uint16(math.RoundToEven(float64(math.Float32frombits(u))*(1<<24)))
	}
	u += 0xfff + u>>13&1
	return sign | uint16((u-0x38000000)>>13)
}

// The values of all numbers of 8 bits: with 4 bits of exponent, no infinity and one NaN
// of each sign, and with 5 bits of exponent as in IEEE formats.
var e4m3, e5m2 = smallFloats()

func smallFloats() (e4m3, e5m2 [256]float32) {
	for b := range 256 {
		magnitude := b & 0x7f
		v := math.Ldexp(float64(magnitude&7), -9)
		if magnitude >= 8 {
			v = math.Ldexp(float64(8+magnitude&7), magnitude>>3-10)
		}
		if magnitude == 0x7f {
			v = math.NaN()
		}
		if b >= 0x80 {
			v = math.Copysign(v, -1)
		}
		e4m3[b] = float32(v)
		e5m2[b] = F16ToF32(uint16(b) << 8)
	}
	return e4m3, e5m2
}

// roundAll replaces numbers by the nearest numbers of a type of floats, ties to even.
func (d DType) roundAll(x []float32) {
	switch d {
	case F16:
		for i, v := range x {
			x[i] = F16ToF32(F32ToF16(v))
		}
	case BF16:
		for i, v := range x {
			x[i] = BF16ToF32(F32ToBF16(v))
		}
	}
}
