package dumps_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// closeTo reports whether two lists agree within most.
func closeTo(a, b []float32, most float64) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Abs(float64(x)-float64(y)) <= most })
}

// TestShapes writes models of every kind of layer in both stores and reads everything
// back.
func TestShapes(t *testing.T) {
	for _, name := range dumpstest.KindNames() {
		for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
			for _, precision := range dumps.Precisions() {
				t.Run(fmt.Sprintf("%s/%s/%s", name, store, precision), func(t *testing.T) {
					checkShapes(t, dumpstest.Kinds()[name], store, precision)
				})
			}
		}
	}
}

func checkShapes(t *testing.T, shapes []dumps.LayerShape, store dumps.Store, precision dumps.Precision) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Shapes(t, path, shapes, store, precision, "a", "b")
	whole, err := dumps.Verify(context.Background(), path, nil, func(p dumps.Problem) { t.Error(p) })
	if err != nil || !whole {
		t.Fatalf("verify: %t, %v", whole, err)
	}
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if h := r.Header(); h.Version != 2 || len(r.Warnings()) > 0 || len(r.Prompts()) != 2 {
		t.Fatalf("version %d, warnings %q, %d prompts", h.Version, r.Warnings(), len(r.Prompts()))
	}
	bound := map[dumps.Precision]float64{dumps.Exact: 1e-6, dumps.Fine: 6e-4, dumps.Coarse: 3e-3}[precision]
	for _, a := range dumpstest.ShapedLayers(shapes, rand.New(rand.NewPCG(2, 2))) { // of the second prompt
		if a != nil {
			checkLayer(t, r, a, bound)
		}
	}
	for l, s := range shapes {
		if s.HasAttention() {
			continue
		}
		if _, err := r.Weights(0, l, dumps.Prefill); !errors.Is(err, dumps.ErrAbsent) || !strings.Contains(err.Error(), "no attention") {
			t.Errorf("layer %d without attention: %v, want ErrAbsent with the reason", l, err)
		}
	}
}

// checkLayer compares a layer of prompt 1 with what was written.
func checkLayer(t *testing.T, r *dumps.Reader, a *dumpstest.ShapedLayer, bound float64) {
	const all = dumpstest.Prompt + dumpstest.Reply
	l, err := r.LayerOf(1, a.Layer)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Release()
	s := &a.Shape
	for _, phase := range dumps.Phases {
		rows, keys, pos := r.Prompts()[1].Shape(phase)
		got, err := r.Weights(1, a.Layer, phase)
		if err != nil {
			t.Fatal(err)
		}
		if got.Heads != s.Heads {
			t.Fatalf("layer %d: %d heads, want %d", a.Layer, got.Heads, s.Heads)
		}
		for h := range s.Heads {
			var want []float32
			for i := range rows {
				want = append(want, a.Weights[(h*all+pos+i)*all:][:keys]...)
			}
			if !closeTo(got.Head(h), want, bound) {
				t.Errorf("layer %d, head %d, %s: other weights", a.Layer, h, phase)
			}
			single := make([]float32, rows*keys)
			if err := l.Rows(single, phase, h, 0, rows); err != nil || !slices.Equal(single, got.Head(h)) {
				t.Errorf("layer %d, head %d, %s: LayerReader gives other weights (%v)", a.Layer, h, phase, err)
			}
		}
	}
	checkSinks(t, r, a)
	if sums, err := r.Sums(1, a.Layer); err != nil || !closeTo(sums, a.Sums(0, dumpstest.Prompt), 1e-3) {
		t.Errorf("layer %d: other sums (%v)", a.Layer, err)
	}
	values, err := r.Values(1, a.Layer)
	if err != nil || !closeTo(values, a.Values, 0.05) {
		t.Errorf("layer %d: other values (%v)", a.Layer, err)
	}
	if r.Header().Plan.Store == dumps.StoreRows {
		return
	}
	states, err := r.States(1, a.Layer)
	if err != nil || !closeTo(states.Keys, a.Keys, 0.01) || !slices.Equal(states.Values, values) {
		t.Errorf("layer %d: other keys or values (%v)", a.Layer, err)
	}
	if _, keys := l.States(); !slices.Equal(keys, states.Keys) {
		t.Errorf("layer %d: LayerReader gives other keys", a.Layer)
	}
}

// checkSinks compares the shares of the sinks with what was written.
func checkSinks(t *testing.T, r *dumps.Reader, a *dumpstest.ShapedLayer) {
	for _, phase := range dumps.Phases {
		rows, _, pos := r.Prompts()[1].Shape(phase)
		got, err := r.Sinks(1, a.Layer, phase)
		if err != nil {
			t.Fatal(err)
		}
		if !a.Shape.Sink {
			if got != nil {
				t.Errorf("layer %d without sinks has their shares", a.Layer)
			}
			continue
		}
		if !slices.Equal(got, a.SinkRows(pos, rows)) {
			t.Errorf("layer %d, %s: other shares of sinks", a.Layer, phase)
		}
	}
	all, windows, err := r.SinkSums(1, a.Layer)
	if err != nil {
		t.Fatal(err)
	}
	if !a.Shape.Sink {
		return
	}
	want := a.SinkSums()
	for h := range a.Shape.Heads {
		got := append([]float32{all[h]}, windows[h*dumpstest.Windows:(h+1)*dumpstest.Windows]...)
		if !slices.Equal(got, want[h*(1+dumpstest.Windows):(h+1)*(1+dumpstest.Windows)]) {
			t.Errorf("layer %d, head %d: sums of sinks %v", a.Layer, h, got)
		}
	}
}

// TestVerifySinks: weights that do not leave the share of the sink, and sums of sinks
// that do not add up, are problems.
func TestVerifySinks(t *testing.T) {
	shapes := dumpstest.Kinds()["sinks"]
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := filepath.Join(t.TempDir(), "x.attn")
		w, err := dumps.Create(path, dumpstest.ShapesHeader(shapes, store, dumps.Fine), dumps.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		dumpstest.AddWrongSinks(t, w, "p", shapes, store)
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		var problems []string
		whole, err := dumps.Verify(context.Background(), path, nil, func(p dumps.Problem) { problems = append(problems, p.String()) })
		text := strings.Join(problems, "; ")
		wants := []string{`layer 1: head 3, prompt row 0 sums to `, " with its sink", `layer 0: sums over all queries: row 0 adds up to`}
		if store == dumps.StoreFactors {
			wants[0] = `layer 1: head 3, prompt row 0: log-sum-exp`
			wants[1] = ""
		}
		for _, want := range wants {
			if err != nil || whole || !strings.Contains(text, want) {
				t.Errorf("%s: %t, %v, problems %s, want %q", store, whole, err, text, want)
			}
		}
	}
}

// TestSharedCacheIsStoredOnce: keys and values are in the file once for each cache, and
// writing those of a layer that reads another one's is an error.
func TestSharedCacheIsStoredOnce(t *testing.T) {
	shapes := dumpstest.Kinds()["shared"]
	apart := slices.Clone(shapes)
	for l := range apart {
		apart[l].CacheOf = l
	}
	apart[0].Scale *= 2 // so that it is of version 2 as well
	path := filepath.Join(t.TempDir(), "x.attn")
	w, err := dumps.Create(path, dumpstest.ShapesHeader(shapes, dumps.StoreFactors, dumps.Exact), dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pw, err := w.Begin(dumps.Prompt{ID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	want := "layer 3, which reads the cache of layer 1"
	if err := pw.Keys(3, 0, 1, make([]float32, 16)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("keys of layer 3: %v, want %q", err, want)
	}
	if err := pw.Values(3, 0, 1, make([]float32, 16)); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("values of layer 3: %v, want %q", err, want)
	}
	_ = w.Abort()
	var once, each dumps.ModelInfo
	once.SetLayers(shapes)
	each.SetLayers(apart)
	plan := dumpstest.ShapesHeader(shapes, dumps.StoreFactors, dumps.Exact).Plan
	rows1, factors1 := plan.StoreBytes(&once, 1000, 10)
	rows2, factors2 := plan.StoreBytes(&each, 1000, 10)
	entry := int64(1010 * dumpstest.KVHeads * dumpstest.Dim * 30 / 8) // of keys or of values in one layer
	if rows2-rows1 != 2*entry || factors2-factors1 != 4*entry {
		t.Errorf("sharing two caches saves %d bytes with rows and %d with factors, want %d and %d",
			rows2-rows1, factors2-factors1, 2*entry, 4*entry)
	}
}

// TestLayersWithoutAttention: a plan with a layer without attention is refused.
func TestLayersWithoutAttention(t *testing.T) {
	h := dumpstest.ShapesHeader(dumpstest.Kinds()["hybrid"], dumps.StoreRows, dumps.Exact)
	h.Plan.Layers = []int{0, 1}
	_, err := dumps.Create(filepath.Join(t.TempDir(), "x.attn"), h, dumps.CreateOptions{})
	if want := "layer 0 has no attention (its kind is linear)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestMergeAndRepairShapes: dumps of version 2 are merged and repaired as others are, and
// dumps of other layers are not merged.
func TestMergeAndRepairShapes(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	for _, name := range dumpstest.KindNames() {
		shapes := dumpstest.Kinds()[name]
		a, b, both := filepath.Join(dir, "a.attn"), filepath.Join(dir, "b.attn"), filepath.Join(dir, "ab.attn")
		dumpstest.Shapes(t, a, shapes, dumps.StoreFactors, dumps.Fine, "a")
		dumpstest.Shapes(t, b, shapes, dumps.StoreFactors, dumps.Fine, "b")
		if err := dumps.Merge(ctx, both, []string{a, b}, dumps.MergeOptions{Force: true}); err != nil {
			t.Fatal(err)
		}
		whole, err := dumps.Verify(ctx, both, nil, func(p dumps.Problem) { t.Error(p) })
		if err != nil || !whole {
			t.Errorf("%s: merged: %t, %v", name, whole, err)
		}
		r, err := dumps.Open(both)
		if err != nil || r.Header().Version != 2 || len(r.Prompts()) != 2 {
			t.Fatalf("%s: %v", name, err)
		}
		r.Close()
		other := slices.Clone(shapes)
		other[1].Scale *= 3
		dumpstest.Shapes(t, b, other, dumps.StoreFactors, dumps.Fine, "b")
		err = dumps.Merge(ctx, both, []string{a, b}, dumps.MergeOptions{Force: true})
		if err == nil || !strings.Contains(err.Error(), "layer_shapes") && !strings.Contains(err.Error(), "scale") {
			t.Errorf("%s: merged with other scales: %v", name, err)
		}
	}
}
