package model

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// generateGreedy generates n tokens and returns them with every weight seen.
func generateGreedy(t *testing.T, m *Model, prompt []int32, n int) ([]int32, *watcher, []float32) {
	s, w, pick := m.NewSession(), &watcher{rows: map[[3]int][]float32{}}, NewSampler(0, 0)
	logits := make([]float32, m.Config().Vocab)
	var first []float32
	next := prompt
	var out []int32
	for range n {
		err := s.Forward(context.Background(), next, Pass{Recorder: w.recorder(), LogitsFrom: len(next) - 1, Logits: func(_ int, l []float32) { copy(logits, l) }})
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = slices.Clone(logits)
		}
		out = append(out, pick.Next(logits))
		next = out[len(out)-1:]
	}
	return out, w, first
}

// TestSmolLM2AgainstReference runs the default model from its GGUF file.
func TestSmolLM2AgainstReference(t *testing.T) {
	path, err := checkpoint.Resolve(context.Background(), checkpoint.DefaultModel, checkpoint.ResolveOptions{Offline: true})
	if err != nil {
		t.Skipf("SKIPPED, the default model is not here (attnscope models pull %s fetches it): %v", checkpoint.DefaultModel, err)
	}
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t, "fixtures/real"), "smollm2-reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		PromptIDs []int32              `json:"prompt_ids"`
		Top5      [][2]float64         `json:"top5_logits_after_prompt"`
		Greedy    []int32              `json:"greedy_ids"`
		Attention map[string][]float64 `json:"attention_of_last_prompt_token"`
	}
	if err := json.Unmarshal(text, &ref); err != nil {
		t.Fatal(err)
	}
	m := load(t, path, 512, 2)
	got, w, logits := generateGreedy(t, m, ref.PromptIDs, len(ref.Greedy))
	if !slices.Equal(got, ref.Greedy) {
		t.Errorf("greedy tokens %v, want %v", got, ref.Greedy)
	}
	for _, p := range ref.Top5 {
		if l := float64(logits[int(p[0])]); math.Abs(l-p[1]) > 1e-4*p[1]+5e-5 {
			t.Errorf("logit of token %g is %g, want %g", p[0], l, p[1])
		}
	}
	for at, want := range ref.Attention {
		var layer, head int
		if n, _ := fmt.Sscanf(at, "%d.%d", &layer, &head); n != 2 {
			t.Fatalf("key %q", at)
		}
		row := w.rows[[3]int{layer, head, len(ref.PromptIDs) - 1}]
		for j, v := range want { // printed with six decimals
			if math.Abs(float64(row[j])-v) > 1.1e-5 {
				t.Errorf("layer %d, head %d, key %d: weight %g, want %g", layer, head, j, row[j], v)
			}
		}
	}
}

// stories260K converts the llama2.c file to hub layout; its RoPE turns adjacent
// pairs, so rows of wq and wk are put into the order of halves.
func stories260K(t *testing.T, path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]float32, (len(data)-28)/4)
	for i := range x {
		x[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[28+4*i:]))
	}
	const dim, hidden, layers, heads, kvHeads, vocab = 64, 172, 5, 8, 4, 512
	take := func(n int) []float32 { p := x[:n]; x = x[n:]; return p }
	halves := func(w []float32, n int) []float32 {
		out := make([]float32, len(w))
		for h := range n {
			for i := range 4 {
				copy(out[(h*8+i)*dim:], w[(h*8+2*i)*dim:(h*8+2*i+1)*dim])
				copy(out[(h*8+4+i)*dim:], w[(h*8+2*i+1)*dim:(h*8+2*i+2)*dim])
			}
		}
		return out
	}
	list := []tensor.Tensor{tensor.FromFloat32("model.embed_tokens.weight", take(vocab*dim), vocab, dim)}
	each := func(role string, rows, cols, n int) {
		for l := range layers {
			w := take(max(1, rows) * cols)
			if n > 0 {
				w = halves(w, n)
			}
			shape := []int{rows, cols}
			if rows == 0 {
				shape = []int{cols}
			}
			list = append(list, tensor.FromFloat32((&loader{c: &Config{}}).name(role, l, ".weight"), w, shape...))
		}
	}
	each("attn_norm", 0, dim, 0)
	each("q", dim, dim, heads)
	each("k", kvHeads*8, dim, kvHeads)
	each("v", kvHeads*8, dim, 0)
	each("o", dim, dim, 0)
	each("ffn_norm", 0, dim, 0)
	each("gate", hidden, dim, 0)
	each("down", dim, hidden, 0)
	each("up", hidden, dim, 0)
	list = append(list, tensor.FromFloat32("model.norm.weight", take(dim), dim))
	dir := t.TempDir()
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	config := `{"model_type":"llama","hidden_size":64,"intermediate_size":172,"num_hidden_layers":5,"num_attention_heads":8,
		"num_key_value_heads":4,"vocab_size":512,"max_position_embeddings":512,"rms_norm_eps":1e-5,"rope_theta":10000,"tie_word_embeddings":true}`
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestStories260KAgainstReference(t *testing.T) {
	dir := stories260K(t, sharedtest.Dir(t, "data/models/stories260K/stories260K.bin"))
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t, "fixtures/real"), "stories260k-reference.json"))
	if err != nil {
		t.Fatal(err)
	}
	var ref struct {
		IDs []int32 `json:"greedy_ids_from_bos"`
	}
	if err := json.Unmarshal(text, &ref); err != nil {
		t.Fatal(err)
	}
	got, _, _ := generateGreedy(t, load(t, dir, 512, 2), ref.IDs[:1], len(ref.IDs)-1)
	if !slices.Equal(got, ref.IDs[1:]) {
		t.Errorf("greedy tokens %v, want %v", got, ref.IDs[1:])
	}
}

// TestBF16PanelsEqualFloat32 runs a fixture with its weights rounded to
// bfloat16, kept as bfloat16 and as float32: the same numbers.
func TestBF16PanelsEqualFloat32(t *testing.T) {
	src := sharedtest.Dir(t, "fixtures/models/llama")
	f, err := checkpoint.ReadSafetensors(filepath.Join(src, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	config, _ := os.ReadFile(filepath.Join(src, "config.json"))
	var logits [2][]float32
	for i, keep := range []bool{true, false} {
		var list []tensor.Tensor
		for _, name := range f.Names() {
			x, _ := f.Tensor(name)
			v, err := x.Float32()
			if err != nil {
				t.Fatal(err)
			}
			raw := make([]byte, 2*len(v))
			for j := range v {
				h := tensor.F32ToBF16(v[j])
				v[j] = tensor.BF16ToF32(h)
				binary.LittleEndian.PutUint16(raw[2*j:], h)
			}
			out := tensor.FromFloat32(name, v, x.Shape...)
			if keep {
				out = tensor.Tensor{Name: name, DType: tensor.BF16, Shape: x.Shape, Data: raw}
			}
			list = append(list, out)
		}
		dir := t.TempDir()
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
			t.Fatal(err)
		}
		os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
		_, _, logits[i] = generateGreedy(t, load(t, dir, 512, 2), []int32{1, 5, 9, 200, 3, 77}, 4)
	}
	near(t, "logits", logits[0], logits[1], 1e-6)
}

// TestCompressedCacheOfEverythingDecodesTheSame keeps every slot, by kv head
// and by query head: the same logits as the full cache; keeping half differs.
func TestCompressedCacheOfEverythingDecodesTheSame(t *testing.T) {
	m := load(t, sharedtest.Dir(t, "fixtures/models/llama"), 512, 2)
	g := openGolden(t, sharedtest.Dir(t, "fixtures/models/llama"))
	ids, c := g.ints("input_ids"), m.Config()
	full := m.NewSession()
	if err := full.Forward(context.Background(), ids, Pass{LogitsFrom: len(ids)}); err != nil {
		t.Fatal(err)
	}
	decode := func(s *Session) []float32 {
		var all []float32
		for _, id := range []int32{7, 8, 9} {
			if err := s.Forward(context.Background(), []int32{id}, Pass{Logits: func(_ int, l []float32) { all = append(all, l...) }}); err != nil {
				t.Fatal(err)
			}
		}
		return all
	}
	keep := func(heads, step int) *Session {
		s, err := full.Compress(func(int) ([][]int32, error) {
			list := make([][]int32, heads)
			for h := range list {
				for at := 0; at < len(ids); at += step {
					list[h] = append(list[h], int32(at))
				}
			}
			return list, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if s := keep(c.KVHeads, 2); s.Len() != len(ids) {
		t.Errorf("a compressed sequence goes on at %d, want the true position %d", s.Len(), len(ids))
	}
	byKV, byHead, half := decode(keep(c.KVHeads, 1)), decode(keep(c.Heads, 1)), decode(keep(c.KVHeads, 2))
	want := decode(full)
	near(t, "all slots by kv head", byKV, want, 1e-6)
	near(t, "all slots by query head", byHead, want, 1e-6)
	worst := 0.0
	for i := range want {
		worst = max(worst, math.Abs(float64(half[i]-want[i])))
	}
	if worst < 1e-3 {
		t.Error("dropping half the cache changed nothing")
	}
}
