package dumps

import (
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
)

// TestHalvesAreWeightsRounded: rows that are given as half floats are read as the same
// numbers as rows that the writer rounds itself.
func TestHalvesAreWeightsRounded(t *testing.T) {
	const rows, keys, stride = 3, 40, 44
	rng := rand.New(rand.NewPCG(4, 4))
	w := make([]float32, rows*keys)
	for i := range w {
		w[i] = float32(math.Exp(-20 * rng.Float64()))
	}
	copy(w, []float32{0, 1, 0.5, 0x1p-14, 0x1p-24, 0x1p-25, 0x1.002p-3, 0x1.01p-3, 0x1.03p-3}) // borders and ties
	for _, precision := range []Precision{Fine, Coarse} {
		path := filepath.Join(t.TempDir(), "x.attn")
		f, err := Create(path, &Header{
			Model: ModelInfo{Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 4, ValueDim: 4},
			Plan:  Plan{WindowRows: rows, Layers: []int{0}, Heads: []int{0, 1}, Precision: precision},
		}, CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := Prompt{ID: "p", PromptTokens: keys, WindowRows: rows, Store: StoreRows, Tokens: make([]int32, keys)}
		pw, err := f.Begin(p)
		if err != nil {
			t.Fatal(err)
		}
		planes := planesF16(w, precision.Rounding())
		halves := make([]uint16, rows*stride)
		for i := range w {
			halves[i/keys*stride+i%keys] = uint16(planes[i]) | uint16(planes[len(w)+i])<<8
		}
		for _, err := range []error{
			pw.Rows(Rows{
				Layer: 0, Head: 0, Phase: Prefill,
				Rows: rows, Keys: keys,
				Weights: w,
			}),
			pw.Rows(Rows{
				Layer: 0, Head: 1, Phase: Prefill,
				Rows: rows, Keys: keys, Stride: stride,
				Halves: halves,
			}),
			pw.Finish(p),
			f.Close(),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
		r, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := r.Weights(0, 0, Prefill)
		if err != nil {
			t.Fatal(err)
		}
		for i := range w {
			if a, b := got.Data[i], got.Data[len(w)+i]; a != b || math.Abs(float64(a-w[i])) > 3e-3 {
				t.Fatalf("%s: weight %d, %g, is read as %g, and as %g from halves", precision, i, w[i], a, b)
			}
		}
	}
}

// TestHalvesInAnExactDump: a dump that keeps float32 refuses half floats.
func TestHalvesInAnExactDump(t *testing.T) {
	f, err := Create(filepath.Join(t.TempDir(), "x.attn"), &Header{Plan: Plan{Precision: Exact}}, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Abort()
	pw, err := f.Begin(Prompt{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if err := pw.Rows(Rows{
		Layer: 0, Head: 0, Phase: Prefill,
		Rows: 1, Keys: 1,
		Halves: []uint16{0},
	}); err == nil || !strings.Contains(err.Error(), "float32") {
		t.Errorf("%v, want that the dump keeps float32", err)
	}
}
