package tensor

import (
	"math/rand/v2"
	"testing"
)

// TestAffineAgainstDecoding checks that integers, scales and offsets give the values of
// the decoder, which another test compares with the package gguf.
func TestAffineAgainstDecoding(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	for d, a := range affine {
		l := layout[d]
		const blocks = 5
		w := Tensor{Name: "w", DType: d, Shape: []int{2, blocks * l.block}, Data: make([]byte, 2*blocks*l.bytes)}
		for i := range w.Data {
			w.Data[i] = byte(r.UintN(256))
			if i%2 == 1 { // keeps most float16 numbers finite
				w.Data[i] &= 0xbf
			}
		}
		for b := 0; d == MXFP4 && b < len(w.Data); b += l.bytes {
			w.Data[b] %= 252 // larger exponents give infinite numbers
		}
		want, err := w.Float32()
		if err != nil {
			t.Fatal(err)
		}
		cols := w.Cols()
		q, scale, offset := make([]uint8, cols), make([]float32, cols/a.Group), make([]float32, cols/a.Group)
		for row := range 2 {
			if err := w.AffineRow(row, q, scale, offset); err != nil {
				t.Fatal(err)
			}
			for k, v := range q {
				if int(v)>>a.Bits != 0 {
					t.Fatalf("%s: integer %d of row %d is %d, more than %d bits", d, k, row, v, a.Bits)
				}
				got := float32(float64(scale[k/a.Group])*float64(v) + float64(offset[k/a.Group]))
				if x := want[row*cols+k]; got != x && x == x {
					t.Fatalf("%s: element %d of row %d is %g, want %g", d, k, row, got, x)
				}
			}
		}
		if err := w.AffineRow(2, q, scale, offset); err == nil {
			t.Errorf("%s: row 2 of 2 was read", d)
		}
	}
}
