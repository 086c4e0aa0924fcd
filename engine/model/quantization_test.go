package model

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
)

// quantizedGolden is golden.json of testdata/make_quantized.py.
type quantizedGolden struct {
	Weights map[string]struct {
		DType, SHA256 string
		Shape         []int
		First         []float32
	}
	Prompt, Tokens []int32
	Logits         []float32
}

// quantizedFolders returns the checkpoints that testdata/make_quantized.py made.
func quantizedFolders(t *testing.T) []string {
	t.Helper()
	list, err := filepath.Glob("testdata/quantized/*")
	if err != nil || len(list) < 20 {
		t.Fatalf("%d folders of quantized checkpoints, error %v", len(list), err)
	}
	return list
}

func readQuantizedGolden(t *testing.T, dir string) quantizedGolden {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "golden.json"))
	if err != nil {
		t.Fatal(err)
	}
	var g quantizedGolden
	if err := json.Unmarshal(text, &g); err != nil {
		t.Fatal(err)
	}
	return g
}

// TestQuantizedWeightsBitForBit compares every weight with what the libraries decode.
func TestQuantizedWeightsBitForBit(t *testing.T) {
	for _, dir := range quantizedFolders(t) {
		g := readQuantizedGolden(t, dir)
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ReadConfig(ck); err != nil {
			t.Fatal(err)
		}
		others := slices.DeleteFunc(ck.Names(), func(name string) bool { return strings.HasSuffix(name, ".bias") })
		if len(others) != len(g.Weights) {
			t.Errorf("%s: tensors %v, want %d", dir, ck.Names(), len(g.Weights))
		}
		for name, want := range g.Weights {
			w, ok := ck.Tensor(name)
			if !ok {
				t.Errorf("%s: no weight %s", dir, name)
				continue
			}
			if w.DType.String() != want.DType || !slices.Equal(w.Shape, want.Shape) {
				t.Errorf("%s: %s is %s %v, want %s %v", dir, name, w.DType, w.Shape, want.DType, want.Shape)
			}
			plain, err := w.Plain()
			if err != nil {
				t.Fatal(err)
			}
			sum := sha256.Sum256(plain.Data)
			if hex.EncodeToString(sum[:]) != want.SHA256 {
				x, _ := plain.Float32()
				t.Errorf("%s: the values of %s differ: %v..., want %v...", dir, name, x[:4], want.First)
			}
		}
		ck.Close()
	}
}

// TestQuantizedModels compares logits and greedy tokens with those of transformers, and
// the memory of the packed weights with what is told before they are read.
func TestQuantizedModels(t *testing.T) {
	for _, dir := range quantizedFolders(t) {
		g := readQuantizedGolden(t, dir)
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := Load(ck, Options{})
		if err != nil {
			t.Fatal(err)
		}
		s := m.NewSession()
		greedy := NewSampler(0, 0)
		next := g.Prompt
		for i, want := range g.Tokens {
			logits := make([]float32, m.config.Vocab)
			if err := s.Forward(t.Context(), next, Pass{Logits: func(_ int, l []float32) { copy(logits, l) }}); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				near(t, dir+": logits", logits, g.Logits, 1e-5)
			}
			got := greedy.Next(logits)
			if got != want {
				t.Errorf("%s: greedy token %d is %d, want %d", dir, i, got, want)
			}
			next = []int32{got}
		}
		s.Close()
		var w int
		for l := range m.weights.layers {
			for _, x := range m.weights.layers[l].matrices() {
				w += x.Bytes()
			}
		}
		w += m.weights.head.Bytes()
		told := m.config.WeightBytes(ck, string(cpu.F32))
		if told < int64(w) || told > int64(w)+4*1000 {
			t.Errorf("%s: %d bytes of weights, %d were told", dir, w, told)
		}
		m.Close()
		ck.Close()
	}
}

// TestQuantizationIsReadByRule checks that what is not understood is an error that
// names it.
func TestQuantizationIsReadByRule(t *testing.T) {
	for _, c := range []struct{ from, old, new, want string }{
		{"gptq2", `"quant_method": "gptq"`, `"quant_method": "hqq"`, `method "hqq" is not supported; these are: fp8, `},
		{"gptq2", `"bits": 2`, `"bits": 5`, "quantization_config.bits is 5, want 2 3 4 8"},
		{"gptq2", `"sym"`, `"symm"`, "quantization_config.symm is false, which is not understood"},
		{"gptq2", `"sym": false`, `"dynamic": {"-:.*gate.*": {}}`, "quantization_config.dynamic"},
		{"gptq2", `"sym": false`, `"checkpoint_format": "marlin"`, `checkpoint_format is "marlin"`},
		{"awq", `"version": "gemm"`, `"version": "gemv"`, `quantization_config.version is "gemv", want gemm`},
		{"fp8-block", `"fmt": "e4m3"`, `"fmt": "e3m4"`, "quantization_config.fmt"},
		{"fp8-block", `"weight_block_size"`, `"weight_blocks"`, "quantization_config.weight_blocks"},
		{"ct-int4", `"pack-quantized"`, `"marlin-24"`, "quantization_config.format"},
		{"ct-int4", `"kv_cache_scheme": null`, `"kv_cache_scheme": {"num_bits": 8}`, "quantization_config.kv_cache_scheme"},
		{"ct-int4", `"num_bits": 4`, `"num_bits": 9`, "config_groups.group_0.weights.num_bits is 9"},
		{"ct-int4", `"dynamic": false`, `"dynamic": true`, "config_groups.group_0.weights.dynamic"},
		{"ct-int4", `"ignore"`, `"sparsity_config": {"format": "sparse-24-bitmask"}, "ignore"`, "sparsity_config.format"},
		{"bnb-nf4", `"load_in_4bit": true`, `"load_in_4bit": false`, "exactly one of"},
		{"bnb-nf4", `"quant_method": "bitsandbytes"`, `"quant_method": "gptq", "bits": 4`, "quantization_config."},
	} {
		err := readChanged(t, c.from, c.old, c.new)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: error %v, want %s", c.from, c.new, err, c.want)
		}
	}
}

// readChanged reads the configuration of a quantized checkpoint in which config.json
// has new in the place of old.
func readChanged(t *testing.T, name, old, with string) error {
	t.Helper()
	dir := t.TempDir()
	from := filepath.Join("testdata/quantized", name)
	text, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), old, with, 1)
	if changed == string(text) {
		t.Fatalf("%s/config.json has no %s", from, old)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	weights, err := filepath.Abs(filepath.Join(from, "model.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(weights, filepath.Join(dir, "model.safetensors")); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	_, err = ReadConfig(ck)
	return err
}
