package decode

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/snapkv"
)

// kinds lists checkpoints that together have layers of every kind: one latent for all
// heads, sinks, linear layers, convolutions, shared caches, heads of other sizes, chunks.
var kinds = []string{"deepseek_v2", "deepseek_v3", "gpt_oss", "qwen3_next", "lfm2", "gemma3n_text", "gemma4_text", "llama4_text"}

// TestEveryKindOfLayer selects by every method on models with layers of every kind, as
// the dump of the same prompt says, and decodes from the compressed caches.
func TestEveryKindOfLayer(t *testing.T) {
	for _, name := range kinds {
		t.Run(name, func(t *testing.T) {
			m := loadModel(t, sharedtest.Dir(t, "fixtures/models-2026/"+name))
			ids := make([]int32, 160)
			for i := range ids {
				ids[i] = int32((i*i + 3*i) % m.Config().Vocab)
			}
			testDecoderSelectsWhatTheDumpSays(t, m, ids)
			n := len(ids)
			byKV := config(16, n)
			byKV.Group = snapkv.GroupMean
			list := results(t, Config{
				Model: m, Prompts: []prompts.Prompt{{ID: "p", Tokens: ids}}, Methods: snapkv.Methods, Lenient: true,
				Configs: []snapkv.Config{config(16, n), byKV, config(16, n/3)}, MaxNewTokens: 12, IgnoreEOS: true, Batch: 4,
			})
			full := list[0]
			seen := map[string]bool{}
			for _, r := range list[1:] {
				seen[r.Method] = true
				exact := r.Capacity >= n
				m, err := snapkv.FindMethod(r.Method)
				if err != nil {
					t.Fatal(err)
				}
				differs := !slices.Equal(r.OutputIDs, full.OutputIDs) || float64(r.KL) > 1e-6
				if exact && (m.ShareLayers == nil || m.Name == "simlayerkv") && differs {
					t.Errorf("%s, group %s, capacity %d of %d: KL %g, tokens %v, want %v",
						r.Method, r.Group, r.Capacity, n, r.KL, r.OutputIDs, full.OutputIDs)
				}
				if !exact && m.Name != "simlayerkv" && !(r.CacheRatio < 1.5 && r.CacheRatio > 0) {
					t.Errorf("%s at a third of the prompt: cache ratio %g", r.Method, r.CacheRatio)
				}
			}
			about := newRecord(m, nil, n).about
			latent := about.Layer(about.Caches()[0]).Latent
			for _, method := range snapkv.Methods {
				refused := method.IgnoresCapacity || method.ByHeadScores || method.Needs.AllQueries || latent && method.ShareHeads != nil
				if seen[method.Name] == refused {
					t.Errorf("%s: measured %t, want %t", method.Name, seen[method.Name], !refused)
				}
			}
		})
	}
}

// TestUnusableMethodsHaveNoResults: a method that cannot select in a model has no row for
// the prompts that no selection would shorten either, which would show it without loss.
func TestUnusableMethodsHaveNoResults(t *testing.T) {
	m := loadModel(t, sharedtest.Dir(t, "fixtures/models-2026/deepseek_v2"))
	ids := make([]int32, 40)
	for i := range ids {
		ids[i] = int32(i * 7 % m.Config().Vocab)
	}
	var warnings []string
	c := Config{
		Model: m, Prompts: []prompts.Prompt{{ID: "short", Tokens: ids[:3]}, {ID: "long", Tokens: ids}},
		Methods: named(t, "snapkv", "adakv", "headkv"), Lenient: true,
		Configs: []snapkv.Config{config(8, 20)}, MaxNewTokens: 2, IgnoreEOS: true,
		Warn: func(text string) { warnings = append(warnings, text) },
	}
	count := map[string]int{}
	for _, r := range results(t, c) {
		count[r.Method]++
	}
	if want := map[string]int{"full": 2, "snapkv": 2}; !maps.Equal(count, want) {
		t.Errorf("results of %v, want %v", count, want)
	}
	for _, name := range []string{"adakv", "headkv"} {
		left := func(text string) bool { return strings.HasPrefix(text, name+" is left out: ") }
		if !slices.ContainsFunc(warnings, left) {
			t.Errorf("no warning about %s: %q", name, warnings)
		}
		c.Methods = named(t, name)
		c.Lenient = false
		cfg := m.Config()
		if err := c.Check(&cfg); err == nil || !strings.Contains(err.Error(), "one selection for all") {
			t.Errorf("%s: %v, want the reason before anything runs", name, err)
		}
	}
}
