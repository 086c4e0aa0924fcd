//go:build cuda

package decode

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// onCard opens a model on the first card, or skips the test.
func onCard(t *testing.T, dir, compute string) *model.Model {
	t.Helper()
	list, why := cuda.Devices()
	if why == "" {
		why = list[0].Why
	}
	if why != "" {
		t.Skipf("SKIPPED, no card: %s (ATTNSCOPE_LIBCUDA names an emulated driver)", why)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Load(ck, model.Options{Device: "cuda", Compute: compute, Chunk: 50})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); ck.Close() })
	return m
}

// lastRows keeps the weights of the queries that it is shown, [layer][head, n, keys].
type lastRows struct {
	first, n, keys int
	rows           [][]float32
}

func (r *lastRows) tile(layer int, t *cpu.Tile) {
	for i := range t.Rows {
		copy(r.rows[layer][(t.Head*r.n+t.Pos0+i-r.first)*r.keys+t.Key0:], t.Weights[i*t.Stride:][:t.Keys])
	}
}

// settings are windows, kernels, poolings and groups of all kinds.
func settings() (list []snapkv.Config) {
	for i, group := range snapkv.Groups() {
		for _, pooling := range snapkv.Poolings() {
			for _, window := range []int{1, 9, 16} {
				list = append(list, snapkv.Config{
					Window: window, Capacity: window + 5 + 13*i, Kernel: 1 + 2*((i+window)%4), Pooling: pooling, Group: group,
				})
			}
		}
	}
	nearlyAll := snapkv.Config{Window: 16, Capacity: 140, Kernel: 5, Pooling: snapkv.AvgPool, Group: snapkv.GroupHead}
	return append(list, nearlyAll)
}

// prefilled reads tokens on a card, once for the weights of the last queries and
// once as Run does, and returns the cache.
func prefilled(
	t *testing.T, m *model.Model, tokens []int32, entries []snapkv.Entry,
) (*record, *lastRows, *model.Session) {
	t.Helper()
	c := m.Config()
	w := newRecord(m, entries, len(tokens))
	rows := &lastRows{first: len(tokens) - w.rows, n: w.rows, keys: len(tokens)}
	for range c.Layers {
		rows.rows = append(rows.rows, make([]float32, c.Heads*rows.n*rows.keys))
	}
	var s *model.Session
	for _, rec := range []*model.Recorder{{Tile: rows.tile}, w.recorder()} {
		s = m.NewSession()
		t.Cleanup(s.Close)
		pass := model.Pass{LogitsFrom: len(tokens), Recorder: rec, RecordFrom: rows.first}
		if err := s.Forward(context.Background(), tokens, pass); err != nil {
			t.Fatal(err)
		}
	}
	return w, rows, s
}

// sameChoice compares what a card chose with what methods choose from given rows
// or, without any, from the cache's keys and queries.
func sameChoice(t *testing.T, w *record, rows *lastRows, s *model.Session, entries []snapkv.Entry) {
	t.Helper()
	got, err := w.selectAll(t.Context(), s, entries)
	if err != nil {
		t.Fatal(err)
	}
	c, compared := &w.config, 0
	for l := range c.Layers {
		seen := &snapkv.Layer{Index: l, Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, Len: w.prompt, N: w.rows}
		if rows != nil {
			seen.Rows = rows.rows[l]
		} else if seen, err = w.layer(s, l); err != nil {
			t.Fatal(err)
		}
		for i, e := range entries {
			if e.Method.KeepsAll(e.Config, w.prompt) {
				continue
			}
			budget := e.Method.LayerBudgets(make([]float64, c.Layers), w.prompt, e.Config)[l]
			prefix, err := e.Method.Select(seen, e.Config, budget)
			if err != nil {
				t.Fatal(err)
			}
			want := w.withWindow(prefix, e.Config.Window)
			if len(want) != len(got[i].keep[l]) {
				t.Fatalf("%s, %+v, layer %d: %d lists, want %d", e.Method.Name, e.Config, l, len(got[i].keep[l]), len(want))
			}
			for h, list := range want {
				if !slices.Equal(list, got[i].keep[l][h]) {
					t.Fatalf("%s, %+v, layer %d, head %d: the card keeps %v, want %v",
						e.Method.Name, e.Config, l, h, got[i].keep[l][h], list)
				}
				compared++
			}
		}
	}
	if compared == 0 {
		t.Fatal("nothing was compared")
	}
}

// TestChoiceOnCard: a card selects the same slots as package snapkv does from the card's
// rows, bit for bit, and as the processor does from the cache, for several windows,
// kernels, poolings, groups and budgets.
func TestChoiceOnCard(t *testing.T) {
	for _, c := range []struct{ dir, compute string }{
		{"llama-llama3", "f32"}, {"llama-biases", "bf16"}, {"gemma2", "f32"}, {"gpt2", "f16"}, {"starcoder2-window", "f32"},
	} {
		if testing.Short() && c.dir != "gemma2" {
			continue
		}
		t.Run(c.dir+" "+c.compute, func(t *testing.T) {
			m := onCard(t, "../../engine/model/testdata/"+c.dir, c.compute)
			tokens := make([]int32, 119)
			for i := range tokens {
				tokens[i] = int32((i*i + 3*i) % m.Config().Vocab)
			}
			entries, err := snapkv.Entries(named(t, "snapkv", "pyramidkv"), settings())
			if err != nil {
				t.Fatal(err)
			}
			w, rows, s := prefilled(t, m, tokens, entries)
			sameChoice(t, w, rows, s, entries)
			sameChoice(t, w, nil, s, entries)
		})
	}
}

// TestTiedChoiceOnCard reads one token over and over without any rotation: all keys
// of the first layer are alike, and of equal votes the lower positions are kept.
func TestTiedChoiceOnCard(t *testing.T) {
	src, dir := "../../engine/model/testdata/smollm3/", t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		b, err := os.ReadFile(src + name)
		if err != nil {
			t.Fatal(err)
		}
		if name == "config.json" {
			text := string(b)
			at := strings.Index(text, `"no_rope_layers": [`)
			end := at + strings.Index(text[at:], "]")
			b = []byte(text[:at] + `"no_rope_layers": [0, 0, 0, 0` + text[end:])
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	m := onCard(t, dir, "f32")
	var configs []snapkv.Config
	for _, c := range settings() {
		c.Kernel = 1
		configs = append(configs, c)
	}
	entries, err := snapkv.Entries(named(t, "snapkv"), configs)
	if err != nil {
		t.Fatal(err)
	}
	w, rows, s := prefilled(t, m, slices.Repeat([]int32{7}, 90), entries)
	w.config.Layers = 1
	w.about.Layers = 1
	sameChoice(t, w, rows, s, entries)
	sameChoice(t, w, nil, s, entries)
	got, err := w.selectAll(t.Context(), s, entries)
	if err != nil {
		t.Fatal(err)
	}
	for k, c := range configs {
		for h, list := range got[k].keep[0] {
			var want []int32
			for j := range c.Budget() {
				want = append(want, int32(j))
			}
			for j := range c.Window {
				want = append(want, int32(90-c.Window+j))
			}
			if !c.Passthrough(90) && !slices.Equal(list, want) {
				t.Errorf("%+v, head %d keeps %v, want %v", c, h, list, want)
			}
		}
	}
}

// TestRunChoosesOnCard: replies are the same whether the card selects or the processor
// does, also in a run that mixes methods that the card knows with others.
func TestRunChoosesOnCard(t *testing.T) {
	dir := "../../engine/model/testdata/qwen3"
	var lines [2][]string
	for i := range lines {
		m := onCard(t, dir, "f32")
		if i == 1 {
			src, err := capture.Open(t.Context(), dir, capture.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			if err := src.Load(t.Context()); err != nil {
				t.Fatal(err)
			}
			m = src.Model
		}
		tokens := make([]int32, 80)
		for j := range tokens {
			tokens[j] = int32((j*j + 3*j) % m.Config().Vocab)
		}
		c := Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: tokens}}, MaxNewTokens: 8, IgnoreEOS: true,
			Methods: named(t, "snapkv", "h2o", "pyramidkv", "adakv"),
		}
		for _, group := range []snapkv.Group{snapkv.GroupHead, snapkv.GroupMax} {
			cfg := config(8, 30)
			cfg.Group = group
			c.Configs = append(c.Configs, cfg)
		}
		err := Run(context.Background(), c, func(r Result) error {
			lines[i] = append(lines[i], fmt.Sprint(r.Method, r.Capacity, r.Group, r.OutputIDs, r.CacheBytes))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(lines[0]) != 9 || !slices.Equal(lines[0], lines[1]) {
		t.Errorf("on the card\n%s\non the processor\n%s", strings.Join(lines[0], "\n"), strings.Join(lines[1], "\n"))
	}
}
