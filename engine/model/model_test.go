package model

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
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
	mu    sync.Mutex
	rows  map[[3]int][]float32
	sinks map[[3]int]float32 // the share of the sink in these rows; nil: no head has one
	sums  string             // a row that does not sum to 1 with its sink
}

func (w *watcher) recorder() *Recorder { return &Recorder{Tile: w.tile} }

func (w *watcher) tile(layer int, t *cpu.Tile) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range t.Rows {
		pos := t.Pos0 + i
		row := make([]float32, pos+1)
		copy(row[min(t.Key0, pos+1):], t.Weights[i*t.Stride:i*t.Stride+t.Keys])
		w.rows[[3]int{layer, t.Head, pos}] = row
		sum := 0.0
		for _, v := range row {
			sum += float64(v)
		}
		if t.Sinks != nil {
			if w.sinks == nil {
				w.sinks = map[[3]int]float32{}
			}
			w.sinks[[3]int{layer, t.Head, pos}] = t.Sinks[i]
			sum += float64(t.Sinks[i])
		}
		if math.Abs(sum-1) > 1e-5 {
			w.sums = fmt.Sprintf("layer %d, head %d, position %d: the row and its sink sum to %g", layer, t.Head, pos, sum)
		}
	}
}

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
				dir := sharedtest.Dir(t, "fixtures/models/"+name)
				testFixture(t, dir, dir, way.chunk, way.threads)
			})
		}
	}
}

// TestOwnModels runs the checkpoints of testdata/make_models.py;
// ATTNSCOPE_TINY_MODELS names a folder with all that the script makes.
func TestOwnModels(t *testing.T) {
	dir := os.Getenv("ATTNSCOPE_TINY_MODELS")
	if dir == "" {
		dir = "testdata"
	}
	list, err := filepath.Glob(filepath.Join(dir, "*/model.safetensors"))
	if err != nil || len(list) < 7 {
		t.Fatalf("%d checkpoints in %s (%v)", len(list), dir, err)
	}
	for _, path := range list {
		dir := filepath.Dir(path)
		for _, way := range []struct{ chunk, threads int }{{512, 2}, {7, 2}, {1, 1}} {
			t.Run(fmt.Sprintf("%s/chunk=%d", filepath.Base(dir), way.chunk), func(t *testing.T) { testFixture(t, dir, dir, way.chunk, way.threads) })
		}
		for _, name := range []string{"model.gguf", "old.gguf"} { // testdata/make_gguf.py
			if gguf := filepath.Join(dir, name); exists(gguf) {
				t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) { testFixture(t, dir, gguf, 7, 2) })
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// testFixture runs the model at path against the values in dir.
func testFixture(t *testing.T, dir, path string, chunk, threads int) {
	checkFixture(t, openGolden(t, dir), load(t, path, chunk, threads), 1e-5)
}

// checkFixture compares a model's logits, weights and greedy tokens with golden
// values; weights is the bound of theirs.
func checkFixture(t *testing.T, g golden, m *Model, weights float64) {
	ids, reply := g.ints("input_ids"), g.ints("gen_ids")
	c, s := m.Config(), m.NewSession()
	defer s.Close()
	w := &watcher{rows: map[[3]int][]float32{}}
	logits := make([]float32, c.Vocab)
	mean := make([]float64, c.Vocab)
	var argmax []int32
	greedy := NewSampler(0, 0)
	err := s.Forward(context.Background(), ids, Pass{Recorder: w.recorder(), Logits: func(row int, l []float32) {
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
		err := s.Forward(context.Background(), got[r:], Pass{Recorder: w.recorder(), Logits: func(_ int, l []float32) { copy(logits, l) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	if !slices.Equal(got, reply) {
		t.Fatalf("greedy tokens %v, want %v", got, reply)
	}
	if w.sums != "" {
		t.Error(w.sums)
	}
	for l := range c.Layers {
		tri, ok := g.f.Tensor(fmt.Sprintf("attn_tri.%d", l))
		if !ok {
			continue
		}
		tolerance := func(want float64) float64 { return weights }
		if tri.DType == tensor.F16 {
			tolerance = func(want float64) float64 { return weights + 5e-4*want }
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

// TestLengthOfTheSequence: a rotation that depends on the length turns a prompt
// that comes in pieces as one that comes at once, and a reply that is followed
// as one that is decoded.
func TestLengthOfTheSequence(t *testing.T) {
	for _, name := range []string{"llama-dynamic", "phi3-longrope"} {
		dir := "testdata/" + name
		ids := openGolden(t, dir).ints("input_ids")
		m := load(t, dir, 512, 2)
		if !m.config.Rope.Varies(len(ids)) || m.config.Rope.Varies(40) {
			t.Fatalf("%s: %d tokens are not long, or 40 are", name, len(ids))
		}
		// run passes tokens in pieces after a start of 40.
		run := func(piece, length int) []float32 {
			s := m.NewSession()
			var last []float32
			if err := s.Forward(context.Background(), ids[:40], Pass{LogitsFrom: 40, Length: length}); err != nil {
				t.Fatal(err)
			}
			for lo := 40; lo < len(ids); lo += piece {
				hi := min(lo+piece, len(ids))
				if err := s.Forward(context.Background(), ids[lo:hi], Pass{Length: length, Logits: func(_ int, l []float32) { last = append(last[:0], l...) }}); err != nil {
					t.Fatal(err)
				}
			}
			return last
		}
		var once []float32
		if err := m.NewSession().Forward(context.Background(), ids, Pass{Logits: func(_ int, l []float32) { once = append(once[:0], l...) }}); err != nil {
			t.Fatal(err)
		}
		near(t, name+" in pieces", run(11, len(ids)), once, 1e-5)
		followed, decoded := run(32, 1), run(1, 0)
		near(t, name+" followed", followed, decoded, 1e-5)
		if m.config.Rope.Restart { // all keys are computed anew at the original length
			near(t, name+" decoded", decoded, once, 1e-5)
		} else if slices.Equal(once, decoded) {
			t.Errorf("%s: decoding past the original length gives what a long prompt gives", name)
		}
	}
}

// TestLayersThatPredictAhead: the tensors of the layers after the last one are left out as
// far as the configuration says that there are such layers.
func TestLayersThatPredictAhead(t *testing.T) {
	f, err := checkpoint.ReadSafetensors("testdata/glm4_moe/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := []tensor.Tensor{tensor.FromFloat32("model.layers.3.eh_proj.weight", []float32{1}, 1)}
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		list = append(list, x)
	}
	config, err := os.ReadFile("testdata/glm4_moe/config.json")
	if err != nil {
		t.Fatal(err)
	}
	for later, want := range map[string]string{"0": "model.layers.3.eh_proj", "1": ""} {
		text := strings.Replace(string(config), `"num_nextn_predict_layers": 0`, `"num_nextn_predict_layers": `+later, 1)
		err := loadWritten(t, []byte(text), list)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s layers that predict ahead: %v, want %q", later, err, want)
		}
	}
}

// loadWritten writes a checkpoint to a folder and returns the error of loading it.
func loadWritten(t *testing.T, config []byte, list []tensor.Tensor) error {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := Load(ck, Options{Threads: 1})
	if err == nil {
		m.Close()
	}
	return err
}

// TestMissingBiasIsRefused: a bias that the configuration announces is not taken for zero.
func TestMissingBiasIsRefused(t *testing.T) {
	f, err := checkpoint.ReadSafetensors("testdata/llama-biases/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	config, err := os.ReadFile("testdata/llama-biases/config.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, missing := range []string{"model.layers.1.self_attn.k_proj.bias", "model.layers.0.self_attn.o_proj.bias", "model.layers.0.mlp.down_proj.bias"} {
		var list []tensor.Tensor
		for _, n := range f.Names() {
			if x, _ := f.Tensor(n); n != missing {
				list = append(list, x)
			}
		}
		err := loadWritten(t, config, list)
		if len(list) != len(f.Names())-1 || err == nil || !strings.Contains(err.Error(), "no tensor "+missing) {
			t.Errorf("without %s: %v", missing, err)
		}
	}
}

// TestUnreadTensorIsRefused: a weight that the architecture does not have would
// be left out of every number.
func TestUnreadTensorIsRefused(t *testing.T) {
	f, err := checkpoint.ReadSafetensors("testdata/qwen3/model.safetensors")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	list := []tensor.Tensor{tensor.FromFloat32("model.layers.0.self_attn.q_proj.lora", []float32{1}, 1)}
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		list = append(list, x)
	}
	config, err := os.ReadFile("testdata/qwen3/config.json")
	if err != nil {
		t.Fatal(err)
	}
	open := func() error { return loadWritten(t, config, list) }
	if err := open(); err == nil || !strings.Contains(err.Error(), "q_proj.lora") {
		t.Errorf("%v, want an error that names the tensor", err)
	}
	list[0].Name = "model.layers.0.self_attn.rotary_emb.inv_freq"
	if err := open(); err != nil {
		t.Error(err)
	}
	for i := range list { // a checkpoint of the decoder without its head has shorter names
		list[i].Name = strings.TrimPrefix(list[i].Name, "model.")
	}
	if err := open(); err != nil {
		t.Error(err)
	}
}
