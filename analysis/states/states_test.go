package states

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/snapkv"
)

type goldenFile struct {
	File  string
	Cases []struct {
		Case             string
		Window, Capacity int
		Kernel           int
		Pooling          snapkv.Pooling
		Passthrough      bool
		Tie              bool `json:"tie_at_cut"`
	}
}

// TestPublishedUpdateKV compares selections with those of the published update_kv, on
// states of several dtypes. Two of the files are in testdata/published.
func TestPublishedUpdateKV(t *testing.T) {
	t.Run("committed", func(t *testing.T) { compareWithPublished(t, "testdata/published", 9) })
	t.Run("shared", func(t *testing.T) { compareWithPublished(t, sharedtest.Dir(t, "fixtures/snapkv"), 30) })
}

// compareWithPublished runs the cases of a folder, which are at least least.
func compareWithPublished(t *testing.T, dir string, least int) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "cases.json"))
	if err != nil {
		t.Fatal(err)
	}
	var files []goldenFile
	if err := json.Unmarshal(text, &files); err != nil {
		t.Fatal(err)
	}
	ran, groups := 0, 0
	for _, g := range files {
		f, err := checkpoint.ReadSafetensors(filepath.Join(dir, g.File))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		get := func(name, as string) tensor.Tensor {
			x, _ := f.Tensor(name)
			return named(x, as)
		}
		in := filepath.Join(t.TempDir(), "in.safetensors")
		inputs := []tensor.Tensor{get("k", "key_states"), get("v", "value_states"), get("q_win", "query_states")}
		if err := checkpoint.WriteSafetensors(in, inputs, nil); err != nil {
			t.Fatal(err)
		}
		for _, c := range g.Cases {
			ran++
			cfg := snapkv.Config{Window: c.Window, Capacity: c.Capacity, Kernel: c.Kernel, Pooling: c.Pooling, Group: "head"}
			where := g.File + " " + c.Case
			out := compress(t, in, cfg)
			if c.Passthrough {
				k, _ := out.Tensor("key_states")
				want, _ := f.Tensor("k")
				_, selected := out.Tensor("indices")
				if selected || out.Metadata["passthrough"] != "true" || !bytes.Equal(k.Data, want.Data) {
					t.Errorf("%s: does not pass through", where)
				}
				continue
			}
			checkIndices(t, where, out, f, c.Case, c.Tie)
			for _, part := range [][2]string{{"key_states", c.Case + ".k_out"}, {"value_states", c.Case + ".v_out"}} {
				want, ok := f.Tensor(part[1])
				if got, _ := out.Tensor(part[0]); ok && !bytes.Equal(got.Data, want.Data) {
					t.Errorf("%s: %s is not what the reference gathers", where, part[0])
				}
			}
			if want, ok := f.Tensor(c.Case + ".group_mean_indices_sorted"); ok {
				groups++
				cfg.Group = "mean"
				x, _ := compress(t, in, cfg).Tensor("indices")
				got, _ := x.Int32()
				if w, _ := want.Int32(); !slices.Equal(got, w) {
					t.Errorf("%s: by group mean: %v, want %v", where, got, w)
				}
			}
		}
	}
	if ran < least || groups == 0 {
		t.Errorf("%d cases and %d of groups ran", ran, groups)
	}
}

func compress(t *testing.T, in string, c snapkv.Config) *checkpoint.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "out.safetensors")
	if err := Compress(in, path, c); err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func checkIndices(t *testing.T, where string, out, f *checkpoint.File, name string, tie bool) {
	t.Helper()
	x, _ := out.Tensor("indices")
	got, _ := x.Int32()
	if !tie {
		w, _ := f.Tensor(name + ".indices_sorted")
		if want, _ := w.Int32(); !slices.Equal(got, want) {
			t.Errorf("%s: positions %v, want %v", where, got, want)
		}
		return
	}
	must, _ := f.Tensor(name + ".must")
	may, _ := f.Tensor(name + ".may")
	heads, prefix, k := must.Shape[0], must.Shape[1], x.Shape[1]
	for h := range heads {
		kept := make([]bool, prefix)
		for _, j := range got[h*k : (h+1)*k] {
			kept[j] = true
		}
		for j := range prefix {
			if must.Data[h*prefix+j] == 1 && !kept[j] || kept[j] && must.Data[h*prefix+j] == 0 && may.Data[h*prefix+j] == 0 {
				t.Errorf("%s: head %d, position %d: kept %v", where, h, j, kept[j])
			}
		}
	}
}
