package export

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestLongTables: the same cells in CSV and Parquet, each the reader's weight.
func TestLongTables(t *testing.T) {
	dir := t.TempDir()
	dump := filepath.Join(dir, "x.attn")
	dumpstest.Random(t, dump, "rows", "exact", rand.New(rand.NewPCG(1, 1)))
	r, err := dumps.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	o := Options{Layer: -1, MinWeight: 0.02}
	for _, name := range []string{"w.csv", "w.parquet"} {
		if err := Write(t.Context(), filepath.Join(dir, name), r, o); err != nil {
			t.Fatal(err)
		}
	}
	var steps [][2]int
	o.Progress = func(done, total int) { steps = append(steps, [2]int{done, total}) }
	for _, name := range []string{"a.npz", "w.csv"} {
		if err := Write(t.Context(), filepath.Join(dir, name), r, o); err != nil {
			t.Fatal(err)
		}
	}
	if want := [][2]int{{1, 2}, {2, 2}, {1, 2}, {2, 2}}; !slices.Equal(steps, want) {
		t.Errorf("progress %v, want %v", steps, want)
	}
	rows, err := parquet.ReadFile[cell](filepath.Join(dir, "w.parquet"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "w.csv"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")[1:]
	want := 0
	for _, layer := range []int{0, 1} {
		for ph, name := range []string{"prompt", "generation"} {
			a, err := r.Weights(0, layer, dumps.Phase(ph))
			if err != nil {
				t.Fatal(err)
			}
			for i, v := range a.Data {
				if v <= 0.02 {
					continue
				}
				c := cell{int32(layer), int32(i / (a.Rows * a.Keys)), name, int32(i / a.Keys % a.Rows), int32(i % a.Keys), v}
				if want < len(rows) && rows[want] != c {
					t.Fatalf("row %d is %+v, want %+v", want, rows[want], c)
				}
				f := strings.Split(lines[want], ",")
				if w, err := strconv.ParseFloat(f[5], 32); err != nil || float32(w) != v || f[4] != strconv.Itoa(int(c.Key)) {
					t.Fatalf("line %d is %q, want %+v", want, lines[want], c)
				}
				want++
			}
		}
	}
	if len(rows) != want || len(lines) != want {
		t.Errorf("%d rows in Parquet, %d in CSV, want %d", len(rows), len(lines), want)
	}
}

// TestCanceled: an export that is canceled ends with the error of its context and leaves
// no file.
func TestCanceled(t *testing.T) {
	dir := t.TempDir()
	dump := filepath.Join(dir, "x.attn")
	dumpstest.Random(t, dump, "rows", "exact", rand.New(rand.NewPCG(1, 1)))
	r, err := dumps.Open(dump)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, ext := range Extensions {
		ctx, cancel := context.WithCancel(t.Context())
		// The first layer is exported, the second is not.
		o := Options{Layer: -1, Progress: func(int, int) { cancel() }}
		if err := Write(ctx, filepath.Join(dir, "out"+ext), r, o); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: error %v, want that of the context", ext, err)
		}
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("files %v, %v, want only the dump", files, err)
	}
}

// TestArraysOfEveryKindOfLayer: arrays have the heads and dimensions of their layer, and
// cells the ids of its heads.
func TestArraysOfEveryKindOfLayer(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		path := filepath.Join(t.TempDir(), "x.attn")
		shapes := dumpstest.Kinds()[kind]
		dumpstest.Shapes(t, path, shapes, dumps.StoreFactors, dumps.Exact, "p")
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		list, err := Arrays(t.Context(), r, Options{Layer: -1})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string][]int{}
		for _, a := range list {
			got[a.Name] = a.Shape
		}
		const n = dumpstest.Prompt + dumpstest.Reply
		for l, s := range shapes {
			suffix := "." + strconv.Itoa(l)
			if !s.HasAttention() {
				if got["prompt_rows"+suffix] != nil {
					t.Errorf("%s: layer %d has rows but no attention", kind, l)
				}
				continue
			}
			want := map[string][]int{
				"prompt_rows":  {s.Heads, dumpstest.Rows, dumpstest.Prompt},
				"query_states": {s.Heads, dumpstest.Rows, s.KeyDim},
				"key_states":   {s.KVHeads, n, s.KeyDim},
				"value_states": {s.KVHeads, n, s.ValueDim},
			}
			if s.Sink {
				want["generation_sinks"] = []int{s.Heads, dumpstest.Reply}
			}
			for name, shape := range want {
				if !slices.Equal(got[name+suffix], shape) {
					t.Errorf("%s: %s%s has shape %v, want %v", kind, name, suffix, got[name+suffix], shape)
				}
			}
		}
	}
}
