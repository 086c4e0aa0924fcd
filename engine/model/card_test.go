//go:build cuda

package model

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cuda"
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
	names, chunks := []string{"llama", "mistral", "qwen2", "gemma2", "phi3"}, []int{0, 37}
	if testing.Short() {
		names, chunks = []string{"llama", "gemma2"}, []int{37}
	}
	for _, name := range names {
		for _, chunk := range chunks {
			t.Run(fmt.Sprintf("%s/chunk=%d", name, chunk), func(t *testing.T) {
				dir := sharedtest.Dir(t, "fixtures/models/"+name)
				checkFixture(t, openGolden(t, dir), loadOnCard(t, dir, Options{Chunk: chunk}), 1e-5)
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
		if testing.Short() && !slices.Contains([]string{"qwen2_moe", "gpt2", "phi"}, filepath.Base(dir)) {
			continue
		}
		t.Run(filepath.Base(dir), func(t *testing.T) {
			if what := configAt(t, dir).NoCard(); what != "" {
				refusedByCard(t, dir, what)
				return
			}
			weights := 1e-5
			if filepath.Base(dir) == "gemma3_text" { // seven layers of 32 channels: a rounding of 1e-6 in the first doubles in each
				weights = 1e-4
			}
			checkFixture(t, openGolden(t, dir), loadOnCard(t, dir, Options{Chunk: 37}), weights)
			if gguf := filepath.Join(dir, "model.gguf"); exists(gguf) && !testing.Short() {
				checkFixture(t, openGolden(t, dir), loadOnCard(t, gguf, Options{}), weights)
			}
		})
	}
}

// TestBfloat16WeightsOnCard runs a checkpoint of bfloat16 weights in float32. They take half
// the memory of float32, unless ATTNSCOPE_CUDA_TERMS is off, and the numbers are right in
// both forms.
func TestBfloat16WeightsOnCard(t *testing.T) {
	needCard(t)
	const dir = "testdata/olmo" // has no norms with weights, which would be float32 in both forms
	bytes := map[string]int64{}
	for _, setting := range []string{"", "off"} {
		t.Setenv("ATTNSCOPE_CUDA_TERMS", setting)
		m := loadOnCard(t, dir, Options{Chunk: 37})
		checkFixture(t, openGolden(t, dir), m, 1e-5)
		bytes[setting] = m.Card().WeightBytes()
	}
	if share := float64(bytes[""]) / float64(bytes["off"]); share < 0.3 || share > 0.6 {
		t.Errorf("bfloat16 weights take %d bytes, widened ones %d: want about half", bytes[""], bytes["off"])
	}
}

// refusedByCard checks that a model that cards cannot run is refused by what it needs.
func refusedByCard(t testing.TB, dir, what string) {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := Load(ck, Options{Device: "cuda"})
	if err == nil {
		m.Close()
	}
	if err == nil || !strings.Contains(err.Error(), what) {
		t.Errorf("%v, want an error with %q", err, what)
	}
}

// sumsOnly asks for the sums of all heads over a prompt and for a picture of side cells,
// and nothing else.
func sumsOnly(prompt, side int) *Recorder {
	return &Recorder{
		Wants: func(_, pos0, n int) Wants {
			end := pos0 + n
			return Wants{Rows: end, LSE: end, States: end, Sums: true, Until: prompt, Side: side, Prompt: prompt}
		},
		Sums:  func(int, int, int, []int64) {},
		Cells: func(int, int, []float32) {},
	}
}

// TestStepOnCard is TestStepAgainstForward on a card, for models with biases, soft caps and
// windows, experts, and embeddings of positions.
func TestStepOnCard(t *testing.T) {
	needCard(t)
	for _, name := range []string{"gemma2", "qwen2_moe", "gpt2", "llama-biases"} {
		t.Run(name, func(t *testing.T) {
			stepsLikeForward(t, loadOnCard(t, "testdata/"+name, Options{Compute: "f32"}))
		})
	}
}

// TestMemoryOnCard: the estimate is within a fifth of the most that
// was in use.
func TestMemoryOnCard(t *testing.T) {
	needCard(t)
	g := openGolden(t, sharedtest.Dir(t, "fixtures/models/llama"))
	for _, compute := range []string{"f32", "bf16"} {
		for n, side := range map[int]int{40: 0, 168: 0, 160: 150} {
			m := loadOnCard(t, sharedtest.Dir(t, "fixtures/models/llama"), Options{Compute: compute})
			c, s := m.Config(), m.NewSession()
			ids := g.ints("input_ids")[:n]
			pass := Pass{LogitsFrom: n - 1, Logits: func(int, []float32) {}, Recorder: sumsOnly(n, side)}
			err := s.Forward(context.Background(), ids, pass)
			if err == nil { // a step of decoding takes scores
				err = s.Forward(context.Background(), ids[:1], Pass{Logits: func(int, []float32) {}})
			}
			if err != nil {
				t.Fatal(err)
			}
			s.Close()
			got, want := m.Card().PeakBytes(), c.CardMemory(compute, n+1, cuda.Recorded{Layers: c.Layers, Heads: c.Heads, Sums: true, Side: side}).Total()
			if float64(got) < 0.8*float64(want) || float64(got) > 1.2*float64(want) {
				t.Errorf("%s, %d tokens: %d bytes were in use, the estimate is %d", compute, n, got, want)
			}
		}
	}
}

// TestCompareWithOnCard: narrow arithmetic is seen to be off by about its rounding,
// float32 by nothing beside itself.
func TestCompareWithOnCard(t *testing.T) {
	needCard(t)
	g := openGolden(t, sharedtest.Dir(t, "fixtures/models/llama"))
	dir, ids := sharedtest.Dir(t, "fixtures/models/llama"), g.ints("input_ids")[:60]
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	for compute, bound := range map[string]float64{"f32": 0, "bf16": 0.06, "f16": 0.01} {
		m := loadOnCard(t, dir, Options{Compute: compute})
		e, err := m.CompareWith(context.Background(), func() (*Model, error) { return Load(ck, Options{Device: "cuda"}) }, ids)
		if err != nil {
			t.Fatal(err)
		}
		for what, v := range map[string]float64{"weights": e.Weights, "logits": e.Logits, "rows": e.Rows / 2} {
			if v > bound || v == 0 && bound > 0 || e.Tokens != 60 {
				t.Errorf("%s: %s are %g off, want at most %g and, but for f32, more than 0: %+v", compute, what, v, bound, e)
			}
		}
	}
}

// TestClosedCardFails: what is used after its end says so.
func TestClosedCardFails(t *testing.T) {
	needCard(t)
	dir := sharedtest.Dir(t, "fixtures/models/llama")
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := Load(ck, Options{Device: "cuda:0"})
	if err != nil {
		t.Fatal(err)
	}
	s := m.NewSession()
	m.Close()
	if err := s.Forward(context.Background(), []int32{1}, Pass{}); err == nil {
		t.Error("a closed card went on")
	}
	s.Close()
	if _, err := Load(ck, Options{Device: "cuda:9"}); err == nil || !strings.Contains(err.Error(), "there is no card 9") {
		t.Errorf("card 9: %v", err)
	}
}

// TestDamagedWeightsOnCard: what is not finite is refused, as on the
// processor.
func TestDamagedWeightsOnCard(t *testing.T) {
	needCard(t)
	src := sharedtest.Dir(t, "fixtures/models/llama")
	dir := t.TempDir()
	for _, name := range []string{"config.json", "model.safetensors"} {
		b, err := os.ReadFile(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "model.safetensors" { // the last element of the last tensor
			copy(b[len(b)-4:], []byte{0, 0, 0xc0, 0x7f})
		}
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if m, err := Load(ck, Options{Device: "cuda"}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("%v, want an error that names the damaged tensor", err)
		if m != nil {
			m.Close()
		}
	}
}
