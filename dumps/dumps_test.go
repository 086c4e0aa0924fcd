package dumps_test

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

func random(t *testing.T, store dumps.Store, precision dumps.Precision) string {
	path := filepath.Join(t.TempDir(), fmt.Sprintf("%s-%s.attn", store, precision))
	dumpstest.Random(t, path, store, precision, rand.New(rand.NewPCG(7, 7)))
	return path
}

func open(t *testing.T, path string) *dumps.Reader {
	t.Helper()
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestPrecisionBounds holds the promise of Precision.Bound: it compares both forms with
// exact rows, which hold the attention that dumpstest computes in float64.
func TestPrecisionBounds(t *testing.T) {
	bound := map[dumps.Precision]func(w float64) float64{
		dumps.Exact:  func(float64) float64 { return 1e-6 },
		dumps.Fine:   func(w float64) float64 { return 1e-4 + 5e-4*w },
		dumps.Coarse: func(float64) float64 { return 3e-3 },
	}
	want := open(t, random(t, "rows", "exact"))
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		for precision, limit := range bound {
			got := open(t, random(t, store, precision))
			for layer := range dumpstest.Layers {
				for _, ph := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
					a, err := want.Weights(0, layer, ph)
					if err != nil {
						t.Fatal(err)
					}
					b, err := got.Weights(0, layer, ph)
					if err != nil {
						t.Fatal(err)
					}
					for i := range a.Data {
						if d := math.Abs(float64(a.Data[i]) - float64(b.Data[i])); d > limit(float64(a.Data[i])) {
							t.Fatalf("%s, %s, layer %d: weight %d is %g, want %g", store, precision, layer, i, b.Data[i], a.Data[i])
						}
					}
				}
			}
		}
	}
}

// TestVerifyFindsDamage flips bits at random: Verify finds each of them.
func TestVerifyFindsDamage(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := random(t, store, "fine")
		data, _ := os.ReadFile(path)
		if ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) { t.Errorf("a sound dump: %s", p) }); !ok || err != nil {
			t.Fatalf("a sound dump: %v, %v", ok, err)
		}
		r := rand.New(rand.NewPCG(3, 3))
		for range 1000 {
			bad := append([]byte(nil), data...)
			at := r.IntN(len(bad))
			bad[at] ^= 1 << r.IntN(8)
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				t.Fatal(err)
			}
			ok, err := dumps.Verify(t.Context(), path, nil, func(dumps.Problem) {})
			if ok && err == nil {
				t.Fatalf("%s: a flipped bit in byte %d of %d was not found", store, at, len(data))
			}
			if err != nil && !errors.Is(err, dumps.ErrCorrupt) && !strings.Contains(err.Error(), "version") {
				t.Fatalf("byte %d: %v does not wrap ErrCorrupt", at, err)
			}
		}
	}
}

// TestCutAnywhere cuts a dump of three prompts at every 97th byte: the complete prompts
// can be read and are unchanged.
func TestCutAnywhere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	w, err := dumps.Create(path, dumpstest.Header("rows", "fine"), dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for _, id := range []string{"a", "b", "c"} {
		dumpstest.Add(t, w, id, "rows", rng)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(path)
	whole, err := open(t, path).Weights(0, 1, dumps.Decode)
	if err != nil {
		t.Fatal(err)
	}
	last := 0
	for n := 0; n < len(data); n += 97 {
		cut := filepath.Join(t.TempDir(), "cut.attn")
		if err := os.WriteFile(cut, data[:n], 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := dumps.Open(cut)
		if err != nil {
			if !errors.Is(err, dumps.ErrCorrupt) || last > 0 {
				t.Fatalf("cut at %d: %v", n, err)
			}
			continue
		}
		if len(r.Prompts()) < last || r.Complete() || len(r.Warnings()) == 0 {
			t.Fatalf("cut at %d: %d prompts after %d, complete %v, warnings %v", n, len(r.Prompts()), last, r.Complete(), r.Warnings())
		}
		last = len(r.Prompts())
		if last > 0 {
			a, err := r.Weights(0, 1, dumps.Decode)
			if err != nil || a.Data[3] != whole.Data[3] {
				t.Fatalf("cut at %d: %v", n, err)
			}
		}
		r.Close()
	}
	if last != 3 {
		t.Errorf("with only the index cut, %d prompts are read, want 3", last)
	}
}

// TestResumeAndMismatch: an aborted dump is resumed only with the same plan, and a
// complete one not at all.
func TestResumeAndMismatch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	h := dumpstest.Header("rows", "fine")
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	dumpstest.Add(t, w, "a", "rows", rand.New(rand.NewPCG(1, 1)))
	if _, err := w.Begin(dumps.Prompt{ID: "b"}); err != nil {
		t.Fatal(err)
	}
	if err := w.Abort(); err != nil {
		t.Fatal(err)
	}
	other := dumpstest.Header("rows", "coarse")
	if _, err := dumps.Create(path, other, dumps.CreateOptions{Resume: true}); err == nil || !strings.Contains(err.Error(), "precision") {
		t.Fatalf("resumed with another precision: %v", err)
	}
	if w, err = dumps.Create(path, dumpstest.Header("rows", "fine"), dumps.CreateOptions{Resume: true}); err != nil {
		t.Fatal(err)
	}
	if !w.Done("a") || w.Done("b") {
		t.Errorf("done a %v, b %v: want true, false", w.Done("a"), w.Done("b"))
	}
	dumpstest.Add(t, w, "b", "rows", rand.New(rand.NewPCG(2, 2)))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if r := open(t, path); len(r.Prompts()) != 2 || !r.Complete() {
		t.Errorf("%d prompts, complete %v", len(r.Prompts()), r.Complete())
	}
	if _, err := dumps.Create(path, dumpstest.Header("rows", "fine"), dumps.CreateOptions{Resume: true}); !errors.Is(err, dumps.ErrComplete) {
		t.Errorf("resuming a complete dump: %v, want ErrComplete", err)
	}
}

// TestMerge: a merged dump is sound and holds the weights of its parts; a prompt may not
// be in two of them.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	var parts []string
	for i, id := range []string{"a", "b"} {
		path := filepath.Join(dir, id+".attn")
		w, err := dumps.Create(path, dumpstest.Header("factors", "fine"), dumps.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dumpstest.Add(t, w, id, "factors", rand.New(rand.NewPCG(uint64(i), 5)))
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		parts = append(parts, path)
	}
	out := filepath.Join(dir, "all.attn")
	if err := dumps.Merge(t.Context(), out, parts, dumps.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	if ok, err := dumps.Verify(t.Context(), out, nil, func(p dumps.Problem) { t.Error(p) }); !ok || err != nil {
		t.Fatalf("%v %v", ok, err)
	}
	a, err := open(t, out).Weights(1, 0, dumps.Prefill)
	if err != nil {
		t.Fatal(err)
	}
	b, err := open(t, parts[1]).Weights(0, 0, dumps.Prefill)
	if err != nil {
		t.Fatal(err)
	}
	for i := range a.Data {
		if a.Data[i] != b.Data[i] {
			t.Fatalf("weight %d: %g, want %g", i, a.Data[i], b.Data[i])
		}
	}
	if err := dumps.Merge(t.Context(), filepath.Join(dir, "twice.attn"), []string{parts[0], parts[0]}, dumps.MergeOptions{}); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("merging a dump with itself: %v, want an error that names the prompt", err)
	}
}
