package tensor

import (
	"encoding/binary"
	"fmt"
)

// Affine is the form of a quantised type whose values are scale*q + offset with
// unsigned integers q: what kernels read without decoding to float32 first.
type Affine struct {
	Bits  int  // 4 or 8: the least of the two that holds q
	Group int  // values that share scale and offset
	Half  bool // scales and offsets are float16 numbers
	block func(b []byte, q []uint8, scale, offset []float32)
}

// affine has the forms by type; a block gives its integers in order.
var affine = map[DType]Affine{
	Q4_0: {4, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0], offset[0] = d, -8*d
		nibbles(q, b[2:18])
	}},
	Q4_1: {4, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		scale[0], offset[0] = half(b), half(b[2:])
		nibbles(q, b[4:20])
	}},
	Q5_0: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0], offset[0] = d, -16*d
		nibbles(q, b[6:22])
		fifth(q, binary.LittleEndian.Uint32(b[2:]))
	}},
	Q5_1: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		scale[0], offset[0] = half(b), half(b[2:])
		nibbles(q, b[8:24])
		fifth(q, binary.LittleEndian.Uint32(b[4:]))
	}},
	Q8_0: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0], offset[0] = d, -128*d
		for i, v := range b[2:34] {
			q[i] = v + 128 // int8 to 0..255
		}
	}},
	Q2_K: {4, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		d, dmin := half(b[80:]), half(b[82:])
		for i, s := range b[:16] {
			scale[i], offset[i] = d*float32(s&15), -dmin*float32(s>>4)
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = b[16+group*32+in%32] >> (2 * (in / 32)) & 3
		}
	}},
	Q3_K: {4, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		high, qs, packed, d := b[:32], b[32:96], b[96:108], half(b[108:])
		for i := range scale {
			low, top := packed[i%8]>>(4*(i/8))&15, packed[8+i%4]>>(2*(i/4))&3
			s := d * float32(int(low|top<<4)-32)
			scale[i], offset[i] = s, -4*s
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = qs[group*32+in%32]>>(2*(in/32))&3 | high[i%32]>>(i/32)&1<<2
		}
	}},
	Q4_K: {4, 32, false, func(b []byte, q []uint8, scale, offset []float32) { affine45K(b[:16], nil, b[16:], q, scale, offset) }},
	Q5_K: {8, 32, false, func(b []byte, q []uint8, scale, offset []float32) {
		affine45K(b[:16], b[16:48], b[48:], q, scale, offset)
	}},
	Q6_K: {8, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		low, high, d := b[:128], b[128:192], half(b[208:])
		for i, s := range b[192:208] {
			v := d * float32(int8(s))
			scale[i], offset[i] = v, -32*v
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = low[group*64+in%64]>>(4*(in/64))&15 | high[group*32+in%32]>>(2*(in/32))&3<<4
		}
	}},
}

// nibbles splits 16 bytes: the low halves first.
func nibbles(q []uint8, b []byte) {
	for i, v := range b {
		q[i], q[i+16] = v&15, v>>4
	}
}

// fifth adds the fifth bits of 32 integers.
func fifth(q []uint8, high uint32) {
	for i := range q {
		q[i] |= uint8(high>>i&1) << 4
	}
}

func affine45K(head, high, qs []byte, q []uint8, scale, offset []float32) {
	d, dmin, s := half(head), half(head[2:]), head[4:16]
	for sub := range 8 {
		sc, mn := s[sub%4]&63, s[sub%4+4]&63
		if sub >= 4 {
			sc, mn = s[sub+4]&15|s[sub-4]>>6<<4, s[sub+4]>>4|s[sub]>>6<<4
		}
		scale[sub], offset[sub] = d*float32(sc), -dmin*float32(mn)
		for j := range 32 {
			v := qs[sub/2*32+j] >> (4 * (sub % 2)) & 15
			if high != nil {
				v |= high[j] >> sub & 1 << 4
			}
			q[sub*32+j] = v
		}
	}
}

// Affine returns the form of a quantised type; false for types that have none.
func (d DType) Affine() (Affine, bool) {
	a, ok := affine[d]
	return a, ok
}

// AffineRow reads row i of the matrix: q [cols], scale and offset [cols/group].
func (t Tensor) AffineRow(i int, q []uint8, scale, offset []float32) error {
	a, ok := affine[t.DType]
	size, err := t.DType.Bytes(t.Cols())
	if err == nil && !ok {
		err = fmt.Errorf("%s is not quantised", t.DType)
	}
	if err == nil && (i < 0 || (i+1)*size > len(t.Data)) {
		err = fmt.Errorf("row %d of %d", i, t.Rows())
	}
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	l, data := layout[t.DType], t.Data[i*size:(i+1)*size]
	groups := l.block / a.Group
	for len(data) > 0 {
		a.block(data[:l.bytes], q[:l.block], scale[:groups], offset[:groups])
		data, q, scale, offset = data[l.bytes:], q[l.block:], scale[groups:], offset[groups:]
	}
	return nil
}
