package tensor

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"slices"
	"testing"
)

// codedGoldens returns the bytes that testdata/make_coded.py stored.
func codedGoldens(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/coded.json")
	if err != nil {
		t.Fatal(err)
	}
	var stored map[string]string
	if err := json.Unmarshal(text, &stored); err != nil {
		t.Fatal(err)
	}
	goldens := map[string][]byte{}
	for name, s := range stored {
		if goldens[name], err = base64.StdEncoding.DecodeString(s); err != nil {
			t.Fatal(err)
		}
	}
	return goldens
}

// TestSmallFloatsOfTorch compares all numbers of 8 bits with torch.
func TestSmallFloatsOfTorch(t *testing.T) {
	goldens := codedGoldens(t)
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, d := range []DType{F8_E4M3, F8_E5M2} {
		got, err := Tensor{Name: "x", DType: d, Shape: []int{256}, Data: every}.Float32()
		if err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			want := math.Float32frombits(binary.LittleEndian.Uint32(goldens[d.String()][4*i:]))
			if math.Float32bits(v) != math.Float32bits(want) && (v == v || want == want) {
				t.Errorf("%s %02x is %g, want %g", d, i, v, want)
			}
		}
	}
}

// TestMXOfTransformers compares MXFP4 in the layout of the hub, with its largest and its
// smallest exponents, with transformers.
func TestMXOfTransformers(t *testing.T) {
	raw := make([]byte, 2*3*4*17)
	x := uint32(99)
	for i := range raw {
		x = x*1664525 + 1013904223
		raw[i] = byte(x >> 24)
	}
	blocks := Tensor{Name: "blocks", DType: U8, Shape: []int{2, 3, 4, 16}, Data: raw[:2*3*4*16]}
	exponents := Tensor{Name: "scales", DType: U8, Shape: []int{2, 3, 4}, Data: raw[2*3*4*16:]}
	w, err := MX("w", blocks, exponents)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(w.Shape, []int{2, 3, 128}) {
		t.Fatalf("shape %v", w.Shape)
	}
	plain, err := w.Plain()
	if err != nil {
		t.Fatal(err)
	}
	want := codedGoldens(t)["MXFP4"]
	for i := 0; i < len(want); i += 2 {
		got := binary.LittleEndian.Uint16(plain.Data[i:])
		if w := binary.LittleEndian.Uint16(want[i:]); got != w {
			t.Fatalf("element %d, of exponent %d, is %g, want %g", i/2, exponents.Data[i/64], BF16ToF32(got), BF16ToF32(w))
		}
	}
	second, err := w.Slice(3, 6)
	if err != nil {
		t.Fatal(err)
	}
	part, err := second.Plain()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(part.Data, plain.Data[len(plain.Data)/2:]) {
		t.Error("the second matrix of a stack is not its second half")
	}
	if _, err := MX("w", blocks, blocks); err == nil {
		t.Error("exponents of another shape were taken")
	}
}

// TestBlocksAtTheEdge checks that the last block of a matrix may be smaller, as in the
// weights of DeepSeek: a matrix [5, 7] in blocks [2, 4] has scales [3, 2].
func TestBlocksAtTheEdge(t *testing.T) {
	codes := Tensor{Name: "w", DType: I8, Shape: []int{5, 7}, Data: bytes.Repeat([]byte{2}, 35)}
	scales := FromFloat32("s", []float32{1, 2, 3, 4, 5, 6}, 3, 2)
	w, err := Scaled("test", codes, scales, nil, Block{2, 4})
	if err != nil {
		t.Fatal(err)
	}
	got, err := w.Float32()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		for x := range 7 {
			if want := float32(2 * (1 + i/2*2 + x/4)); got[i*7+x] != want {
				t.Errorf("element [%d, %d] is %g, want %g", i, x, got[i*7+x], want)
			}
		}
	}
	if _, err := Scaled("test", codes, scales, nil, Block{4, 4}); err == nil {
		t.Error("scales [3, 2] were taken for blocks [4, 4] of a matrix [5, 7]")
	}
	if w.StoredBytes() != 35+24 {
		t.Errorf("%d bytes in the file, want 59", w.StoredBytes())
	}
}

// TestMisshapenPartsAreRefused checks that codes, scales and zero points whose shapes do
// not fit each other are errors and not accesses out of range.
func TestMisshapenPartsAreRefused(t *testing.T) {
	words := func(name string, shape ...int) Tensor {
		return FromInt32(name, make([]int32, Tensor{Shape: shape}.Elements()), shape...)
	}
	floats := func(name string, shape ...int) Tensor {
		return FromFloat32(name, make([]float32, Tensor{Shape: shape}.Elements()), shape...)
	}
	far := FromInt32("g_idx", []int32{0, 0, 0, 0, 0, 0, 0, 9}, 8)
	short := words("g_idx", 7)
	zeros := words("zeros", 2, 2)
	for i, make := range []func() (Tensor, error){
		func() (Tensor, error) {
			return (&GPTQ{Codes: words("q", 1, 8), Zeros: words("z", 1, 2), Scales: floats("s", 1, 8), Bits: 4}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&GPTQ{Codes: words("q", 1, 8), Zeros: words("z", 1, 1), Scales: floats("s", 1, 7), Bits: 4}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&GPTQ{Codes: words("q", 1, 8), Zeros: words("z", 1, 1), Scales: floats("s", 1, 8), Bits: 4, Groups: &far}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&GPTQ{Codes: words("q", 1, 8), Zeros: words("z", 1, 1), Scales: floats("s", 1, 8), Bits: 4, Groups: &short}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&GPTQ{Codes: words("q", 1, 8), Zeros: words("z", 3, 1), Scales: floats("s", 3, 8), Bits: 4}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&AWQ{Codes: words("q", 8, 1), Zeros: &zeros, Scales: floats("s", 2, 8)}).Tensor("w")
		},
		func() (Tensor, error) { return (&AWQ{Codes: words("q", 8, 1), Scales: floats("s", 3, 8)}).Tensor("w") },
		func() (Tensor, error) {
			return (&PackedRows{Codes: words("q", 8, 1), Scales: floats("s", 8, 1), Bits: 4, In: 9}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&PackedRows{Codes: words("q", 8, 1), Scales: floats("s", 7, 1), Bits: 4}).Tensor("w")
		},
		func() (Tensor, error) {
			return (&PackedRows{Codes: words("q", 8, 1), Scales: floats("s", 8, 1), Zeros: &zeros, Bits: 4}).Tensor("w")
		},
		func() (Tensor, error) { return Int8Rows(words("q", 8, 1), floats("s", 8)) },
		func() (Tensor, error) {
			return (&NF4{Codes: words("q", 8), Values: floats("v", 16), Scales: floats("s", 2), Block: 64, Round: F32, Shape: []int{8, 8}}).Tensor("w")
		},
	} {
		if w, err := make(); err == nil {
			t.Errorf("case %d: a weight %v was made", i, w.Shape)
		}
	}
}
