package model

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// TestSurveyTensors: all differences are listed, not only the first: of fewer layers and
// another vocabulary, of another number of kv heads, and of a layer with experts that the
// checkpoint lacks.
func TestSurveyTensors(t *testing.T) {
	for _, c := range []struct {
		model  string
		change map[string]any
		want   TensorSurvey
	}{
		{"qwen3", map[string]any{"num_hidden_layers": 1, "vocab_size": 127}, TensorSurvey{
			Unknown: []string{
				"model.layers.1.input_layernorm.weight", "model.layers.1.mlp.down_proj.weight", "model.layers.1.mlp.gate_proj.weight",
				"model.layers.1.mlp.up_proj.weight", "model.layers.1.post_attention_layernorm.weight",
				"model.layers.1.self_attn.k_norm.weight", "model.layers.1.self_attn.k_proj.weight", "model.layers.1.self_attn.o_proj.weight",
				"model.layers.1.self_attn.q_norm.weight", "model.layers.1.self_attn.q_proj.weight", "model.layers.1.self_attn.v_proj.weight",
			},
			Misshapen: []string{"model.embed_tokens.weight [128 32], want [127 32]", "lm_head.weight [128 32], want [127 32]"},
		}},
		{"qwen3", map[string]any{"num_key_value_heads": 4}, TensorSurvey{Misshapen: []string{
			"model.layers.*.self_attn.k_proj.weight [32 32], want [64 32] (2 tensors)",
			"model.layers.*.self_attn.v_proj.weight [32 32], want [64 32] (2 tensors)",
		}}},
		{"mixtral", map[string]any{"num_hidden_layers": 3}, TensorSurvey{Missing: []string{
			"model.layers.2.input_layernorm.weight", "model.layers.2.post_attention_layernorm.weight",
			"model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.k_proj.weight", "model.layers.2.self_attn.v_proj.weight",
			"model.layers.2.self_attn.o_proj.weight", "model.layers.2.block_sparse_moe.gate.weight",
			"model.layers.*.block_sparse_moe.experts.*.w1.weight (4 tensors)", "model.layers.*.block_sparse_moe.experts.*.w3.weight (4 tensors)",
			"model.layers.*.block_sparse_moe.experts.*.w2.weight (4 tensors)",
		}}},
	} {
		if s := surveyOf(t, c.model, c.change); !reflect.DeepEqual(s, c.want) {
			t.Errorf("%s with %v: %q, want %q", c.model, c.change, s, c.want)
		}
	}
}

// surveyOf surveys a test model whose configuration was changed.
func surveyOf(t *testing.T, name string, change map[string]any) TensorSurvey {
	t.Helper()
	from := filepath.Join("testdata", name)
	dir := t.TempDir()
	text, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := json.Unmarshal(text, &values); err != nil {
		t.Fatal(err)
	}
	for key, value := range change {
		values[key] = value
	}
	if text, err = json.Marshal(values); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), text, 0o644); err != nil {
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
	config, err := ReadConfig(ck)
	if err != nil {
		t.Fatal(err)
	}
	s, err := SurveyTensors(ck, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := CheckTensors(ck, config); err == nil {
		t.Errorf("%s with %v: CheckTensors finds nothing", name, change)
	}
	return s
}
