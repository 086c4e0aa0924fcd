package dumps

import (
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
)

// TestKeysLater: keys that the writer reads later are the same as keys that it gets at
// once, and Settle returns when they have been read.
func TestKeysLater(t *testing.T) {
	const layers, tokens, dim = 2, 20, 4
	h := faultHeader()
	h.Plan.Store = StoreFactors
	h.Plan.NoPromptSums = true
	keys := make([]float32, tokens*dim)
	for i := range keys {
		keys[i] = float32(i%7) / 8
	}
	path := filepath.Join(t.TempDir(), "x.attn")
	w, err := Create(path, h, CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := Prompt{ID: "p", PromptTokens: tokens, WindowRows: 3, Store: StoreFactors, Tokens: make([]int32, tokens)}
	pw, err := w.Begin(p)
	if err != nil {
		t.Fatal(err)
	}
	for layer := range layers {
		if err := pw.Queries(layer, Prefill, 0, 3, make([]float32, 3*2*dim), make([]float32, 2*3)); err != nil {
			t.Fatal(err)
		}
	}
	var read atomic.Bool
	later := func() []float32 {
		read.Store(true)
		return keys
	}
	if err := pw.KeysLater(0, 0, tokens, later); err != nil {
		t.Fatal(err)
	}
	if err := pw.Keys(1, 0, tokens, keys); err != nil {
		t.Fatal(err)
	}
	pw.Settle()
	if !read.Load() {
		t.Error("Settle returned before the keys were read")
	}
	for _, err := range []error{pw.Finish(p), w.Close()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if r.Path() != path {
		t.Errorf("the reader names %s, want %s", r.Path(), path)
	}
	for layer := range layers {
		s, err := r.States(0, layer)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.Keys, keys) {
			t.Errorf("layer %d: the keys are %v, want %v", layer, s.Keys, keys)
		}
	}
}
