package tensor

import (
	"slices"
	"testing"
)

// TestRowsAndTransposes picks rows of matrices of every type of floats and of a coded
// one, and transposes them.
func TestRowsAndTransposes(t *testing.T) {
	x := []float32{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	for _, d := range []DType{F32, F16, BF16} {
		size, _ := d.Bytes(1)
		m := Tensor{Name: "m", DType: d, Shape: []int{5, 3}, Data: make([]byte, size*len(x))}
		d.encode(m.Data, x)
		for _, c := range []struct {
			first, step int
			want        []float32
		}{
			{0, 2, []float32{1, 2, 3, 7, 8, 9, 13, 14, 15}},
			{1, 2, []float32{4, 5, 6, 10, 11, 12}},
			{0, 1, x},
			{4, 3, []float32{13, 14, 15}},
		} {
			part, err := m.EveryRow(c.first, c.step)
			if err != nil {
				t.Fatal(err)
			}
			got, err := part.Float32()
			if err != nil || part.DType != d || !slices.Equal(got, c.want) {
				t.Errorf("%s: rows %d, +%d: %v %v %v, want %v", d, c.first, c.step, part.DType, got, err, c.want)
			}
		}
		across, err := m.Transposed()
		if err != nil {
			t.Fatal(err)
		}
		got, err := across.Float32()
		want := []float32{1, 4, 7, 10, 13, 2, 5, 8, 11, 14, 3, 6, 9, 12, 15}
		if err != nil || across.DType != d || !slices.Equal(across.Shape, []int{3, 5}) || !slices.Equal(got, want) {
			t.Errorf("%s: transposed: %v %v %v %v", d, across.DType, across.Shape, got, err)
		}
		view, err := m.TransposedView()
		if err != nil {
			t.Fatal(err)
		}
		got, err = view.Float32()
		if err != nil || view.DType != d || !slices.Equal(view.Shape, []int{3, 5}) || !slices.Equal(got, want) {
			t.Errorf("%s: view of the transpose: %v %v %v %v", d, view.DType, view.Shape, got, err)
		}
		odd, err := view.EveryRow(0, 2)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := odd.Float32(); err != nil || !slices.Equal(got, slices.Concat(want[:5], want[10:])) {
			t.Errorf("%s: rows of a view: %v %v", d, got, err)
		}
	}
	blocks := Tensor{Name: "b", DType: U8, Shape: []int{4, 1, 16}, Data: make([]byte, 64)}
	for i := range blocks.Data {
		blocks.Data[i] = byte(i)
	}
	mx, err := MX("m", blocks, Tensor{Name: "e", DType: U8, Shape: []int{4, 1}, Data: []byte{127, 128, 126, 127}})
	if err != nil {
		t.Fatal(err)
	}
	all, _ := mx.Float32()
	odd, err := mx.EveryRow(1, 2)
	if err != nil {
		t.Fatal(err)
	}
	got, err := odd.Float32()
	if want := slices.Concat(all[32:64], all[96:]); err != nil || !slices.Equal(got, want) {
		t.Errorf("odd rows of MXFP4: %v %v, want %v", got, err, want)
	}
	across, err := mx.Transposed()
	if err != nil {
		t.Fatal(err)
	}
	got, err = across.Float32()
	if err != nil || !slices.Equal(across.Shape, []int{32, 4}) || got[1*4+2] != all[2*32+1] || got[31*4] != all[31] {
		t.Errorf("MXFP4 transposed: %v %v %v", across.Shape, got, err)
	}
	part, err := odd.Slice(1, 2) // row 3 of the stack
	if err != nil {
		t.Fatal(err)
	}
	q, scale, offset := make([]uint8, 32), make([]float32, 1), make([]float32, 1)
	if err := part.AffineRow(0, q, scale, offset); err != nil || part.Exactly() != MXFP4 || mx.DType != BF16 {
		t.Fatalf("%v, %s as %s", err, mx.DType, part.Exactly())
	}
	for i, v := range q {
		if got := float32(v)*scale[0] + offset[0]; got != all[96+i] {
			t.Errorf("element %d of row 3 is %g, want %g", i, got, all[96+i])
		}
	}
	if err := part.AffineRow(1, q, scale, offset); err == nil {
		t.Error("row 1 of 1 was read")
	}
}
