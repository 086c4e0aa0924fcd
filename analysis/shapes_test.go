package analysis

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

// kindDump writes a dump of a kind of layers with two prompts and opens it.
func kindDump(t *testing.T, kind string) *dumps.Reader {
	t.Helper()
	path := filepath.Join(t.TempDir(), kind+".attn")
	dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], dumps.StoreFactors, dumps.Exact, "a", "b")
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func kindConfig(h *dumps.Header, group snapkv.Group) snapkv.Config {
	c := snapkv.Config{Window: 8, Capacity: 16, Kernel: 3, Pooling: snapkv.AvgPool, Group: group}
	for l := range h.Model.Layers { // headkv: a score for each selection
		s := h.Model.Layer(l)
		n := s.Heads
		if group.Merges() || s.Latent || s.HasAttention() && h.Model.SharedCache(l) {
			n = s.KVHeads
		}
		c.HeadScores = append(c.HeadScores, slices.Repeat([]float64{1}, n))
	}
	return c
}

// TestMethodsOnEveryKindOfLayer is the contract of methods with layers of every kind:
// each method selects as many positions as its budget says, ascending and of the prefix,
// once per kv head where a cache is shared; or it says why it cannot.
func TestMethodsOnEveryKindOfLayer(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		r := kindDump(t, kind)
		h := r.Header()
		for _, group := range snapkv.Groups() {
			c := kindConfig(h, group)
			for _, m := range snapkv.Methods {
				t.Run(fmt.Sprintf("%s/%s/%s", kind, m.Name, group), func(t *testing.T) {
					keep, err := Indices(context.Background(), r, 0, m, c)
					if m.ShareHeads != nil && kind == "latent" {
						if want := "all heads read one cache entry"; err == nil || !strings.Contains(err.Error(), want) {
							t.Errorf("%v, want %q", err, want)
						}
						return
					}
					if m.Needs.AllQueries && err != nil && strings.Contains(err.Error(), "queries of the whole prompt") {
						return // the dump has the last rows
					}
					if err != nil {
						t.Fatal(err)
					}
					checkKept(t, h, &m, c, keep)
				})
			}
		}
	}
}

// checkKept checks a selection, [recorded layer][head or kv head].
func checkKept(t *testing.T, h *dumps.Header, m *snapkv.Method, c snapkv.Config, keep [][][]int32) {
	const prefix = dumpstest.Prompt - 8
	selected := 0
	lists := 0
	for i, layer := range h.Plan.Layers {
		s := h.Model.Layer(layer)
		want := s.Heads
		if c.Group.Merges() || s.Latent || h.Model.SharedCache(layer) {
			want = s.KVHeads
		}
		if len(keep[i]) != want {
			t.Fatalf("layer %d: %d selections, want %d", layer, len(keep[i]), want)
		}
		for _, list := range keep[i] {
			for x, j := range list {
				if j < 0 || j >= prefix || x > 0 && j <= list[x-1] {
					t.Fatalf("layer %d keeps %v, want ascending positions below %d", layer, list, prefix)
				}
			}
			if s.CacheOf == layer {
				lists++
				selected += len(list)
			}
		}
		if own := slices.Index(h.Plan.Layers, s.CacheOf); fmt.Sprint(keep[i]) != fmt.Sprint(keep[own]) {
			t.Errorf("layer %d keeps other positions than layer %d, whose cache it reads", layer, s.CacheOf)
		}
	}
	budget := float64(lists * c.Budget())
	if m.IgnoresCapacity {
		budget = float64(lists * prefix)
	}
	// Shares of layers are per head, and layers may have different numbers of selections.
	if got := float64(selected); m.ShareLayers == nil && m.Name != "duoattention" && math.Abs(got-budget) > float64(lists) {
		t.Errorf("%g positions in all caches, the budget is %g", got, budget)
	}
}

// TestTablesHaveSharesOfSinks: tables of a model with learned sinks have their mean share
// in the rated rows, those of other models lack the column.
func TestTablesHaveSharesOfSinks(t *testing.T) {
	const all = dumpstest.Prompt + dumpstest.Reply
	shapes := dumpstest.Kinds()["sinks"]
	cfg := Paper
	cfg.Windows = []int{8}
	cfg.By = []By{ByLayer, ByHead}
	for _, exact := range []bool{false, true} {
		cfg.Exact = exact
		path := kindDump(t, "sinks").Path()
		rows, _, err := HitRates(context.Background(), []string{path}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		methods, _, err := Methods(context.Background(), []string{path}, MethodConfig{
			Methods: snapkv.Methods[:1], By: cfg.By, Thetas: []float64{0.05},
			Configs: []snapkv.Config{{Window: 8, Capacity: 16, Kernel: 3, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}},
		})
		if err != nil {
			t.Fatal(err)
		}
		for i, row := range rows {
			want := [2]float64{} // by the rates, and by the methods
			for seed := range 2 {
				a := dumpstest.ShapedLayers(shapes, rand.New(rand.NewPCG(uint64(seed+1), 2)))[row.Layer]
				for w, from := range [2]int{dumpstest.Prompt, dumpstest.Prompt} {
					if exact && w == 0 {
						from--
					}
					shares := a.Sinks[row.Head*all:][from:all]
					for _, share := range shares {
						want[w] += float64(share) / float64(len(shares)) / 2
					}
				}
			}
			if math.Abs(row.Sink-want[0]) > 1e-6 || want[0] < 1e-3 {
				t.Errorf("layer %d, head %d: share %g, want %g", row.Layer, row.Head, row.Sink, want[0])
			}
			m := methods[i]
			if m.Layer != row.Layer || m.Head != row.Head || math.Abs(m.Sink-want[1]) > 1e-6 {
				t.Errorf("methods: layer %d, head %d: share %g, want %g", m.Layer, m.Head, m.Sink, want[1])
			}
		}
		if HitRateTable(rows).Column(SinkColumn) < 0 || MethodTable(methods).Column(SinkColumn) < 0 {
			t.Error("a table has no column of shares")
		}
	}
	other, _, err := HitRates(context.Background(), []string{kindDump(t, "shared").Path()}, cfg)
	if err != nil || HitRateTable(other).Column(SinkColumn) >= 0 || !math.IsNaN(other[0].Sink) {
		t.Errorf("a model without learned sinks has shares: %v", err)
	}
}

// TestOutputErrorsWithSinks writes the error of a head's output once more, for positions
// that are dropped from a layer with sinks: in the softmax over what is left, the sink
// keeps its score. The kept mass does not contain it.
func TestOutputErrorsWithSinks(t *testing.T) {
	const all, prompt, window, row = dumpstest.Prompt + dumpstest.Reply, dumpstest.Prompt, 8, 1
	r := kindDump(t, "sinks")
	l, err := ReadLayer(r, 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	a := dumpstest.ShapedLayers(dumpstest.Kinds()["sinks"], rand.New(rand.NewPCG(2, 2)))[0]
	e := (&methods{cfg: MethodConfig{Thetas: []float64{0.05}}}).newEvaluation(l)
	keep := []int32{3, 4, 11, 20}
	for h := range l.Heads {
		errs, _ := e.errors(h, keep, window)
		full, kept := make([]float64, l.ValueDim), make([]float64, l.ValueDim)
		pos := (h*all + prompt + row) * all
		total := float64(a.Sinks[h*all+prompt+row]) // of what is left
		mass := 0.0
		for j := range prompt + row + 1 {
			stays := j >= prompt-window || slices.Contains(keep, int32(j))
			w := float64(a.Weights[pos+j])
			if stays {
				total += w
			}
			if stays && j < prompt-window {
				mass += w
			}
			for d := range full {
				v := w * float64(a.Values[(j*l.KVHeads+h*l.KVHeads/l.Heads)*l.ValueDim+d])
				full[d] += v
				if stays {
					kept[d] += v
				}
			}
		}
		for d := range kept {
			kept[d] = full[d] - kept[d]/total
		}
		if want := length(kept, nil) / length(full, nil); math.Abs(errs[row]-want) > 1e-5 || want < 0.05 {
			t.Errorf("head %d: error %g, want %g", h, errs[row], want)
		}
		one := e.output(h, len(keep), func(i int) int { return int(keep[i]) })
		if math.Abs(one.mass[row]-mass) > 1e-6 {
			t.Errorf("head %d: kept mass %g, want %g", h, one.mass[row], mass)
		}
	}
}

// TestSharedCachesPoolVotes writes the selection of snapkv once more: the votes of all
// query heads, of all layers, that read a kv head are averaged.
func TestSharedCachesPoolVotes(t *testing.T) {
	for _, kind := range []string{"shared", "latent"} {
		r := kindDump(t, kind)
		c := kindConfig(r.Header(), snapkv.GroupHead)
		got, err := Indices(context.Background(), r, 1, snapkv.Methods[0], c)
		if err != nil || snapkv.Methods[0].Name != "snapkv" {
			t.Fatal(snapkv.Methods[0].Name, err)
		}
		layers := dumpstest.ShapedLayers(dumpstest.Kinds()[kind], rand.New(rand.NewPCG(2, 2)))
		const all, prefix = dumpstest.Prompt + dumpstest.Reply, dumpstest.Prompt - 8
		joint := 0
		for l, a := range layers {
			if !a.Shape.Latent && !r.Header().Model.SharedCache(l) {
				continue
			}
			joint++
			for kv := range a.Shape.KVHeads {
				votes := make([]float64, prefix+2) // padded for the kernel of 3
				for _, b := range layers {
					if b.Shape.CacheOf != a.Shape.CacheOf {
						continue
					}
					for head := range b.Shape.Heads {
						if head*b.Shape.KVHeads/b.Shape.Heads != kv {
							continue
						}
						for p := prefix; p < dumpstest.Prompt; p++ {
							for j := range prefix {
								votes[j+1] += float64(b.Weights[(head*all+p)*all+j])
							}
						}
					}
				}
				pooled := make([]float64, prefix)
				for j := range pooled {
					pooled[j] = votes[j] + votes[j+1] + votes[j+2]
				}
				if want := snapkv.TopK(pooled, c.Budget()); !slices.Equal(got[l][kv], want) {
					t.Errorf("%s, layer %d, kv head %d keeps %v, want %v", kind, l, kv, got[l][kv], want)
				}
			}
		}
		if joint == 0 {
			t.Errorf("%s: no joint layer", kind)
		}
	}
}

// TestBytesAreCountedPerCache: the full cache has one entry per cache, kv head and
// position, and a latent entry is a key alone.
func TestBytesAreCountedPerCache(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		r := kindDump(t, kind)
		h := r.Header()
		full := 0
		compressed := 0
		for _, l := range h.Model.Caches() {
			full += 4 * h.Model.EntryDim(l) * dumpstest.Prompt
			compressed += 4 * h.Model.EntryDim(l) * 16
		}
		cfg := MethodConfig{
			Methods: snapkv.Methods[:1], Configs: []snapkv.Config{kindConfig(h, snapkv.GroupMean)}, Thetas: []float64{0.05},
		}
		rows, warnings, err := Methods(context.Background(), []string{r.Path()}, cfg)
		if err != nil || len(rows) != 1 {
			t.Fatal(len(rows), err)
		}
		if got := rows[0].CacheBytes; math.Abs(got-float64(compressed)) > 1e-6*got {
			t.Errorf("%s: %g bytes, want %d", kind, got, compressed)
		}
		if got, want := rows[0].CacheRatio, float64(compressed)/float64(full); math.Abs(got-want) > 1e-9 {
			t.Errorf("%s: ratio %g, want %g", kind, got, want)
		}
		says := slices.ContainsFunc(warnings, func(w Warning) bool { return w.Kind == NoAttention })
		if says != (kind == "hybrid") {
			t.Errorf("%s: warnings %v", kind, warnings)
		}
		cfg.By = []By{ByLayer, ByHead}
		rows, _, err = Methods(context.Background(), []string{r.Path()}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		var places, want []string
		for i := range rows {
			places = append(places, fmt.Sprint(rows[i].Layer, " ", rows[i].Head))
		}
		for _, l := range h.Model.AttentionLayers() {
			for head := range h.Model.Layer(l).Heads {
				want = append(want, fmt.Sprint(l, " ", head))
			}
		}
		if !slices.Equal(places, want) {
			t.Errorf("%s: rows of layers and heads %q, want %q", kind, places, want)
		}
	}
}

// TestSelectionsNeedAllReaders: a selection on a shared cache pools the votes of all
// layers that read it.
func TestSelectionsNeedAllReaders(t *testing.T) {
	shapes := dumpstest.Kinds()["shared"]
	h := dumpstest.ShapesHeader(shapes, dumps.StoreRows, dumps.Exact)
	r := kindDump(t, "shared")
	r.Header().Plan.Layers = slices.DeleteFunc(h.Plan.Layers, func(l int) bool { return l == 4 })
	_, err := Indices(context.Background(), r, 0, snapkv.Methods[0], kindConfig(h, snapkv.GroupHead))
	if want := "layer 2 shares a cache with layer 4, which was not recorded"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, want %q", err, want)
	}
}

// TestAdviceKnowsWhatOneCacheServes: heads that read one cache entry, and layers that
// read one cache, cannot have budgets of their own.
func TestAdviceKnowsWhatOneCacheServes(t *testing.T) {
	for _, c := range []struct {
		kind string
		by   By
		want string // of the error
		text string // of the recommendation
	}{
		{"latent", ByHead, "heads cannot have budgets of their own", ""},
		{"latent", ByLayer, "", ""},
		{"latent", "", "", "for all heads of a layer together"},
		{"shared", ByHead, "layers and heads cannot have budgets of their own", ""},
		{"shared", ByLayer, "layers and heads cannot have budgets of their own", ""},
		{"shared", "", "", "by query head"},
	} {
		r := kindDump(t, c.kind)
		cals, err := Shipped(false)
		if err != nil {
			t.Fatal(err)
		}
		config := kindConfig(r.Header(), snapkv.GroupHead)
		advice, err := Advise(t.Context(), []string{r.Path()}, MethodConfig{
			Methods: snapkv.Methods[:1], Configs: []snapkv.Config{config}, Thetas: []float64{0.05},
		}, AdviceConfig{Calibrations: cals, Risk: 0.05, By: c.by, Bound: Bound{Loss: LossKL, Value: 1000}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s by %q: %v, want %q", c.kind, c.by, err, c.want)
		}
		if err == nil && !strings.Contains(advice.Recommendation(), c.text) {
			t.Errorf("%s: %q, want %q", c.kind, advice.Recommendation(), c.text)
		}
	}
}
