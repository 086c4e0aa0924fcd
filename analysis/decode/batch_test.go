package decode

import (
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// TestBatchDecodesAsEachCacheAlone: caches that decode at once, one of which drops
// nothing, give the replies that they give one by one.
func TestBatchDecodesAsEachCacheAlone(t *testing.T) { eachModel(t, testBatchDecodesAsEachCacheAlone) }

func testBatchDecodesAsEachCacheAlone(t *testing.T, m *model.Model, ids []int32) {
	for _, ignore := range []bool{true, false} {
		c := Config{
			Model: m, Prompts: []prompts.Prompt{{ID: "a", Tokens: ids}, {ID: "b", Tokens: ids[:60]}},
			Methods: named(t, "snapkv", "recent", "full"),
			Configs: []snapkv.Config{config(8, 16), config(8, 70), config(8, 24)}, MaxNewTokens: 12, IgnoreEOS: ignore,
		}
		alone := results(t, c)
		for _, n := range []int{2, 4, 99} {
			c.Batch = n
			together := results(t, c)
			if len(together) != len(alone) {
				t.Fatalf("batch %d: %d results, want %d", n, len(together), len(alone))
			}
			for i, a := range alone {
				b := together[i]
				sameCache := a.ID == b.ID && a.Method == b.Method && a.Capacity == b.Capacity && a.CacheBytes == b.CacheBytes
				samePPL := a.PPL == b.PPL || math.IsNaN(float64(a.PPL))
				sameKL := a.KL == b.KL || math.IsNaN(float64(a.KL))
				if !sameCache || !samePPL || !sameKL || !slices.Equal(a.OutputIDs, b.OutputIDs) {
					t.Errorf("batch %d, result %d: %s %d %v, ppl %v; alone %s %d %v, ppl %v",
						n, i, b.Method, b.Capacity, b.OutputIDs, b.PPL, a.Method, a.Capacity, a.OutputIDs, a.PPL)
				}
			}
			if !math.IsNaN(float64(together[1].DecodeTokens)) {
				t.Errorf("batch %d: the decoding speed of one cache is %v, want NaN", n, together[1].DecodeTokens)
			}
		}
	}
}
