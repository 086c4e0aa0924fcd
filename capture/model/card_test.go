//go:build cuda

package model

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/capture/checkpoint"
	"github.com/attnscope/attnscope/capture/cuda"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// needCard skips a test where there is no card, real or emulated.
func needCard(t testing.TB) {
	t.Helper()
	list, why := cuda.Devices()
	if why == "" {
		why = list[0].Why
	}
	if why != "" {
		t.Skipf("SKIPPED, no card: %s (ATTNSCOPE_LIBCUDA names an emulated driver)", why)
	}
}

// loadOnCard opens a model folder on the first card.
func loadOnCard(t testing.TB, dir string, o Options) *Model {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	o.Device, o.Log = "cuda", func(line string) { t.Log(line) }
	m, err := Load(ck, o)
	if err != nil {
		ck.Close()
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); ck.Close() })
	return m
}

// TestFixtureModelsOnCard captures whole models through the card: logits,
// every weight and greedy tokens against golden values.
func TestFixtureModelsOnCard(t *testing.T) {
	needCard(t)
	for _, name := range []string{"llama", "mistral", "qwen2", "gemma2", "phi3"} {
		for _, chunk := range []int{0, 37} {
			t.Run(fmt.Sprintf("%s/chunk=%d", name, chunk), func(t *testing.T) {
				dir := sharedtest.Dir(t, "fixtures/models/"+name)
				checkFixture(t, openGolden(t, dir), loadOnCard(t, dir, Options{Chunk: chunk}))
			})
		}
	}
}

// TestOwnModelsOnCard runs the checkpoints of testdata/make_models.py.
func TestOwnModelsOnCard(t *testing.T) {
	needCard(t)
	list, err := filepath.Glob("testdata/*/model.safetensors")
	if err != nil || len(list) < 7 {
		t.Fatalf("%d checkpoints in testdata (%v)", len(list), err)
	}
	for _, path := range list {
		dir := filepath.Dir(path)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			checkFixture(t, openGolden(t, dir), loadOnCard(t, dir, Options{Chunk: 37}))
		})
	}
}
