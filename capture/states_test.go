package capture

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// TestPromptsWithStates records a set with models with layers without attention, whose
// states are kept where a document ends: the bytes of each prompt do not depend on the
// batch, and prompts that share a document have the rows of prompts that share nothing.
func TestPromptsWithStates(t *testing.T) {
	for _, name := range []string{"qwen3_next", "lfm2"} {
		t.Run(name, func(t *testing.T) {
			cfg := mixedOf(t, "../engine/model/testdata/"+name)
			cfg.Header.Plan.Temperature = 0
			cfg.Header.Plan.Precision = dumps.Exact
			dir := t.TempDir()
			cfg.Out = filepath.Join(dir, "shared.attn")
			want := inOrder(t, cfg)
			for _, n := range []int{2, 4} {
				cfg.Batch = n
				cfg.Out = filepath.Join(dir, fmt.Sprint("batch", n, ".attn"))
				if !bytes.Equal(inOrder(t, cfg), want) {
					t.Errorf("batch %d: the prompts differ from those of batch 1", n)
				}
			}
			for i := range cfg.Prompts {
				cfg.Prompts[i].Document = ""
			}
			cfg.Out = filepath.Join(dir, "apart.attn")
			inOrder(t, cfg)
			sameRows(t, filepath.Join(dir, "shared.attn"), cfg.Out)
		})
	}
}

// sameRows compares all rows of two dumps of the same prompts.
func sameRows(t *testing.T, path, other string) {
	t.Helper()
	a, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := dumps.Open(other)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	for i := range a.Prompts() {
		for _, layer := range a.Header().Plan.Layers {
			for _, ph := range dumps.Phases {
				got, err := a.Weights(i, layer, ph)
				if err != nil {
					t.Fatal(err)
				}
				want, err := b.Weights(i, layer, ph)
				if err != nil || len(got.Data) != len(want.Data) {
					t.Fatalf("prompt %d, layer %d, %s: %d weights, want %d (%v)", i, layer, ph, len(got.Data), len(want.Data), err)
				}
				for j, v := range got.Data {
					if math.Abs(float64(v-want.Data[j])) > 1e-5 {
						t.Fatalf("prompt %d, layer %d, %s, weight %d: %g, want %g", i, layer, ph, j, v, want.Data[j])
					}
				}
			}
		}
	}
}
