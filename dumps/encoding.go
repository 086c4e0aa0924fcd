package dumps

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// Encodings of a payload before zstd.
const (
	encBytes = 0 // bytes as they are: JSON, the index
	encF32   = 1 // float32 in four byte planes, the lowest byte of all values first
	encF16   = 2 // IEEE half floats in two byte planes
)

// halfBits is the number of mantissa bits of an IEEE half float.
const halfBits = 10

// encodingBytes returns the bytes per element of an encoding.
func encodingBytes(enc uint8) (n uint64, known bool) {
	switch enc {
	case encBytes:
		return 1, true
	case encF32:
		return 4, true
	case encF16:
		return 2, true
	}
	return 0, false
}

// encodeFloats returns the payload of an array block before compression, and completes
// the record's encoding. Only encF32 uses bits.
func encodeFloats(r *record, x []float32, enc uint8, bits int, precision Precision) []byte {
	r.Enc = enc
	r.Bits = uint8(bits)
	if enc == encF16 {
		return planesF16(x, precision.Rounding())
	}
	return planesF32(x, bits)
}

// planesF32 rounds values to bits mantissa bits and splits them into planes. 23 bits
// keep values exact.
func planesF32(x []float32, bits int) []byte {
	n := len(x)
	out := make([]byte, 4*n)
	a, b, c, d := out[:n], out[n:2*n], out[2*n:3*n], out[3*n:]
	drop := uint(float32Bits - bits)
	for i, v := range x {
		u := math.Float32bits(v)
		if drop > 0 && u&0x7f800000 != 0x7f800000 {
			u += 1<<(drop-1) - 1 + u>>drop&1
			u = u >> drop << drop
		}
		a[i], b[i], c[i], d[i] = byte(u), byte(u>>8), byte(u>>16), byte(u>>24)
	}
	return out
}

// planesF16 rounds weights in [0, 1] to half floats and splits them into planes.
func planesF16(w []float32, drop *Rounding) []byte {
	n := len(w)
	out := make([]byte, 2*n)
	lo, hi := out[:n], out[n:]
	for i, v := range w {
		u := math.Float32bits(v)
		e := u >> 23 & 255
		var h uint16
		switch {
		case e < 127-24: // less than half of the smallest half float
		case e < 127-14:
			h = uint16(math.RoundToEven(float64(v) * (1 << 24)))
		default:
			d := drop[e] & 31
			u += 1<<(d-1) - 1 + u>>d&1
			u = u >> d << d
			h = uint16((u - 112<<23) >> 13)
		}
		lo[i], hi[i] = byte(h), byte(h>>8)
	}
	return out
}

// decodeFloats decodes the payload of an array block into dst.
func decodeFloats(r *record, raw []byte, dst []float32) error {
	switch r.Enc {
	case encF32:
		simd.JoinPlanes(dst, raw)
	case encF16:
		simd.JoinHalves(dst, raw)
	default:
		return fmt.Errorf("encoding %d is not an array encoding: %w", r.Enc, ErrCorrupt)
	}
	return nil
}
