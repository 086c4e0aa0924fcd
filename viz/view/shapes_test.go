package view

import (
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

// TestEveryKindOfLayer: measures have the heads of their layer, and selections are those
// of the command, also where layers share a cache.
func TestEveryKindOfLayer(t *testing.T) {
	for _, kind := range dumpstest.KindNames() {
		path := filepath.Join(t.TempDir(), kind+".attn")
		dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], dumps.StoreFactors, dumps.Exact, "a", "b")
		v := serve(t, path, Options{Token: testToken})
		h := v.dump.Header()
		c := snapkv.Config{Window: 8, Capacity: 16, Kernel: 3, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
		for _, name := range []string{"snapkv", "cake", "oracle"} {
			m, err := snapkv.FindMethod(name)
			if err != nil {
				t.Fatal(err)
			}
			want, err := analysis.Indices(t.Context(), v.dump, 1, m, c)
			if err != nil {
				t.Fatal(err)
			}
			for i, layer := range h.Plan.Layers {
				heads := h.Model.Layer(layer).Heads
				for head, list := range snapkv.ByQueryHead(want[i], heads) {
					var got struct{ Kept []int32 }
					v.json(fmt.Sprintf("api/kept?p=1&method=%s&window=8&capacity=16&kernel=3&pooling=avgpool&group=head&layer=%d&head=%d",
						name, layer, head), &got)
					if !slices.Equal(got.Kept, list) {
						t.Errorf("%s, %s, layer %d, head %d keeps %v, want %v", kind, name, layer, head, got.Kept, list)
					}
				}
			}
		}
		for _, layer := range h.Plan.Layers {
			var stats struct {
				Heads    []int
				Measures map[string][]float64
			}
			v.json(fmt.Sprintf("api/stats?p=1&window=8&top=0.1&theta=0.05&layer=%d", layer), &stats)
			if n := h.Model.Layer(layer).Heads; len(stats.Heads) != n || len(stats.Measures["entropy"]) != n {
				t.Errorf("%s, layer %d: measures of heads %v, want %d heads", kind, layer, stats.Heads, n)
			}
		}
		var kept methodsAnswer
		v.json("api/methods?p=all&layer=all&methods=snapkv,adakv,cake,oracle&window=8&theta=0.05&capacity=16&kernel=3&pooling=avgpool&group=head", &kept)
		refused := kept.LeftOut["adakv"] != ""
		if refused != (kind == "latent") || len(kept.Rows) == 0 {
			t.Errorf("%s: %d rows, left out: %v", kind, len(kept.Rows), kept.LeftOut)
		}
	}
	v := open(t, dumps.StoreRows, 0)
	if code, _ := v.get("api/methods?methods=all&window=8&capacity=16"); code != 400 {
		t.Errorf("methods=all: %d, want 400", code)
	}
}
