package tensor

import (
	"encoding/binary"
	"fmt"
	"math"
)

// decode decodes the first len(dst) elements of data. Quantized blocks follow the GGUF
// reference: value = scale * (q - offset) or scale * q + minimum.
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
	case F8_E4M3, F8_E5M2:
		table := &e4m3
		if d == F8_E5M2 {
			table = &e5m2
		}
		for i := range dst {
			dst[i] = table[data[i]]
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

// blocks decodes one block of each quantized type.
var blocks = map[DType]func(dst []float32, b []byte){
	Q4_0: func(dst []float32, b []byte) {
		d := half(b)
		for i, q := range b[2:18] {
			dst[i] = d * float32(int(q&15)-8)
			dst[i+16] = d * float32(int(q>>4)-8)
		}
	},
	Q4_1: func(dst []float32, b []byte) {
		d := half(b)
		m := half(b[2:])
		for i, q := range b[4:20] {
			dst[i] = float32(d*float32(q&15)) + m
			dst[i+16] = float32(d*float32(q>>4)) + m
		}
	},
	Q5_0: func(dst []float32, b []byte) {
		d := half(b)
		high := binary.LittleEndian.Uint32(b[2:])
		for i, q := range b[6:22] {
			dst[i] = d * float32(int(q&15|byte(high>>i&1)<<4)-16)
			dst[i+16] = d * float32(int(q>>4|byte(high>>(i+16)&1)<<4)-16)
		}
	},
	Q5_1: func(dst []float32, b []byte) {
		d := half(b)
		m := half(b[2:])
		high := binary.LittleEndian.Uint32(b[4:])
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
		d := half(b)
		high := binary.LittleEndian.Uint16(b[2:])
		for sub := range 8 {
			scale := int(b[4+sub/2]>>(4*(sub%2))&15|byte(high>>(2*sub)&3)<<4) - 32
			decodeIQ4(dst[32*sub:32*sub+32], d*float32(scale), b[8+16*sub:24+16*sub])
		}
	},
	MXFP4: func(dst []float32, b []byte) {
		d := mxfp4Scale(b[0])
		for i, q := range b[1:17] {
			dst[i] = d * mxfp4Values[q&15]
			dst[i+16] = d * mxfp4Values[q>>4]
		}
	},
	TQ1_0:   decodeTQ1,
	IQ1_S:   decodeIQ1S,
	IQ1_M:   decodeIQ1M,
	IQ2_XXS: decodeIQ2XXS,
	IQ2_XS:  decodeIQ2XS,
	IQ2_S:   decodeIQ2S,
	IQ3_XXS: decodeIQ3XXS,
	IQ3_S:   decodeIQ3S,
	TQ2_0: func(dst []float32, b []byte) {
		d := half(b[64:])
		for i := range dst {
			dst[i] = d * float32(int(b[i/128*32+i%32]>>(2*(i%128/32))&3)-1)
		}
	},
}

// The values of 4-bit codes, in the IQ4 types and in MXFP4 (E2M1). The latter are twice
// as large as in the definition of MXFP4.
var (
	iq4Values   = [16]float32{-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113}
	mxfp4Values = [16]float32{0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12}
)

// mxfp4Scale returns half of 2^(e-127), which is subnormal for e < 2.
func mxfp4Scale(e byte) float32 {
	if e < 2 {
		return math.Float32frombits(0x00200000 << e)
	}
	return math.Float32frombits(uint32(e-1) << 23)
}

// decodeIQ4 decodes 16 bytes to 32 values.
func decodeIQ4(dst []float32, d float32, qs []byte) {
	for i, q := range qs {
		dst[i] = d * iq4Values[q&15]
		dst[i+16] = d * iq4Values[q>>4]
	}
}

// half reads an IEEE half-precision number.
func half(b []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(b)) }

// decodeQ2K decodes a block of 16 scales and minima of 4 bits each, 64 bytes of 2-bit
// values, and the factors of the scales and of the minima.
func decodeQ2K(dst []float32, b []byte) {
	scales := b[:16]
	qs := b[16:80]
	d := half(b[80:])
	dmin := half(b[82:])
	for i := range dst {
		group, in := i/128, i%128
		q := qs[group*32+in%32] >> (2 * (in / 32)) & 3
		s := scales[i/16]
		dst[i] = float32(float32(d*float32(s&15))*float32(q)) - float32(dmin*float32(s>>4))
	}
}

// decodeQ3K decodes a block of 32 bytes of high bits, 64 bytes of pairs of low bits, 16
// scales of 6 bits, and their factor.
func decodeQ3K(dst []float32, b []byte) {
	high := b[:32]
	qs := b[32:96]
	packed := b[96:108]
	d := half(b[108:])
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

// decodeQ45K decodes a block of Q4_K or Q5_K: the factors of the scales and of the
// minima, 8 scales and minima of 6 bits, 128 bytes of 4-bit values, and for Q5_K their
// fifth bits in high.
func decodeQ45K(dst []float32, head, high, qs []byte) {
	d := half(head)
	dmin := half(head[2:])
	for sub := range 8 {
		sc, mn := scaleAndMinimum(head[4:16], sub)
		scale := d * float32(sc)
		minimum := float32(dmin * float32(mn))
		for j := range 32 {
			q := qs[sub/2*32+j] >> (4 * (sub % 2)) & 15
			if high != nil {
				q |= high[j] >> sub & 1 << 4
			}
			dst[sub*32+j] = float32(scale*float32(q)) - minimum
		}
	}
}

// scaleAndMinimum unpacks one of 8 scales and minima of 6 bits each from 12 bytes.
func scaleAndMinimum(s []byte, sub int) (scale, minimum byte) {
	if sub < 4 {
		return s[sub] & 63, s[sub+4] & 63
	}
	return s[sub+4]&15 | s[sub-4]>>6<<4, s[sub+4]>>4 | s[sub]>>6<<4
}

// decodeQ6K decodes a block of 128 bytes of 4 low bits, 64 bytes of pairs of high bits,
// 16 signed scales, and their factor.
func decodeQ6K(dst []float32, b []byte) {
	low := b[:128]
	high := b[128:192]
	scales := b[192:208]
	d := half(b[208:])
	for i := range dst {
		group, in := i/128, i%128
		l := low[group*64+in%64] >> (4 * (in / 64)) & 15
		h := high[group*32+in%32] >> (2 * (in / 32)) & 3
		dst[i] = float32(d*float32(int8(scales[i/16]))) * float32(int(l|h<<4)-32)
	}
}
