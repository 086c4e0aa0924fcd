package dumps

import (
	"fmt"
	"math"
	"runtime"

	"github.com/klauspost/compress/zstd"

	"github.com/attnscope/attnscope/internal/simd"
)

// Encodings of a payload before zstd.
const (
	encBytes = 0 // as it is: JSON, the index
	encF32   = 1 // float32 in four byte planes, the lowest byte of all values first
	encF16   = 2 // IEEE half in two byte planes
)

// halfBits is the number of mantissa bits of an IEEE half float.
const halfBits = 10

func encodingBytes(enc uint8) (uint64, bool) {
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

// Byte planes have few matches: the fastest level, with every literal entropy
// coded, makes them 1 % smaller than the default and takes two thirds of its time.
var encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(runtime.GOMAXPROCS(0)),
	zstd.WithAllLitEntropyCompression(true), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderCRC(false))

var decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(runtime.GOMAXPROCS(0)),
	zstd.WithDecoderMaxMemory(1<<40), zstd.WithDecoderMaxWindow(1<<30), zstd.WithDecodeAllCapLimit(true))

// planesF32 rounds to bits mantissa bits (23: as it is) and splits into planes.
func planesF32(x []float32, bits int) []byte {
	n := len(x)
	out := make([]byte, 4*n)
	a, b, c, d := out[:n], out[n:2*n], out[2*n:3*n], out[3*n:]
	drop := uint(23 - bits)
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

// planesF16 rounds weights in [0, 1] to halves.
func planesF16(w []float32, drop *Rounding) []byte {
	n := len(w)
	out := make([]byte, 2*n)
	lo, hi := out[:n], out[n:]
	for i, v := range w {
		u := math.Float32bits(v)
		e := u >> 23 & 255
		var h uint16
		switch {
		case e < 127-24: // less than half the least half
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

// encodeFloats makes a payload and sets the record's encoding.
func encodeFloats(r *record, x []float32, enc uint8, bits int, precision Precision) []byte {
	r.Enc, r.Bits = enc, uint8(bits)
	if enc != encF16 {
		return planesF32(x, bits)
	}
	return planesF16(x, precision.Rounding())
}

// decodeFloats decodes an array block into dst.
func decodeFloats(r *record, raw []byte, dst []float32) error {
	switch r.Enc {
	case encF32:
		simd.JoinPlanes(dst, raw)
	case encF16:
		simd.JoinHalves(dst, raw)
	default:
		return fmt.Errorf("encoding %d is not of an array: %w", r.Enc, ErrCorrupt)
	}
	return nil
}

// inflate checks a stored payload and decompresses it, never to more bytes than
// its record says.
func inflate(r *record, stored []byte) ([]byte, error) {
	return inflateInto(make([]byte, 0, r.Raw), r, stored)
}

// inflateInto is inflate into dst, empty, of room for r.Raw bytes.
func inflateInto(dst []byte, r *record, stored []byte) ([]byte, error) {
	if got := checksum(stored); got != r.Sum {
		return nil, fmt.Errorf("checksum %08x, want %08x: %w", got, r.Sum, ErrCorrupt)
	}
	raw, err := decoder.DecodeAll(stored, dst)
	if err != nil {
		return nil, fmt.Errorf("%v: %w", err, ErrCorrupt)
	}
	if uint64(len(raw)) != r.Raw {
		return nil, fmt.Errorf("%d bytes, want %d: %w", len(raw), r.Raw, ErrCorrupt)
	}
	return raw, nil
}
