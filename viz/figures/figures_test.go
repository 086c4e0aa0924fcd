package figures

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/hitrate"
)

// writeDump writes a dump whose prompts have random attention.
func writeDump(t *testing.T, ids ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.attn")
	w, err := dumps.Create(path, dumpstest.Header("rows", "fine"), dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		dumpstest.Add(t, w, id, "rows", rand.New(rand.NewPCG(1, uint64(i))))
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func names(t *testing.T, path string, cfg HeatmapConfig) []string {
	t.Helper()
	cfg.Window = 4
	cfg.Top = 0.2
	cfg.Theta = hitrate.PaperTheta
	var list []string
	err := EachHeatmap(t.Context(), []string{path}, cfg, func(h Heatmap) error {
		list = append(list, filepath.ToSlash(h.Name))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestEachHeatmapDrawsTheChosenLayers(t *testing.T) {
	path := writeDump(t, "a", "b/1", "b_1")
	for _, c := range []struct {
		name string
		cfg  HeatmapConfig
		want []string
	}{
		{"the first prompt", HeatmapConfig{}, []string{"a/layer-00", "a/layer-01"}},
		{"one layer", HeatmapConfig{Layers: []int{1}}, []string{"a/layer-01"}},
		{"a prompt by its id", HeatmapConfig{Prompt: "b/1", Layers: []int{0}}, []string{"b_1/layer-00"}},
		{
			"ids that look alike",
			HeatmapConfig{Prompt: "all", Layers: []int{0}},
			[]string{"a/layer-00", "b_1/layer-00", distinctName("b_1", "b_1") + "/layer-00"},
		},
	} {
		got := names(t, path, c.cfg)
		want := append(c.want, "layers-heads", "layers-windows",
			"layers-heads-without-first-4", "layers-windows-without-first-4")
		if !slices.Equal(got, want) {
			t.Errorf("%s: drew %v, want %v", c.name, got, want)
		}
	}
}

// TestChosenSkipFirst checks that only the rates that were asked for are drawn.
func TestChosenSkipFirst(t *testing.T) {
	got := names(t, writeDump(t, "a"), HeatmapConfig{Layers: []int{0}, SkipFirst: 2})
	if want := []string{"a/layer-00", "layers-heads", "layers-windows"}; !slices.Equal(got, want) {
		t.Errorf("drew %v, want %v", got, want)
	}
}

func TestUnknownPromptIsAnError(t *testing.T) {
	path := writeDump(t, "a")
	cfg := HeatmapConfig{Prompt: "b", Window: 4, Top: 0.2, Theta: 0.05}
	err := EachHeatmap(t.Context(), []string{path}, cfg, func(Heatmap) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `no prompt "b"`) {
		t.Errorf("error %v, want one that names the prompt", err)
	}
}

// TestPromptOfAnyDump finds a prompt that only the second of two dumps has.
func TestPromptOfAnyDump(t *testing.T) {
	paths := []string{writeDump(t, "a"), writeDump(t, "b")}
	for _, id := range []string{"a", "b"} {
		cfg := HeatmapConfig{Prompt: id, Window: 4, Top: 0.2, Theta: 0.05}
		drawn := 0
		err := EachHeatmap(t.Context(), paths, cfg, func(h Heatmap) error {
			if strings.HasPrefix(h.Name, id+"/") {
				drawn++
			}
			return nil
		})
		if err != nil || drawn == 0 {
			t.Errorf("%q: %d figures, %v", id, drawn, err)
		}
	}
	cfg := HeatmapConfig{Prompt: "c", Window: 4, Top: 0.2, Theta: 0.05}
	err := EachHeatmap(t.Context(), paths, cfg, func(Heatmap) error { return nil })
	if err == nil || !strings.Contains(err.Error(), `no prompt "c" in any of them`) {
		t.Errorf("error %v, want one that names the prompt", err)
	}
}

// TestLayerNumbers compares the numbers of a layer with sums over single weights.
func TestLayerNumbers(t *testing.T) {
	r, err := dumps.Open(writeDump(t, "a"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	const window = 4
	d := &heatmaps{cfg: HeatmapConfig{Window: window, Top: 0.2}}
	l, err := d.layer(r, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := r.Weights(0, 1, dumps.Prefill)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := r.Weights(0, 1, dumps.Decode)
	if err != nil {
		t.Fatal(err)
	}
	const head, key, token = 1, 3, 2
	vote := 0.0
	for i := rows.Rows - window; i < rows.Rows; i++ {
		vote += float64(rows.Head(head)[i*rows.Keys+key]) / window
	}
	if got := l.Vote.Values[head*l.Vote.Cols+key]; !near(got, vote) {
		t.Errorf("vote of head %d for key %d is %g, want %g", head, key, got, vote)
	}
	mean := 0.0
	for h := range reply.Heads {
		mean += float64(reply.Head(h)[token*reply.Keys+key]) / float64(reply.Heads)
	}
	if got := l.Generated.Values[token*l.Generated.Cols+key]; !near(got, mean) {
		t.Errorf("attention of token %d to key %d is %g, want %g", token, key, got, mean)
	}
	k := hitrate.Budget(0.2, l.Vote.Cols)
	for name, marked := range map[string][]bool{"voted": l.Voted, "attended": l.Attended} {
		n := 0
		for _, m := range marked {
			if m {
				n++
			}
		}
		if n != k {
			t.Errorf("%s: %d positions are marked, want %d", name, n, k)
		}
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestSafeName(t *testing.T) {
	for id, want := range map[string]string{
		"garden":     "garden",
		"":           "-e3b0c442",
		"minutes/1":  "minutes_1",
		"a b":        "a_b-c8687a08",
		"..":         "-5ec1f7e7",
		"../x":       "_x-d6b96a97",
		`back\slash`: "back_slash-",
	} {
		if got := SafeName(id); !strings.HasPrefix(got, want) {
			t.Errorf("SafeName(%q) is %q, want %q", id, got, want)
		}
	}
}

// TestSettingsOfACaption checks that the settings of a figure are named if all of its
// lines have the same.
func TestSettingsOfACaption(t *testing.T) {
	rows := make([]analysis.MethodRow, 2)
	for i := range rows {
		rows[i].Window, rows[i].Kernel, rows[i].Pooling = 32, 5, "avgpool"
	}
	if got, want := settings(rows), "; window 32, kernel 5, avgpool"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	rows[1].Window = 64
	if got := settings(rows); got != "" {
		t.Errorf("different windows are named %q", got)
	}
}

// TestMethodSeries makes a line for each method, and leaves out values that are not
// defined.
func TestMethodSeries(t *testing.T) {
	row := func(method string, capacity int, mass float64) analysis.MethodRow {
		r := analysis.MethodRow{Method: method, Capacity: capacity, Mass: mass, Low: mass - 0.1, High: mass + 0.1}
		r.Window = 8
		return r
	}
	rows := []analysis.MethodRow{row("snapkv", 16, 0.5), row("random", 16, 0.2), row("snapkv", 32, 0.7)}
	list := methodSeries(rows, methodCurves[0])
	if len(list) != 2 || list[0].Name != "snapkv" || list[1].Name != "random" {
		t.Fatalf("series %v, want snapkv and random", list)
	}
	s := list[0]
	if !slices.Equal(s.X, []float64{16, 32}) || !slices.Equal(s.Y, []float64{0.5, 0.7}) || s.Low[1] != 0.7-0.1 {
		t.Errorf("snapkv is %+v", s)
	}
	if s.Baseline || !list[1].Baseline {
		t.Error("random is a baseline, snapkv is none")
	}
	for capacity, want := range map[int]float64{16: 0.5, 32: 0.7} {
		m := methodMap(rows, "snapkv", capacity)
		if !strings.HasPrefix(m.Title, fmt.Sprintf("snapkv, capacity %d, window 8", capacity)) || m.Rates.Values[0] != want {
			t.Errorf("the map of snapkv is %q with %g, want capacity %d with %g", m.Title, m.Rates.Values[0], capacity, want)
		}
	}
}
