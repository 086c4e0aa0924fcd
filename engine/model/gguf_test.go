package model

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// withMetadata returns a copy of a GGUF file with further entries of metadata: float32,
// uint32, bool or string by key. An entry that the file already has is replaced.
func withMetadata(t *testing.T, file string, more map[string]any) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	at := 24
	number := func(n int) uint64 {
		at += n
		if n == 4 {
			return uint64(le.Uint32(data[at-4:]))
		}
		return le.Uint64(data[at-8:])
	}
	text := func() string { n := int(number(8)); at += n; return string(data[at-n : at]) }
	var skip func(kind uint32)
	skip = func(kind uint32) {
		switch kind {
		case 0, 1, 7:
			at++
		case 2, 3:
			at += 2
		case 4, 5, 6:
			at += 4
		case 8:
			text()
		case 9:
			kind := uint32(number(4))
			for range number(8) {
				skip(kind)
			}
		default:
			at += 8
		}
	}
	var body []byte
	entries := le.Uint64(data[16:])
	kept := uint64(0)
	for range entries {
		begin := at
		key := text()
		skip(uint32(number(4)))
		if _, replaced := more[key]; !replaced {
			body = append(body, data[begin:at]...)
			kept++
		}
	}
	for key, v := range more {
		body = append(le.AppendUint64(body, uint64(len(key))), key...)
		switch x := v.(type) {
		case float64:
			body = le.AppendUint32(le.AppendUint32(body, 6), math.Float32bits(float32(x)))
		case int:
			body = le.AppendUint32(le.AppendUint32(body, 4), uint32(x))
		case bool:
			body = append(le.AppendUint32(body, 7), map[bool]byte{true: 1}[x])
		case string:
			body = append(le.AppendUint64(le.AppendUint32(body, 8), uint64(len(x))), x...)
		}
		kept++
	}
	names := at
	for range le.Uint64(data[8:]) { // the table of tensors
		text()
		at += 8*int(number(4)) + 12
	}
	out := append(bytes.Clone(data[:24]), body...)
	le.PutUint64(out[16:], kept)
	out = append(out, data[names:at]...)
	pad := func(n int) int { return (n + 31) / 32 * 32 }
	out = append(out, make([]byte, pad(len(out))-len(out))...)
	out = append(out, data[pad(at):]...)
	path := filepath.Join(t.TempDir(), "m.gguf")
	if err := os.WriteFile(path, out, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// ggufConfigOf reads the configuration of a GGUF file.
func ggufConfigOf(t *testing.T, path string) (Config, error) {
	t.Helper()
	ck, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	return ReadConfig(ck)
}

const qwen3GGUF = "testdata/qwen3/model.gguf"

// TestUnknownMetadataIsRefused: a key of the architecture's namespace that nothing
// reads is an error that names it and its value, unless its value says what is done
// anyway.
func TestUnknownMetadataIsRefused(t *testing.T) {
	for key, v := range map[string]any{
		"qwen3.attention.scale":                  0.25,
		"qwen3.attention.causal":                 false,
		"qwen3.attention.max_alibi_bias":         8.0,
		"qwen3.attention.sliding_window":         16,
		"qwen3.attention.temperature_scale":      0.1,
		"qwen3.attention.key_length_swa":         4,
		"qwen3.final_logit_softcapping":          30.0,
		"qwen3.logit_scale":                      0.5,
		"qwen3.rope.scaling.attn_factor":         1.5,
		"qwen3.rope.scaling.yarn_ext_factor":     1.0,
		"qwen3.rope.freq_base_swa":               100.0,
		"qwen3.rope.dimension_sections":          8,
		"qwen3.expert_weights_scale":             2.5,
		"qwen3.tensor_data_layout":               "HF",
		"qwen3.something_new":                    "on",
		"tokenizer.ggml.something_new":           true,
		"qwen3.attention.value_length":           4,
		"general.type":                           "adapter",
		"qwen3.attention.sliding_window_pattern": 2,
	} {
		_, err := ggufConfigOf(t, withMetadata(t, qwen3GGUF, map[string]any{key: v}))
		if err == nil || !strings.Contains(err.Error(), key+" is ") || !strings.Contains(err.Error(), "m.gguf: ") {
			t.Errorf("%s = %v: %v, want an error that names it", key, v, err)
		}
	}
	for key, v := range map[string]any{
		"qwen3.vocab_size":                           7,
		"qwen3.pooling_type":                         3,
		"qwen3.attention.causal":                     true,
		"qwen3.attention.scale":                      0.0,
		"qwen3.attention.layer_norm_epsilon":         0.5, // the family has RMS norms
		"qwen3.expert_count":                         0,
		"qwen3.logit_scale":                          1.0,
		"qwen3.rope.scaling.factor":                  1.0,
		"qwen3.rope.scaling.finetuned":               true,
		"qwen3.rope.scaling.original_context_length": 32,
		"qwen3.vision.block_count":                   7,
		"llama.attention.scale":                      0.5, // of another architecture
		"general.something_new":                      "x",
		"tokenizer.ggml.fim_pre_token_id":            3,
		"quantize.imatrix.file":                      "x",
	} {
		if _, err := ggufConfigOf(t, withMetadata(t, qwen3GGUF, map[string]any{key: v})); err != nil {
			t.Errorf("%s = %v: %v", key, v, err)
		}
	}
}

// TestRopeFactorsOfGGUF: the factor under its old name, and without a type, divides the
// frequencies, as in llama.cpp.
func TestRopeFactorsOfGGUF(t *testing.T) {
	plain, err := ggufConfigOf(t, qwen3GGUF)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		meta map[string]any
		by   float64
	}{
		"linear":                     {map[string]any{"qwen3.rope.scaling.type": "linear", "qwen3.rope.scaling.factor": 4.0}, 4},
		"no type":                    {map[string]any{"qwen3.rope.scaling.factor": 4.0}, 4},
		"old name":                   {map[string]any{"qwen3.rope.scale_linear": 4.0}, 4},
		"old name and type":          {map[string]any{"qwen3.rope.scaling.type": "linear", "qwen3.rope.scale_linear": 4.0}, 4},
		"type none":                  {map[string]any{"qwen3.rope.scaling.type": "none", "qwen3.rope.scaling.factor": 4.0}, 1},
		"0":                          {map[string]any{"qwen3.rope.scaling.factor": 0.0}, 1},
		"an original length alone":   {map[string]any{"qwen3.rope.scaling.original_context_length": 32}, 1},
		"linear without a factor":    {map[string]any{"qwen3.rope.scaling.type": "linear"}, 1},
		"both names, the new counts": {map[string]any{"qwen3.rope.scaling.factor": 2.0, "qwen3.rope.scale_linear": 1.0}, 2},
	} {
		got, err := ggufConfigOf(t, withMetadata(t, qwen3GGUF, c.meta))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for i, inv := range got.Rope.InvFreq {
			if want := float64(plain.Rope.InvFreq[i]) / c.by; math.Abs(float64(inv)-want) > 1e-7*want {
				t.Errorf("%s: frequency %d is %g, want %g", name, i, inv, want)
			}
		}
	}
	for name, meta := range map[string]map[string]any{
		"rope.scale_linear":            {"qwen3.rope.scaling.factor": 2.0, "qwen3.rope.scale_linear": 4.0},
		"rope.scaling.yarn_ext_factor": {"qwen3.rope.scaling.type": "yarn", "qwen3.rope.scaling.factor": 2.0, "qwen3.rope.scaling.yarn_ext_factor": 0.5},
		"rope.scaling.type":            {"qwen3.rope.scaling.type": "dynamic", "qwen3.rope.scaling.factor": 2.0},
		"rope.scaling.factor":          {"qwen3.rope.scaling.factor": -2.0},
	} {
		if _, err := ggufConfigOf(t, withMetadata(t, qwen3GGUF, meta)); err == nil || !strings.Contains(err.Error(), name+" is ") {
			t.Errorf("%v: %v, want an error about %s", meta, err, name)
		}
	}
}

// TestNormEpsilonOfGGUF: of two epsilons, that of the family's kind of norm counts.
func TestNormEpsilonOfGGUF(t *testing.T) {
	both := func(arch string) map[string]any {
		return map[string]any{arch + ".attention.layer_norm_epsilon": 0.25, arch + ".attention.layer_norm_rms_epsilon": 0.5}
	}
	for arch, want := range map[string]float32{"qwen3": 0.5, "nemotron": 0.25, "starcoder2": 0.25} {
		c, err := ggufConfigOf(t, withMetadata(t, "testdata/"+arch+"/model.gguf", both(arch)))
		if err != nil || c.NormEps != want {
			t.Errorf("%s: epsilon %g, %v; want %g", arch, c.NormEps, err, want)
		}
	}
}
