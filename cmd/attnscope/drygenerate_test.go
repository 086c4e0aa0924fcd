package main

import (
	"math"
	"testing"

	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/snapkv"
)

// TestAddCaches counts by hand: of two methods and two capacities, full and the capacity
// above the prompt's length are the full cache.
func TestAddCaches(t *testing.T) {
	shape := model.LayerShape{Kind: model.Attention, Heads: 2, KVHeads: 1, KeyDim: 4, ValueDim: 4}
	m := model.Config{Layers: 1, Heads: 2, KVHeads: 1, HeadDim: 4, ValueDim: 4, Hidden: 8, Intermediate: 16, Vocab: 32, Shapes: []model.LayerShape{shape}}
	var methods []snapkv.Method
	for _, name := range []string{"snapkv", snapkv.Full} {
		method, err := snapkv.FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		methods = append(methods, method)
	}
	small := snapkv.Default
	small.Window = 2
	small.Capacity = 4
	small.Group = snapkv.GroupHead
	large := small
	large.Capacity = 100
	cfg := &decode.Config{
		Prompts: []prompts.Prompt{{ID: "a", Tokens: make([]int32, 10), Reply: make([]int32, 7)}},
		Methods: methods, Configs: []snapkv.Config{small, large}, MaxNewTokens: 6, FollowWhole: true, Batch: 1,
	}
	forms := cfg.Forms(&m, &cfg.Prompts[0])
	if len(forms) != 2 {
		t.Fatalf("%d compressed caches, want 2: full is none", len(forms))
	}
	if got, want := largestCache(cfg, &m), int64(2*(10+7))*m.CacheBytes(); got != want {
		t.Errorf("the largest cache has %d bytes, want %d", got, want)
	}
	var need forecast.Need
	addCaches(&need, cfg, &m)
	if need.Generated != 2*6 {
		t.Errorf("%d steps, want 12: of the full cache and of one compressed", need.Generated)
	}
	// Of six steps, the middle one sees three tokens of the reply; each of two query heads
	// has a copy of the four positions.
	if want := float64(6*(10+3)+6*2*(4+3)) * float64(m.CacheBytes()); need.CacheRead != want {
		t.Errorf("%g bytes of caches are read, want %g", need.CacheRead, want)
	}
	prompt := capture.Config{Prompts: []prompts.Prompt{{ID: "a", Tokens: make([]int32, 10)}}}
	want := forecast.Capture(&prompt, m, 1).FLOPs + 2*m.TokenWeights()*7*2
	if math.Abs(need.FLOPs-want) > 1e-9*want || want == 0 {
		t.Errorf("%g operations, want %g", need.FLOPs, want)
	}
}
