package forecast

import (
	"testing"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/model"
)

// TestBatchAddsCachesAndScores compares the working memory of eight replies with that of
// one. Each reply adds a row of scores. What is packed for products by tiles does not
// grow, because only the prompt that is being read uses tiles: run this test with
// ATTNSCOPE_CPU=amx-model as well.
func TestBatchAddsCachesAndScores(t *testing.T) {
	m := model.Config{Layers: 4, Heads: 6, KVHeads: 2, HeadDim: 32, ValueDim: 32, Hidden: 192, Intermediate: 512, Vocab: 1000}
	c := capture.Config{Header: dumps.Header{Plan: dumps.Plan{WindowRows: 8, MaxNewTokens: 24, Layers: []int{0}, Heads: []int{0}}}}
	for range 8 {
		c.Prompts = append(c.Prompts, prompts.Prompt{Tokens: make([]int32, 1000)})
	}
	c.Batch = 1
	one := Capture(&c, m, 2)
	c.Batch = 8
	eight := Capture(&c, m, 2)
	const positions = 1024
	if want := int64(8 * 6 * positions * 4); eight.Work-one.Work != want {
		t.Errorf("eight replies need %d bytes of working memory more than one, want %d", eight.Work-one.Work, want)
	}
	if want := int64(positions) * m.CacheBytes(); one.Cache != want || eight.Cache != 8*want {
		t.Errorf("caches of %d and %d bytes, want %d and %d", one.Cache, eight.Cache, want, 8*want)
	}
}
