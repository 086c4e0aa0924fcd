package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// decode writes len(dst) elements of data as float32. Quantised blocks follow
// the GGUF reference: value = scale * (q - offset) or scale * q + minimum.
func decode(dst []float32, d DType, data []byte) error {
	size, err := d.Bytes(len(dst))
	if err != nil {
		return err
	}
	if len(data) < size {
		return fmt.Errorf("%d bytes for %d elements of %s, want %d", len(data), len(dst), d, size)
	}
	switch d {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[4*i:]))
		}
	case F16:
		for i := range dst {
			dst[i] = F16ToF32(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case BF16:
		for i := range dst {
			dst[i] = BF16ToF32(binary.LittleEndian.Uint16(data[2*i:]))
		}
	case F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(binary.LittleEndian.Uint64(data[8*i:])))
		}
	default:
		block := blocks[d]
		if block == nil {
			return fmt.Errorf("%s has no float32 value", d)
		}
		l := layout[d]
		for i := 0; i < len(dst); i += l.block {
			block(dst[i:i+l.block], data[:l.bytes])
			data = data[l.bytes:]
		}
	}
	return nil
}

// blocks decode one block each.
var blocks = map[DType]func(dst []float32, b []byte){
	Q4_0: func(dst []float32, b []byte) {
		d := half(b)
		for i, q := range b[2:18] {
			dst[i] = d * float32(int(q&15)-8)
			dst[i+16] = d * float32(int(q>>4)-8)
		}
	},
	Q4_1: func(dst []float32, b []byte) {
		d, m := half(b), half(b[2:])
		for i, q := range b[4:20] {
			dst[i] = float32(d*float32(q&15)) + m
			dst[i+16] = float32(d*float32(q>>4)) + m
		}
	},
	Q5_0: func(dst []float32, b []byte) {
		d, high := half(b), binary.LittleEndian.Uint32(b[2:])
		for i, q := range b[6:22] {
			dst[i] = d * float32(int(q&15|byte(high>>i&1)<<4)-16)
			dst[i+16] = d * float32(int(q>>4|byte(high>>(i+16)&1)<<4)-16)
		}
	},
	Q5_1: func(dst []float32, b []byte) {
		d, m, high := half(b), half(b[2:]), binary.LittleEndian.Uint32(b[4:])
		for i, q := range b[8:24] {
			dst[i] = float32(d*float32(q&15|byte(high>>i&1)<<4)) + m
			dst[i+16] = float32(d*float32(q>>4|byte(high>>(i+16)&1)<<4)) + m
		}
	},
	Q8_0: func(dst []float32, b []byte) {
		d := half(b)
		for i, q := range b[2:34] {
			dst[i] = d * float32(int8(q))
		}
	},
	Q2_K:   decodeQ2K,
	Q3_K:   decodeQ3K,
	Q4_K:   func(dst []float32, b []byte) { decodeQ45K(dst, b[:16], nil, b[16:]) },
	Q5_K:   func(dst []float32, b []byte) { decodeQ45K(dst, b[:16], b[16:48], b[48:]) },
	Q6_K:   decodeQ6K,
	IQ4_NL: func(dst []float32, b []byte) { decodeIQ4(dst, half(b), b[2:18]) },
	IQ4_XS: func(dst []float32, b []byte) {
		d, high := half(b), binary.LittleEndian.Uint16(b[2:])
		for sub := range 8 {
			scale := int(b[4+sub/2]>>(4*(sub%2))&15|byte(high>>(2*sub)&3)<<4) - 32
			decodeIQ4(dst[32*sub:32*sub+32], d*float32(scale), b[8+16*sub:24+16*sub])
		}
	},
	MXFP4: func(dst []float32, b []byte) {
		bits := uint32(0x00200000) << b[0] // half of 2^(b-127), which ends below the normal numbers
		if b[0] >= 2 {
			bits = uint32(b[0]-1) << 23
		}
		d := math.Float32frombits(bits)
		for i, q := range b[1:17] {
			dst[i] = d * mxfp4Values[q&15]
			dst[i+16] = d * mxfp4Values[q>>4]
		}
	},
	TQ2_0: func(dst []float32, b []byte) {
		d := half(b[64:])
		for i := range dst {
			dst[i] = d * float32(int(b[i/128*32+i%32]>>(2*(i%128/32))&3)-1)
		}
	},
}

// The values that four bits stand for: of the IQ4 types, and twice those of
// MXFP4 (E2M1).
var (
	iq4Values   = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	mxfp4Values = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// decodeIQ4 decodes 32 values of 16 bytes.
func decodeIQ4(dst []float32, d float32, qs []byte) {
	for i, q := range qs {
		dst[i] = d * iq4Values[q&15]
		dst[i+16] = d * iq4Values[q>>4]
	}
}

func half(b []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(b)) }

// decodeQ2K: 16 scales and minima of 4 bits each, 64 bytes of 2-bit values,
// scale and minimum of the scales.
func decodeQ2K(dst []float32, b []byte) {
	scales, qs, d, dmin := b[:16], b[16:80], half(b[80:]), half(b[82:])
	for i := range dst {
		group, in := i/128, i%128
		q := qs[group*32+in%32] >> (2 * (in / 32)) & 3
		s := scales[i/16]
		dst[i] = float32(float32(d*float32(s&15))*float32(q)) - float32(dmin*float32(s>>4))
	}
}

// decodeQ3K: 32 bytes of high bits, 64 of low pairs, 16 scales of 6 bits.
func decodeQ3K(dst []float32, b []byte) {
	high, qs, packed, d := b[:32], b[32:96], b[96:108], half(b[108:])
	var scale [16]int
	for i := range scale {
		low := packed[i%8] >> (4 * (i / 8)) & 15
		top := packed[8+i%4] >> (2 * (i / 4)) & 3
		scale[i] = int(low|top<<4) - 32
	}
	for i := range dst {
		group, in := i/128, i%128
		q := int(qs[group*32+in%32] >> (2 * (in / 32)) & 3)
		if high[i%32]>>(i/32)&1 == 0 {
			q -= 4
		}
		dst[i] = float32(d*float32(scale[i/16])) * float32(q)
	}
}

// decodeQ45K: 8 scales and minima of 6 bits, 128 bytes of 4-bit values, and for
// Q5_K their fifth bits.
func decodeQ45K(dst []float32, head, high, qs []byte) {
	d, dmin, s := half(head), half(head[2:]), head[4:16]
	for sub := range 8 {
		var sc, mn byte
		if sub < 4 {
			sc, mn = s[sub]&63, s[sub+4]&63
		} else {
			sc, mn = s[sub+4]&15|s[sub-4]>>6<<4, s[sub+4]>>4|s[sub]>>6<<4
		}
		scale, minimum := d*float32(sc), dmin*float32(mn)
		for j := range 32 {
			q := qs[sub/2*32+j] >> (4 * (sub % 2)) & 15
			if high != nil {
				q |= high[j] >> sub & 1 << 4
			}
			dst[sub*32+j] = float32(scale*float32(q)) - minimum
		}
	}
}

// decodeQ6K: 128 bytes of low nibbles, 64 of high pairs, 16 signed scales.
func decodeQ6K(dst []float32, b []byte) {
	low, high, scales, d := b[:128], b[128:192], b[192:208], half(b[208:])
	for i := range dst {
		group, in := i/128, i%128
		l := low[group*64+in%64] >> (4 * (in / 64)) & 15
		h := high[group*32+in%32] >> (2 * (in / 32)) & 3
		dst[i] = float32(d*float32(int8(scales[i/16]))) * float32(int(l|h<<4)-32)
	}
}
