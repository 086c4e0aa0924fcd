package forecast

import (
	"testing"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// fourLayers is a model whose layers all have attention.
func fourLayers() model.Config {
	m := model.Config{Layers: 4, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Hidden: 192, Intermediate: 512, Vocab: 1000}
	for l := range m.Layers {
		m.Shapes = append(m.Shapes, model.LayerShape{Kind: model.Attention, Heads: 6, KVHeads: 2, KeyDim: 32, ValueDim: 32, CacheOf: l})
	}
	return m
}

// captureOf records one layer and head of so many prompts of 1,000 tokens.
func captureOf(n, layer int) capture.Config {
	c := capture.Config{Header: dumps.Header{Plan: dumps.Plan{WindowRows: 8, MaxNewTokens: 24, Layers: []int{layer}, Heads: []int{0}}}}
	for range n {
		c.Prompts = append(c.Prompts, prompts.Prompt{Tokens: make([]int32, 1000)})
	}
	return c
}

// TestBatchAddsCachesAndScores compares the working memory of eight replies with that of
// one. Each reply adds a row of scores. What is packed for products by tiles does not
// grow, because only the prompt that is being read uses tiles: run this test with
// ATTNSCOPE_CPU=amx-model as well.
func TestBatchAddsCachesAndScores(t *testing.T) {
	m := fourLayers()
	c := captureOf(8, 0)
	c.Batch = 1
	one := Capture(&c, m, 2)
	c.Batch = 8
	eight := Capture(&c, m, 2)
	const positions = 1024
	if want := int64(8 * 6 * positions * 4); eight.Work-one.Work != want {
		t.Errorf("eight replies need %d bytes of working memory more than one, want %d", eight.Work-one.Work, want)
	}
	if want := int64(positions) * 4 * 2 * 64 * 4; one.Cache != want || eight.Cache != 8*want {
		t.Errorf("caches of %d and %d bytes, want %d and %d", one.Cache, eight.Cache, want, 8*want)
	}
}

// TestCardBatch gives a card room for a number of caches of float32 and a byte less, and a
// host room for the records of a number of replies.
func TestCardBatch(t *testing.T) {
	m := fourLayers()
	c := captureOf(6, 0)
	c.Batch = 1
	need := Capture(&c, m, 1)
	one := need.CardMemory(&m, &c.Header.Plan)
	const cache = 1024 * 4 * 2 * 64 * 4
	if one.Cache != cache {
		t.Fatalf("a cache of %d bytes, want %d", one.Cache, cache)
	}
	rest := one.Work + one.Recording
	c.Batch = 4
	records := Capture(&c, m, 1).Recording
	const plenty = 1 << 40
	for _, x := range []struct {
		free, available int64
		want            int
	}{
		{2 * (rest + 3*cache), plenty, 3},
		{2*(rest+3*cache) - 2, plenty, 2},
		{2 * rest, plenty, 1},
		{-plenty, plenty, 1},
		{plenty, plenty, 6}, // prompts
		{plenty, 2 * records, 4},
		{plenty, 2*records - 2, 3},
	} {
		if got := CardBatch(c, m, x.free, x.available); got != x.want {
			t.Errorf("with %d bytes on the card and %d on the host: %d replies, want %d", x.free, x.available, got, x.want)
		}
	}
}

// TestStatesAreCounted compares the states of one reply, of eight, and of prompts with a
// document, whose states at its end are kept too.
func TestStatesAreCounted(t *testing.T) {
	m := model.Config{
		Layers: 2, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Hidden: 192, Intermediate: 512, Vocab: 1000,
		Shapes: []model.LayerShape{{Kind: model.Linear}, {Kind: model.Attention, Heads: 6, KVHeads: 2, KeyDim: 32, ValueDim: 32, CacheOf: 1}},
		Mixers: []model.MixerSize{{State: 1000, Weights: 5000, Width: 300}, {}},
	}
	c := captureOf(8, 1)
	for _, way := range []struct {
		batch    int
		document string
		want     int64
	}{{1, "", 4000}, {8, "", 32000}, {1, "d", 12000}, {8, "d", 40000}} {
		c.Batch = way.batch
		for i := range c.Prompts {
			c.Prompts[i].Document = way.document
		}
		need := Capture(&c, m, 2)
		if need.States != way.want {
			t.Errorf("batch %d, document %q: states of %d bytes, want %d", way.batch, way.document, need.States, way.want)
		}
		if got := need.Memory(7) - need.Cache - need.Work - need.Recording; got != way.want+7 {
			t.Errorf("%d bytes of weights and states, want %d", got, way.want+7)
		}
	}
}

// TestStreamedBatch reads as many prompts together as memory allows.
func TestStreamedBatch(t *testing.T) {
	m := model.Config{Layers: 4, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Hidden: 192, Intermediate: 512, Vocab: 1000}
	c := capture.Config{Header: dumps.Header{Plan: dumps.Plan{WindowRows: 8, MaxNewTokens: 24, Layers: []int{0}, Heads: []int{0}}}}
	for range 40 {
		c.Prompts = append(c.Prompts, prompts.Prompt{Tokens: make([]int32, 1000)})
	}
	last := 0
	for memory := int64(1); ; memory += 1 << 20 {
		n := StreamedBatch(c, m, 2, memory)
		c.Batch = n
		need := Streamed(&c, m, 2)
		if n < last || n > 1 && need.Memory(0) > memory || need.Passes != (40+n-1)/n+(40*24+n-1)/n {
			t.Errorf("%d bytes: %d prompts together after %d, which take %d bytes in %d passes", memory, n, last, need.Memory(0), need.Passes)
		}
		if last = n; n == MostStreamed {
			break
		}
		if memory > 1<<30 {
			t.Fatalf("%d prompts together in a GiB", n)
		}
	}
	c.Prompts = c.Prompts[:3]
	if n := StreamedBatch(c, m, 2, 1<<40); n != 3 {
		t.Errorf("%d of 3 prompts together", n)
	}
}

// TestCardMemoryOfTotals compares plans with and without the sums and pictures that stay on
// a card until a prompt has been read.
func TestCardMemoryOfTotals(t *testing.T) {
	m := model.Config{Layers: 4, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Hidden: 192, Intermediate: 512, Vocab: 1000}
	need := Need{Positions: 1000}
	recording := func(none bool, side int) int64 {
		plan := dumps.Plan{Layers: []int{0, 1, 3}, Heads: []int{0, 5}, NoPromptSums: none, Overview: side}
		return need.CardMemory(&m, &plan).Recording
	}
	if got, want := recording(false, 0)-recording(true, 0), int64(3*2*1000*8); got != want {
		t.Errorf("the sums take %d bytes, want %d", got, want)
	}
	if got, want := recording(true, 50)-recording(true, 0), int64(3*2*50*50*4); got != want {
		t.Errorf("the overview takes %d bytes, want %d", got, want)
	}
	need.Batch = 3 // each of the replies has a cache
	if got, want := need.CardMemory(&m, &dumps.Plan{}).Cache, int64(3*1000*4*2*(32+32)*4); got != want {
		t.Errorf("the caches of three replies take %d bytes, want %d", got, want)
	}
}
