package simd

import (
	"encoding/binary"
	"unsafe"
)

// Interleave packs 32 consecutive rows of n little-endian values of two bytes into a
// panel [n][32]. exponent is the mask of the bits of the exponent, which follow the sign.
// The result is false if all of them are set in some value, which is then not finite.
func Interleave(dst []uint16, rows []byte, n int, exponent uint16) bool {
	if n == 0 {
		return true
	}
	dst = dst[:n*Width]
	rows = rows[:2*n*Width]
	out := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), 2*n*Width)
	const lanes = 0x0001_0001_0001_0001
	mask := uint64(exponent) * lanes
	one := uint64(exponent&-exponent) * lanes // added to an exponent of ones, it sets the sign bit
	bad := uint64(0)
	x := 0
	for ; x+Width <= n; x += Width { // a row's cache line at a time
		block := out[2*x*Width:][: 2*Width*Width : 2*Width*Width]
		for r := 0; r < Width; r += 4 {
			l0 := (*[2 * Width]byte)(rows[2*(r*n+x):])
			l1 := (*[2 * Width]byte)(rows[2*((r+1)*n+x):])
			l2 := (*[2 * Width]byte)(rows[2*((r+2)*n+x):])
			l3 := (*[2 * Width]byte)(rows[2*((r+3)*n+x):])
			for j := 0; j < 2*Width; j += 8 {
				a := binary.LittleEndian.Uint64(l0[j:])
				b := binary.LittleEndian.Uint64(l1[j:])
				c := binary.LittleEndian.Uint64(l2[j:])
				d := binary.LittleEndian.Uint64(l3[j:])
				bad |= (a&mask + one) | (b&mask + one) | (c&mask + one) | (d&mask + one)
				at := block[j*Width+2*r:][:6*Width+8]
				transpose4(at, a, b, c, d)
			}
		}
	}
	for ; x < n; x++ {
		for r := range Width {
			v := binary.LittleEndian.Uint16(rows[2*(r*n+x):])
			bad |= uint64(v)&mask + one
			dst[x*Width+r] = v
		}
	}
	return bad&(0x8000*lanes) == 0
}

// transpose4 writes the values of four rows of four, column by column, to four lines of a
// panel.
func transpose4(dst []byte, a, b, c, d uint64) {
	const low32 = 0x0000_0000_ffff_ffff
	const low16 = 0x0000_ffff_0000_ffff
	ac0 := a&low32 | c<<32
	ac2 := a>>32 | c&^low32
	bd0 := b&low32 | d<<32
	bd2 := b>>32 | d&^low32
	binary.LittleEndian.PutUint64(dst[6*Width:], ac2>>16&low16|bd2&^low16)
	binary.LittleEndian.PutUint64(dst[4*Width:], ac2&low16|bd2&low16<<16)
	binary.LittleEndian.PutUint64(dst[2*Width:], ac0>>16&low16|bd0&^low16)
	binary.LittleEndian.PutUint64(dst, ac0&low16|bd0&low16<<16)
}
