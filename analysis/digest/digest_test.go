package digest_test

import (
	"context"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/digest"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/snapkv"
)

// open writes and opens a dump of two prompts with replies, two layers and four heads.
func open(t *testing.T, store dumps.Store) (path string, r *dumps.Reader) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "x.attn")
	dumpstest.WithValues(t, path, store, "fine", 2, rand.New(rand.NewPCG(5, 6)))
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return path, r
}

func stats(t *testing.T, r *dumps.Reader, prompt, layer int, spec digest.Spec) (*digest.LayerRows, []digest.HeadStats) {
	t.Helper()
	rows, err := digest.OpenLayer(r, prompt, layer)
	if err != nil {
		t.Fatal(err)
	}
	heads, err := rows.Stats(spec, digest.Copying(rows.Prompt))
	if err != nil {
		t.Fatal(err)
	}
	return rows, heads
}

// TestRatesEqualHitRates compares the rates of digests, in float64 and in float32,
// with those that analysis computes from the weights.
func TestRatesEqualHitRates(t *testing.T) {
	path, r := open(t, dumps.StoreFactors)
	cfg := analysis.Paper
	cfg.By = []analysis.By{analysis.ByLayer, analysis.ByPrompt}
	cfg.Windows = []int{2, 8}
	cfg.Tops = []float64{0.2}
	cfg.Thetas = []float64{0.04}
	cfg.Kernel = 3
	cfg.Pooling = snapkv.MaxPool
	cfg.SkipFirst = 1
	want, _, err := analysis.HitRates(t.Context(), []string{path}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(want) != 8 {
		t.Fatalf("%d rows, want 2 layers x 2 prompts x 2 windows", len(want))
	}
	for _, short := range []bool{false, true} {
		for _, row := range want {
			prompt := slices.IndexFunc(r.Prompts(), func(p dumps.Prompt) bool { return p.ID == row.Prompt })
			_, heads := stats(t, r, prompt, row.Layer, digest.Spec{Windows: cfg.Windows, Short: short})
			byWindow, err := digest.HeadRates(heads, cfg)
			if err != nil {
				t.Fatal(err)
			}
			got := digest.JoinHeads(byWindow[row.Window])
			if got.Hits != row.Hits || got.Significant != row.Significant {
				t.Errorf("short %v: %d of %d hits, want %d of %d", short, got.Hits, got.Significant, row.Hits, row.Significant)
			}
			for name, pair := range map[string][2]float64{
				"hit rate": {got.HitRate, row.HitRate}, "chance": {got.Chance, row.Chance},
				"recent": {got.Recent, row.Recent}, "oracle": {got.Oracle, row.Oracle},
				"overlap": {got.Overlap, row.Overlap}, "mass": {got.Mass, row.Mass},
			} {
				if math.Abs(pair[0]-pair[1]) > 1e-6 {
					t.Errorf("short %v, layer %d, window %d: %s is %g, want %g", short, row.Layer, row.Window, name, pair[0], pair[1])
				}
			}
		}
	}
}

// TestThetasBelowTheLeastAreErrors: the weights for them were not kept.
func TestThetasBelowTheLeastAreErrors(t *testing.T) {
	_, r := open(t, dumps.StoreRows)
	_, heads := stats(t, r, 0, 0, digest.Spec{Windows: []int{4}})
	cfg := analysis.Paper
	cfg.Windows = []int{4}
	cfg.Thetas = []float64{digest.LeastTheta / 2}
	if rates, err := heads[0].Rates(cfg); err == nil {
		t.Errorf("rates %v, want an error", rates)
	}
	cfg.Thetas = []float64{digest.LeastTheta}
	if rates, err := heads[0].Rates(cfg); err != nil || len(rates) != 1 {
		t.Errorf("rates %v, error %v, want one rate", rates, err)
	}
}

// TestSelectionsEqualIndices compares the positions of every method, selected one head
// at a time, with those that analysis selects on whole layers.
func TestSelectionsEqualIndices(t *testing.T) {
	_, r := open(t, dumps.StoreFactors)
	c := snapkv.Config{Window: 4, Capacity: 12, Kernel: 3, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
	rows, err := digest.OpenLayer(r, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, m := range snapkv.Methods {
		want, err := analysis.Indices(t.Context(), r, 0, m, c)
		if err != nil || m.LayerStat != nil || m.ShareLayers != nil {
			continue // budgets that depend on all layers are the caller's
		}
		s := digest.Selection{
			Header: r.Header(), Prompt: rows.Prompt, Layer: 1, Method: m, Config: c, Budget: c.Budget(),
			Rank: func(ctx context.Context, heads digest.HeadRange) ([][]float64, error) {
				l, err := rows.Layer(ctx, heads, m.Needs, c.Window)
				if err != nil {
					return nil, err
				}
				return m.Rank(l, c)
			},
		}
		for head := range 4 {
			got, err := s.Heads(t.Context(), digest.HeadRange{From: head, N: 1})
			if err != nil {
				t.Fatalf("%s: %v", m.Name, err)
			}
			if len(got) != 1 || !slices.Equal(got[0], want[1][head]) {
				t.Errorf("%s, head %d: kept %v, want %v", m.Name, head, got, want[1][head])
			}
		}
		compared++
	}
	if compared < 10 {
		t.Errorf("%d methods compared, want at least 10", compared)
	}
}

// TestKeptIsWeightOfTheReply sums the reply's weights on the most recent positions.
func TestKeptIsWeightOfTheReply(t *testing.T) {
	_, r := open(t, dumps.StoreRows)
	rows, heads := stats(t, r, 0, 0, digest.Spec{Windows: []int{4}})
	m, err := snapkv.FindMethod("recent")
	if err != nil {
		t.Fatal(err)
	}
	cfg := digest.KeptConfig{
		Config:     snapkv.Config{Window: 4, Kernel: 1, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead},
		Capacities: []int{10},
		Thetas:     []float64{0.04},
	}
	if err := cfg.Check(r.Header(), rows.Prompt); err != nil {
		t.Fatal(err)
	}
	entries := []digest.Entry{{Method: m, Budgets: []int{6}}}
	got, err := rows.Inputs(t.Context(), entries, 4, heads).Kept(t.Context(), entries, cfg)
	if err != nil || got[0].Err != nil {
		t.Fatal(err, got[0].Err)
	}
	reply, err := r.Weights(0, 0, dumps.Decode)
	if err != nil {
		t.Fatal(err)
	}
	prefix := rows.Prompt.PromptTokens - 4
	mass := 0.0
	hits := 0
	for head := range reply.Heads {
		for i := range reply.Rows {
			for _, w := range reply.Head(head)[i*reply.Keys:][prefix-6 : prefix] {
				mass += float64(w) / float64(reply.Rows)
				if w > 0.04 {
					hits++
				}
			}
		}
	}
	kept := got[0].Kept[0]
	if math.Abs(kept.Mass-mass) > 1e-9 || kept.Hits[0] != hits || kept.Selections != reply.Heads {
		t.Errorf("mass %g, %d hits, %d selections; want %g, %d, %d", kept.Mass, kept.Hits[0], kept.Selections, mass, hits, reply.Heads)
	}
}

// TestFitSpec: the more memory, the more windows; with little, in float32; with none,
// or without prompts, there are none.
func TestFitSpec(t *testing.T) {
	prompts := []*dumps.Prompt{{PromptTokens: 1000, WindowRows: 100}, {PromptTokens: 500, WindowRows: 40}}
	const heads, positions = 10, 1500
	column := 8 * heads * positions // bytes for one number per position and head
	ladder := []int{1, 2, 4, 6, 8, 12, 16, 24, 32, 40}
	coarse := []int{8, 16, 32, 40}
	for _, c := range []struct {
		room  int
		want  []int
		short bool
	}{
		{4 * 41 * column, nil, false}, // nil: all 40 windows
		{4*41*column - 1, ladder, false},
		{11*column - 1, coarse, false},
		{5*column - 1, coarse, true},
		{5*column/2 - 1, []int{}, true},
	} {
		got := digest.FitSpec(prompts, heads, c.room)
		if c.want == nil {
			if !got.HasAll() || len(got.Windows) != 40 || got.Short {
				t.Errorf("room for %d bytes: %v, want all windows", c.room, got)
			}
			continue
		}
		if !slices.Equal(got.Windows, c.want) || got.Short != c.short || got.HasAll() {
			t.Errorf("room for %d bytes: %v, want %v, short %v", c.room, got, c.want, c.short)
		}
	}
	if got := digest.FitSpec(nil, heads, 1<<30); len(got.Windows) != 0 {
		t.Errorf("without prompts: %v, want no windows", got)
	}
	fit := digest.Spec{Windows: coarse}
	if got := fit.Covering([]int{32, 8}); !slices.Equal(got.Windows, coarse) {
		t.Errorf("covering windows it has: %v", got)
	}
	if got := fit.Covering([]int{9, 3}); !slices.Equal(got.Windows, []int{3, 9}) {
		t.Errorf("covering a window it lacks: %v, want 3 and 9", got)
	}
}
