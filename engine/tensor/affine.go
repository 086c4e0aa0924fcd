package tensor

import (
	"encoding/binary"
	"fmt"
)

// Affine describes a quantized type whose values are scale*q + offset with unsigned
// integers q. Kernels can multiply these values without decoding them to float32.
type Affine struct {
	Bits  int                                                // 4 or 8, the smaller of the two that holds q
	Group int                                                // number of values that share a scale and an offset
	Half  bool                                               // float16 represents all scales and offsets exactly
	block func(b []byte, q []uint8, scale, offset []float32) // decodes a block
}

// affine describes the affine types.
var affine = map[DType]Affine{
	Q4_0: {4, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0] = d
		offset[0] = -8 * d
		nibbles(q, b[2:18])
	}},
	Q4_1: {4, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		scale[0] = half(b)
		offset[0] = half(b[2:])
		nibbles(q, b[4:20])
	}},
	Q5_0: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0] = d
		offset[0] = -16 * d
		nibbles(q, b[6:22])
		fifth(q, binary.LittleEndian.Uint32(b[2:]))
	}},
	Q5_1: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		scale[0] = half(b)
		offset[0] = half(b[2:])
		nibbles(q, b[8:24])
		fifth(q, binary.LittleEndian.Uint32(b[4:]))
	}},
	Q8_0: {8, 32, true, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b)
		scale[0] = d
		offset[0] = -128 * d
		for i, v := range b[2:34] {
			q[i] = v + 128 // int8 to 0..255
		}
	}},
	MXFP4: {8, 32, false, func(b []byte, q []uint8, scale, offset []float32) {
		d := mxfp4Scale(b[0])
		scale[0] = d
		offset[0] = -12 * d // the least of mxfp4Values
		nibbles(q, b[1:17])
		for i, code := range q {
			q[i] = uint8(12 + mxfp4Values[code])
		}
	}},
	Q2_K: {4, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		d := half(b[80:])
		dmin := half(b[82:])
		for i, s := range b[:16] {
			scale[i] = d * float32(s&15)
			offset[i] = -dmin * float32(s>>4)
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = b[16+group*32+in%32] >> (2 * (in / 32)) & 3
		}
	}},
	Q3_K: {4, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		high := b[:32]
		qs := b[32:96]
		packed := b[96:108]
		d := half(b[108:])
		for i := range scale {
			low := packed[i%8] >> (4 * (i / 8)) & 15
			top := packed[8+i%4] >> (2 * (i / 4)) & 3
			s := d * float32(int(low|top<<4)-32)
			scale[i] = s
			offset[i] = -4 * s
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = qs[group*32+in%32]>>(2*(in/32))&3 | high[i%32]>>(i/32)&1<<2
		}
	}},
	Q4_K: {4, 32, false, func(b []byte, q []uint8, scale, offset []float32) {
		affine45K(b[:16], nil, b[16:], q, scale, offset)
	}},
	Q5_K: {8, 32, false, func(b []byte, q []uint8, scale, offset []float32) {
		affine45K(b[:16], b[16:48], b[48:], q, scale, offset)
	}},
	Q6_K: {8, 16, false, func(b []byte, q []uint8, scale, offset []float32) {
		low := b[:128]
		high := b[128:192]
		d := half(b[208:])
		for i, s := range b[192:208] {
			v := d * float32(int8(s))
			scale[i] = v
			offset[i] = -32 * v
		}
		for i := range q {
			group, in := i/128, i%128
			q[i] = low[group*64+in%64]>>(4*(in/64))&15 | high[group*32+in%32]>>(2*(in/32))&3<<4
		}
	}},
}

// nibbles splits 16 bytes into 32 4-bit integers: first the low halves of all bytes,
// then the high halves.
func nibbles(q []uint8, b []byte) {
	for i, v := range b {
		q[i] = v & 15
		q[i+16] = v >> 4
	}
}

// fifth sets the fifth bit of 32 integers: bit i of high is the fifth bit of q[i].
func fifth(q []uint8, high uint32) {
	for i := range q {
		q[i] |= uint8(high>>i&1) << 4
	}
}

// affine45K decodes a block of Q4_K, or of Q5_K if high holds the fifth bits.
func affine45K(head, high, qs []byte, q []uint8, scale, offset []float32) {
	d := half(head)
	dmin := half(head[2:])
	for sub := range 8 {
		sc, mn := scaleAndMinimum(head[4:16], sub)
		scale[sub] = d * float32(sc)
		offset[sub] = -dmin * float32(mn)
		for j := range 32 {
			v := qs[sub/2*32+j] >> (4 * (sub % 2)) & 15
			if high != nil {
				v |= high[j] >> sub & 1 << 4
			}
			q[sub*32+j] = v
		}
	}
}

// Affine describes the type, if it is affine.
func (d DType) Affine() (Affine, bool) {
	a, ok := affine[d]
	return a, ok
}

// Exactly returns the smallest type that holds the elements exactly: the tensor's own, or
// MXFP4 if they are coded like that in the layout of the hub.
func (t Tensor) Exactly() DType {
	if m, _ := mxfp4Of(t.Coded, 0); m != nil {
		return MXFP4
	}
	return t.DType
}

// mxfp4Of returns the stack of MXFP4 that codes a tensor, and the row of it that is row i
// of the tensor; or nil.
func mxfp4Of(c Coded, i int) (*mxfp4, int) {
	for {
		switch x := c.(type) {
		case *mxfp4:
			return x, i
		case codedPart:
			c = x.Coded
			i += x.first
		case everyRow:
			c = x.t.Coded
			i = x.first + i*x.step
		default:
			return nil, 0
		}
	}
}

// AffineRow decodes row i of a tensor that Exactly an affine type holds, seen as a
// matrix, to integers q [cols] and to scales and offsets [cols/group].
func (t Tensor) AffineRow(i int, q []uint8, scale, offset []float32) error {
	if m, row := mxfp4Of(t.Coded, i); m != nil && i >= 0 && i < t.Rows() {
		if err := Guard(func() error { m.affineRow(row, q, scale, offset); return nil }); err != nil {
			return fmt.Errorf("tensor %s: %w", t.Name, err)
		}
		return nil
	}
	a, ok := affine[t.DType]
	size, err := t.DType.Bytes(t.Cols())
	if err == nil && !ok {
		err = fmt.Errorf("%s is not an affine type", t.DType)
	}
	if err == nil && (i < 0 || (i+1)*size > len(t.Data)) {
		err = fmt.Errorf("row %d of %d", i, t.Rows())
	}
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	l := layout[t.DType]
	data := t.Data[i*size : (i+1)*size]
	groups := l.block / a.Group
	err = Guard(func() error {
		for len(data) > 0 {
			a.block(data[:l.bytes], q[:l.block], scale[:groups], offset[:groups])
			data = data[l.bytes:]
			q = q[l.block:]
			scale = scale[groups:]
			offset = offset[groups:]
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("tensor %s: %w", t.Name, err)
	}
	return nil
}
