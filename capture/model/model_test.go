package model

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/capture/checkpoint"
	"github.com/attnscope/attnscope/capture/cpu"
	"github.com/attnscope/attnscope/capture/tensor"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// golden holds the expected values of a fixture, made by transformers.
type golden struct {
	t *testing.T
	f *checkpoint.File
}

func openGolden(t *testing.T, dir string) golden {
	f, err := checkpoint.ReadSafetensors(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return golden{t, f}
}

func (g golden) floats(name string) []float32 {
	x, ok := g.f.Tensor(name)
	if !ok {
		g.t.Fatalf("no %s in the fixture", name)
	}
	v, err := x.Float32()
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

func (g golden) ints(name string) []int32 {
	x, _ := g.f.Tensor(name)
	v, err := x.Int32()
	if err != nil {
		g.t.Fatal(err)
	}
	return v
}

// watcher keeps every weight it is shown: [layer][head][position][key].
type watcher struct {
	mu   sync.Mutex
	rows map[[3]int][]float32
}

func (w *watcher) Tile(layer, _ int, t *cpu.Tile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range t.Rows {
		pos := t.Pos0 + i
		row := make([]float32, pos+1)
		copy(row[min(t.Key0, pos+1):], t.Weights[i*t.Stride:i*t.Stride+t.Keys])
		w.rows[[3]int{layer, t.Head, pos}] = row
	}
}

func (w *watcher) States(int, int, int, []float32, []float32, []float32) {}

// load opens a model folder with a chunk size and threads.
func load(t *testing.T, dir string, chunk, threads int) *Model {
	t.Helper()
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	m, err := Load(ck, Options{Threads: threads, Chunk: chunk})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close(); ck.Close() })
	return m
}

func TestFixtureModels(t *testing.T) {
	for _, name := range []string{"llama", "mistral", "qwen2", "gemma2", "phi3"} {
		for _, way := range []struct{ chunk, threads int }{{512, 2}, {512, 1}, {7, 2}, {64, 2}, {1, 1}} {
			t.Run(fmt.Sprintf("%s/chunk=%d/threads=%d", name, way.chunk, way.threads), func(t *testing.T) {
				testFixture(t, sharedtest.Dir(t, "fixtures/models/"+name), way.chunk, way.threads)
			})
		}
	}
}

// TestOwnModels runs the checkpoints of testdata/make_models.py.
func TestOwnModels(t *testing.T) {
	list, err := filepath.Glob("testdata/*/model.safetensors")
	if err != nil || len(list) < 7 {
		t.Fatalf("%d checkpoints in testdata (%v)", len(list), err)
	}
	for _, path := range list {
		for _, way := range []struct{ chunk, threads int }{{512, 2}, {7, 2}, {1, 1}} {
			dir := filepath.Dir(path)
			t.Run(fmt.Sprintf("%s/chunk=%d", filepath.Base(dir), way.chunk), func(t *testing.T) { testFixture(t, dir, way.chunk, way.threads) })
		}
	}
}

func testFixture(t *testing.T, dir string, chunk, threads int) {
	checkFixture(t, openGolden(t, dir), load(t, dir, chunk, threads))
}

// checkFixture compares a model's logits, weights and greedy tokens with golden
// values.
func checkFixture(t *testing.T, g golden, m *Model) {
	ids, reply := g.ints("input_ids"), g.ints("gen_ids")
	c, s := m.Config(), m.NewSession()
	defer s.Close()
	w := &watcher{rows: map[[3]int][]float32{}}
	logits := make([]float32, c.Vocab)
	mean := make([]float64, c.Vocab)
	var argmax []int32
	greedy := NewSampler(0, 0)
	err := s.Forward(context.Background(), ids, Pass{Recorder: w, Logits: func(row int, l []float32) {
		copy(logits, l)
		argmax = append(argmax, greedy.Next(l))
		for i, v := range l {
			mean[i] += float64(v) / float64(len(ids))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	near(t, "logits_last", logits, g.floats("logits_last"), 1e-4)
	meanLogits := make([]float32, len(mean))
	for i, v := range mean {
		meanLogits[i] = float32(v)
	}
	near(t, "logits_mean", meanLogits, g.floats("logits_mean"), 1e-4)
	if want := g.ints("argmax_all"); !slices.Equal(argmax, want) {
		t.Errorf("argmax of every position: %v, want %v", argmax, want)
	}
	all := g.floats("gen_logits")
	var got []int32
	for r := range reply {
		near(t, fmt.Sprintf("gen_logits row %d", r), logits, all[r*c.Vocab:(r+1)*c.Vocab], 1e-4)
		got = append(got, greedy.Next(logits))
		err := s.Forward(context.Background(), got[r:], Pass{Recorder: w, Logits: func(_ int, l []float32) { copy(logits, l) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, reply) {
		t.Fatalf("greedy tokens %v, want %v", got, reply)
	}
	for l := range c.Layers {
		tri, ok := g.f.Tensor(fmt.Sprintf("attn_tri.%d", l))
		if !ok {
			continue
		}
		tolerance := func(want float64) float64 { return 1e-5 }
		if tri.DType == tensor.F16 {
			tolerance = func(want float64) float64 { return 1e-5 + 5e-4*want }
		}
		checkAttention(t, g, w, c, l, len(ids), len(reply), tolerance)
	}
}

func checkAttention(t *testing.T, g golden, w *watcher, c Config, l, n, gen int, tolerance func(float64) float64) {
	tri, rows := g.floats(fmt.Sprintf("attn_tri.%d", l)), g.floats(fmt.Sprintf("gen_attn.%d", l))
	for h := range c.Heads {
		for i := range n + gen {
			want := rows[(h*gen+max(0, i-n))*(n+gen):][:i+1]
			if i < n {
				want = tri[h*n*(n+1)/2+i*(i+1)/2:][:i+1]
			}
			for j, v := range w.rows[[3]int{l, h, i}] {
				if d := math.Abs(float64(v) - float64(want[j])); d > tolerance(float64(want[j])) {
					t.Fatalf("layer %d, head %d, query %d, key %d: weight %g, want %g", l, h, i, j, v, want[j])
				}
			}
		}
	}
}

// near compares with a tolerance relative to the largest wanted value.
func near(t *testing.T, what string, got, want []float32, tolerance float64) {
	t.Helper()
	top := 0.0
	for _, v := range want {
		top = max(top, math.Abs(float64(v)))
	}
	for i := range want {
		if math.Abs(float64(got[i])-float64(want[i])) > tolerance*top {
			t.Fatalf("%s: element %d is %g, want %g (largest %g)", what, i, got[i], want[i], top)
		}
	}
}
