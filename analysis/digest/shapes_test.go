package digest

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

// TestKindsOfLayers: for layers of every kind, the viewer keeps the positions that
// analysis.Indices keeps, and measures the mass that analysis.Methods measures.
func TestKindsOfLayers(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		path := filepath.Join(t.TempDir(), kind+".attn")
		dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], dumps.StoreFactors, dumps.Exact, "a")
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for _, group := range []snapkv.Group{snapkv.GroupHead, snapkv.GroupMax} {
			for _, m := range snapkv.Methods {
				if m.ShareHeads != nil && kind == "latent" || m.ByHeadScores || m.Needs.AllQueries || m.LayerStat != nil {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/%s", kind, m.Name, group), func(t *testing.T) { compareKind(t, r, &m, group) })
			}
		}
	}
}

func compareKind(t *testing.T, r *dumps.Reader, m *snapkv.Method, group snapkv.Group) {
	ctx := context.Background()
	h := r.Header()
	c := snapkv.Config{Window: 8, Capacity: 16, Kernel: 3, Pooling: snapkv.AvgPool, Group: group}
	want, err := analysis.Indices(ctx, r, 0, *m, c)
	if err != nil {
		t.Fatal(err)
	}
	rows, _, err := analysis.Methods(ctx, []string{r.Path()}, analysis.MethodConfig{
		Methods: []snapkv.Method{*m}, Configs: []snapkv.Config{c}, Thetas: []float64{0.05}, By: []analysis.By{analysis.ByLayer},
	})
	if err != nil {
		t.Fatal(err)
	}
	source := snapkv.Source{Len: r.Prompts()[0].PromptTokens, Layers: h.Model.Layers, Caches: h.Model.Caches()}
	for i, layer := range h.Plan.Layers {
		open, err := OpenLayer(r, 0, layer)
		if err != nil {
			t.Fatal(err)
		}
		budget := source.Budget(&snapkv.Entry{Method: m, Config: c}, make([]float64, h.Model.Layers), h.Model.Layer(layer).CacheOf)
		s := Selection{
			Header: h, Prompt: &r.Prompts()[0], Layer: layer, Method: *m, Config: c, Budget: budget,
			Rank: func(ctx context.Context, heads HeadRange) ([][]float64, error) {
				l, err := open.Layer(ctx, heads, m.Needs, c.Window)
				if err != nil {
					return nil, err
				}
				return m.Rank(l, c)
			},
		}
		all := AllOf(h, layer)
		got, err := s.Heads(ctx, all)
		if err != nil {
			t.Fatal(err)
		}
		byHead := snapkv.ByQueryHead(want[i], all.N)
		if m.Name != "random" && !slices.EqualFunc(got, byHead, slices.Equal[[]int32]) { // random numbers depend on the head's index
			t.Errorf("layer %d keeps %v, want %v", layer, got, byHead)
		}
		stats, err := open.Stats(Spec{Windows: []int{8}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		entries := []Entry{{*m, []int{budget}}}
		in := open.Inputs(ctx, entries, 8, stats)
		if in.Complete() {
			open.Release() // as the viewer does
		}
		kept, err := in.Kept(ctx, entries, KeptConfig{Config: c, Capacities: []int{16}, Thetas: []float64{0.05}})
		if err != nil || kept[0].Err != nil {
			t.Fatal(err, kept[0].Err)
		}
		if mass := kept[0].Kept[0].MeanMass(); m.Name != "random" && math.Abs(mass-rows[i].Mass) > 1e-6 {
			t.Errorf("layer %d: mass %g, want %g", layer, mass, rows[i].Mass)
		}
	}
}
