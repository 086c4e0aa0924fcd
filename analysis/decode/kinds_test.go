package decode

import (
	"slices"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/snapkv"
)

// kinds lists checkpoints that together have layers of every kind: one latent for all
// heads, sinks, linear layers, convolutions, shared caches, heads of other sizes, chunks.
var kinds = []string{"deepseek_v2", "deepseek_v3", "gpt_oss", "qwen3_next", "lfm2", "gemma3n_text", "gemma4_text", "llama4_text"}

// TestEveryKindOfLayer selects by every method on models with layers of every kind, as the
// dump of the same prompt says, and decodes from the compressed caches.
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
				if exact && r.Method != "pyramidkv" && r.Method != "cake" && (!slices.Equal(r.OutputIDs, full.OutputIDs) || float64(r.KL) > 1e-6) {
					t.Errorf("%s, group %s, capacity %d of %d: KL %g, tokens %v, want %v",
						r.Method, r.Group, r.Capacity, n, r.KL, r.OutputIDs, full.OutputIDs)
				}
				if !exact && !(r.CacheRatio < 1.5 && r.CacheRatio > 0) {
					t.Errorf("%s at a third of the prompt: cache ratio %g", r.Method, r.CacheRatio)
				}
			}
			about := newRecord(m, nil, n).about
			latent := about.Layer(about.Caches()[0]).Latent
			for _, method := range snapkv.Methods {
				refused := method.IgnoresCapacity || method.Name == "headkv" || latent && method.ShareHeads != nil
				if seen[method.Name] == refused {
					t.Errorf("%s: measured %t, want %t", method.Name, seen[method.Name], !refused)
				}
			}
		})
	}
}
