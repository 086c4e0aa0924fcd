package decode

import (
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// TestBatchDecodesAsEachCacheAlone: caches of several prompts that decode at once, one of
// which drops nothing, give the results that they give one by one, in the same order.
func TestBatchDecodesAsEachCacheAlone(t *testing.T) { eachModel(t, testBatchDecodesAsEachCacheAlone) }

func testBatchDecodesAsEachCacheAlone(t *testing.T, m *model.Model, ids []int32) {
	for _, ignore := range []bool{true, false} {
		c := Config{
			Model: m,
			Prompts: []prompts.Prompt{
				{ID: "a", Tokens: ids}, {ID: "b", Tokens: ids[:60]}, {ID: "c", Tokens: ids[5:], Reply: ids[:9]}, {ID: "d", Tokens: ids[7:90]},
			},
			Methods: named(t, "snapkv", "oracle", "full"),
			Configs: []snapkv.Config{config(8, 16), config(8, 70), config(8, 24)}, MaxNewTokens: 12, IgnoreEOS: ignore,
		}
		alone := results(t, c)
		for _, n := range []int{2, 4, 99} {
			c.Batch = n
			first := int64(-1) // tokens that were run before the first result
			c.Progress = func(p capture.Progress) {
				if first < 0 {
					first = p.Tokens
				}
			}
			together := results(t, c)
			if first < int64(len(ids)+60) {
				t.Errorf("batch %d: the first result came after %d tokens, before the second prompt was read", n, first)
			}
			if len(together) != len(alone) {
				t.Fatalf("batch %d: %d results, want %d", n, len(together), len(alone))
			}
			for i, a := range alone {
				b := together[i]
				sameCache := a.ID == b.ID && a.Method == b.Method && a.Capacity == b.Capacity && a.CacheBytes == b.CacheBytes
				samePPL := a.PPL == b.PPL || math.IsNaN(float64(a.PPL))
				sameKL := a.KL == b.KL || math.IsNaN(float64(a.KL))
				sameAnswer := a.Agreement == b.Agreement || math.IsNaN(float64(a.Agreement))
				if !sameCache || !samePPL || !sameKL || !sameAnswer || !slices.Equal(a.OutputIDs, b.OutputIDs) {
					t.Errorf("batch %d, result %d: %s %d %v, ppl %v; alone %s %d %v, ppl %v",
						n, i, b.Method, b.Capacity, b.OutputIDs, b.PPL, a.Method, a.Capacity, a.OutputIDs, a.PPL)
				}
			}
			for _, r := range together {
				if !math.IsNaN(float64(r.DecodeTokens)) && r.CacheRatio < 1 {
					t.Errorf("batch %d: the decoding speed of one cache is %v, want NaN", n, r.DecodeTokens)
				}
			}
		}
	}
}

// TestFullCachesThatAreHeld: caches of as many prompts as fill the batch, and of the next
// one.
func TestFullCachesThatAreHeld(t *testing.T) {
	for _, c := range []struct{ batch, prompts, methods, want int }{
		{0, 9, 1, 1},
		{1, 9, 0, 1},
		{8, 9, 0, 8},
		{8, 9, 1, 5},
		{8, 9, 2, 4},
		{8, 2, 1, 2},
		{2, 9, 2, 2},
	} {
		cfg := Config{Prompts: make([]prompts.Prompt, c.prompts), Batch: c.batch, Configs: []snapkv.Config{config(8, 16)}}
		cfg.Methods = named(t, "snapkv", "recent")[:c.methods]
		if got := cfg.FullCaches(); got != c.want {
			t.Errorf("batch %d, %d prompts, %d methods: %d full caches, want %d", c.batch, c.prompts, c.methods, got, c.want)
		}
	}
}
