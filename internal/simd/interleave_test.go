package simd

import (
	"encoding/binary"
	"testing"
)

// TestInterleave compares panels with the definition, and finds a value that is not
// finite wherever it is.
func TestInterleave(t *testing.T) {
	for _, exponent := range []uint16{0x7f80, 0x7c00} {
		for _, n := range []int{1, 3, 4, 7, 64, 67} {
			rows := make([]byte, 2*n*Width)
			for i := range n * Width {
				v := uint16(i*40503 + 77)
				if v&exponent == exponent {
					v &^= 0x4000
				}
				binary.LittleEndian.PutUint16(rows[2*i:], v)
			}
			dst := make([]uint16, n*Width)
			if !Interleave(dst, rows, n, exponent) {
				t.Errorf("exponent %x, %d values: a value is not finite", exponent, n)
			}
			for x := range n {
				for r := range Width {
					if got, want := dst[x*Width+r], binary.LittleEndian.Uint16(rows[2*(r*n+x):]); got != want {
						t.Fatalf("exponent %x, %d values: value %d of row %d is %x, want %x", exponent, n, x, r, got, want)
					}
				}
			}
			for i := 0; i < n*Width; i += 5 {
				old := binary.LittleEndian.Uint16(rows[2*i:])
				for _, v := range []uint16{exponent, exponent | 0x8000, exponent | 0x8001} {
					binary.LittleEndian.PutUint16(rows[2*i:], v)
					if Interleave(dst, rows, n, exponent) {
						t.Errorf("exponent %x, %d values: %x at %d passes as finite", exponent, n, v, i)
					}
				}
				binary.LittleEndian.PutUint16(rows[2*i:], old)
			}
		}
	}
}
