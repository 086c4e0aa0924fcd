package model

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// configOf reads a config.json that stands beside a weight of no meaning.
func configOf(t *testing.T, text string) (Config, error) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), []tensor.Tensor{tensor.FromFloat32("x", []float32{1}, 1)}, nil); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		return Config{}, err
	}
	defer ck.Close()
	return ReadConfig(ck)
}

// TestDefaults: fields that are left out have the values of transformers'
// configuration classes (testdata/make_defaults.py).
func TestDefaults(t *testing.T) {
	text, err := os.ReadFile("testdata/defaults.json")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]struct {
		Layers, Hidden, Heads, Intermediate, Vocab, Positions, Experts, BOS, EOS int
		KVHeads                                                                  int `json:"kv_heads"`
		HeadDim                                                                  int `json:"head_dim"`
		TopExperts                                                               int `json:"top_experts"`
		ExpertSize                                                               int `json:"expert_size"`
		SharedSize                                                               int `json:"shared_size"`
		Eps, Theta, Rotated                                                      float64
		Windows                                                                  []int
		Activation                                                               string
	}
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for _, a := range Architectures {
		w, ok := want[a.Name]
		if a.Name == "kimi_k2" { // transformers does not know this name
			w, ok = want["deepseek_v3"]
		}
		if !ok {
			t.Errorf("%s: no defaults in testdata", a.Name)
			continue
		}
		text := `{"model_type":"` + a.Name + `"}`
		if a.Name == "glm4_moe" { // whose default, 42 channels of which half are rotated, is not possible
			text = `{"model_type":"glm4_moe","head_dim":128}`
			w.HeadDim = 128
		}
		if a.Name == "deepseek_v2" { // whose class has no default
			text = `{"model_type":"deepseek_v2","num_experts_per_tok":6}`
			w.TopExperts = 6
		}
		switch a.Name { // by default, no layer has attention
		case "granitemoehybrid":
			text = `{"model_type":"granitemoehybrid","layer_types":["attention"]}`
		case "bamba":
			text = `{"model_type":"bamba","attn_layer_indices":[3]}`
		}
		c, err := configOf(t, text)
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		if c.Latent != nil { // transformers states the heads, and calls the rotated channels head_dim
			c.KVHeads, c.HeadDim = c.Heads, c.Latent.Rotated
			if a.Name == "mistral4" {
				c.HeadDim = c.Latent.headSize()
			}
		}
		eos := -1
		if len(c.EOS) > 0 {
			eos = int(c.EOS[0])
		}
		if w.ExpertSize == 0 && w.Experts > 0 {
			w.ExpertSize = w.Intermediate
		}
		got := []int{c.Layers, c.Hidden, c.Heads, c.KVHeads, c.HeadDim, c.Intermediate, c.Vocab, c.MaxPositions, c.Experts, c.TopExperts, c.ExpertSize, c.SharedSize, int(c.BOS), eos}
		need := []int{w.Layers, w.Hidden, w.Heads, w.KVHeads, w.HeadDim, w.Intermediate, w.Vocab, w.Positions, w.Experts, w.TopExperts, w.ExpertSize, w.SharedSize, w.BOS, w.EOS}
		if !slices.Equal(got, need) {
			t.Errorf("%s: layers, hidden, heads, kv heads, head dim, intermediate, vocab, positions, experts, top, expert size, shared, bos, eos:\n%v, want\n%v", a.Name, got, need)
		}
		if c.NormEps != float32(w.Eps) || c.Activation != activation(w.Activation) || !slices.Equal(c.LayerWindows, w.Windows) {
			t.Errorf("%s: eps %g, activation %s, windows %v; want %g, %s, %v", a.Name, c.NormEps, c.Activation, c.LayerWindows, w.Eps, w.Activation, w.Windows)
		}
		if c.Rope.Kind == "proportional" { // of the larger heads; the channels that are not rotated have the frequency 0
			turning := 2 * len(slices.DeleteFunc(slices.Clone(c.Rope.InvFreq), func(v float32) bool { return v == 0 }))
			if c.Rope.Theta != w.Theta || c.Rope.Dim != 512 || turning != int(512*w.Rotated) {
				t.Errorf("%s: theta %g, %d of %d rotated; want %g, %g of 512", a.Name, c.Rope.Theta, turning, c.Rope.Dim, w.Theta, w.Rotated)
			}
		} else if c.Rope.Kind != "none" && (c.Rope.Theta != w.Theta || c.Rope.Dim != int(float64(w.HeadDim)*w.Rotated)) {
			t.Errorf("%s: theta %g, %d rotated; want %g, %g of %d", a.Name, c.Rope.Theta, c.Rope.Dim, w.Theta, w.Rotated, w.HeadDim)
		}
	}
}

// TestRefusals: what is not known is one line that names the file, the field,
// what was seen and what is supported.
func TestRefusals(t *testing.T) {
	for text, want := range map[string][]string{
		`{"model_type":"mixtral","sliding_window":8,"num_hidden_layers":2,"layer_types":["full_attention","full_attention"]}`:                              {"layer_types is given", "sliding_window alone"},
		`{"model_type":"gemma3_text","rope_parameters":{"full_attention":{"rope_type":"default"},"sliding_attention":{"rope_type":"dynamic","factor":2}}}`: {"sliding_attention", "rope_type is dynamic", "sliding window"},
		`{"model_type":"mamba"}`: {"config.json: model_type \"mamba\"", "llama", "gpt2"},
		`{"model_type":"llama","rope_scaling":{"rope_type":"spiral","factor":2}}`:                             {"rope_scaling", `"spiral"`, "yarn, longrope"},
		`{"model_type":"llama","rope_parameters":{"rope_type":"linear"}}`:                                     {"rope_parameters", "factor is missing"},
		`{"model_type":"llama","rope_scaling":{"type":"dynamic","factor":-1}}`:                                {"rope_scaling", "factor is -1"},
		`{"model_type":"llama","hidden_act":"snake"}`:                                                         {`activation "snake"`, "silu", "relu2"},
		`{"model_type":"llama","hidden_size":"many"}`:                                                         {"hidden_size is many", "a number"},
		`{"model_type":"llama","num_hidden_layers":2.5}`:                                                      {"num_hidden_layers is 2.5", "whole number"},
		`{"model_type":"llama","vocab_size":1099511627776}`:                                                   {"vocab_size is 1099511627776", "from 1 to 2147483647"},
		`{"model_type":"llama","rope_theta":NaN}`:                                                             {"rope_theta is NaN", "a finite number"},
		`{"model_type":"llama","rope_theta":Infinity}`:                                                        {"rope_theta is +Inf", "a finite number"},
		`{"model_type":"llama","rms_norm_eps":-1e-5}`:                                                         {"the epsilon of the norms is -1e-05", "0 or more"},
		`{"model_type":"llama"} {"model_type":"gpt2"}`:                                                        {"one JSON object"},
		`{"model_type":"llama"`:                                                                               {"cut off"},
		`[]`:                                                                                                  {"found a list, want an object"},
		`null`:                                                                                                {"one JSON object"},
		`{"model_type":"llama","num_hidden_layers":2147483647}`:                                               {"num_hidden_layers is 2147483647", "at most 4096"},
		`{"model_type":"llama","head_dim":2147483647}`:                                                        {"head_dim is 2147483647", "at most 16384"},
		`{"model_type":"llama","num_key_value_heads":5}`:                                                      {"32 query heads for 5 kv heads"},
		`{"model_type":"qwen2","layer_types":["full_attention","linear_attention"]}`:                          {"layer_types[1] is linear_attention", "full_attention"},
		`{"model_type":"llama","quantization_config":{"quant_method":"hqq"}}`:                                 {"quantization_config", `"hqq"`, "gptq", "BF16"},
		`{"model_type":"llama","quantization_config":{"quant_method":"gptq"}}`:                                {"quantization_config", "quantized with gptq, but no tensor is"},
		`{"model_type":"gpt2","scale_attn_by_inverse_layer_idx":true}`:                                        {"scale_attn_by_inverse_layer_idx is true"},
		`{"model_type":"qwen2_moe","use_sliding_window":true}`:                                                {"use_sliding_window is true"},
		`{"model_type":"phi3","rope_scaling":{"type":"longrope","short_factor":[1],"long_factor":[1]}}`:       {"rope_scaling", "short_factor is a list of 1"},
		`{"model_type":"llama","rope_scaling":{"factor":8}}`:                                                  {"rope_scaling", "rope_type is missing", "llama3"},
		`{"model_type":"glm","partial_rotary_factor":0}`:                                                      {"partial_rotary_factor is 0"},
		`{"model_type":"llama","partial_rotary_factor":0.5,"rope_scaling":{"rope_type":"linear","factor":2}}`: {"partial_rotary_factor is 0.5, want 1"},
		`{"model_type":"deepseek_v2"}`:                                                                        {"num_experts_per_tok is missing"},
		`{"model_type":"deepseek_v2","num_experts_per_tok":6,"topk_method":"noaux_tc"}`:                       {"topk_method is noaux_tc", "group_limited_greedy"},
		`{"model_type":"deepseek_v3","kv_lora_rank":20000}`:                                                   {"kv_lora_rank is 20000", "at most 16384"},
		`{"model_type":"glm4_moe_lite","partial_rotary_factor":0.5}`:                                          {"partial_rotary_factor is 0.5", "qk_rope_head_dim"},
		`{"model_type":"glm4_moe_lite","num_hidden_layers":2,"mlp_layer_types":["dense"]}`:                    {"mlp_layer_types", "each of the 2 layers"},
		`{"model_type":"mixtral","num_local_experts":2,"num_experts_per_tok":3}`:                              {"num_experts_per_tok is 3", "at most 2"},
	} {
		_, err := configOf(t, text)
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		for _, part := range append(want, "config.json") {
			several := func(word string) bool { return strings.Contains(err.Error(), word) }
			if part == "config.json" && slices.ContainsFunc([]string{"activation", "epsilon", "kv heads", "no tensor is"}, several) {
				continue // follows from several fields or the weights: the folder is named
			}
			if !strings.Contains(err.Error(), part) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %v, want one line with %q", text, err, part)
			}
		}
	}
}

// TestEndsOfReplies: generation_config.json, where it names tokens, says which
// end a reply.
func TestEndsOfReplies(t *testing.T) {
	for text, want := range map[string][]int32{"": {2}, `{"eos_token_id":[7,8]}`: {7, 8}, `{"eos_token_id":9}`: {9}, `{"eos_token_id":null}`: {2}} {
		dir := t.TempDir()
		for name, content := range map[string]string{"config.json": `{"model_type":"llama"}`, "generation_config.json": text} {
			if content == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), []tensor.Tensor{tensor.FromFloat32("x", []float32{1}, 1)}, nil); err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(ck)
		ck.Close()
		if err != nil || !slices.Equal(c.EOS, want) {
			t.Errorf("%s: %v (%v), want %v", text, c.EOS, err, want)
		}
	}
}

// TestTextConfig: the decoder of a multimodal model is under text_config, and its tensors
// have longer names. Layers that read the cache of an earlier one may have keys and
// values of their own in the file.
func TestTextConfig(t *testing.T) {
	for inner, outer := range map[string]string{"gemma3_text": "gemma3", "gemma3n_text": "gemma3n", "gemma4_text": "gemma4", "llama4_text": "llama4"} {
		for _, prefix := range []string{"language_model.model.", "model.language_model."} { // older and newer
			t.Run(outer+"/"+prefix, func(t *testing.T) { testTextConfig(t, "testdata/"+inner, outer, prefix) })
		}
	}
}

func testTextConfig(t *testing.T, src, outer, prefix string) {
	f, err := checkpoint.Open(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c, err := ReadConfig(f)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(src + "/config.json")
	if err != nil {
		t.Fatal(err)
	}
	list := []tensor.Tensor{tensor.FromFloat32("vision_tower.x", []float32{1}, 1), tensor.FromFloat32("model.embed_audio.x", []float32{1}, 1)}
	for l := range c.Shapes {
		if c.Shapes[l].CacheOf != l {
			list = append(list, tensor.FromFloat32(fmt.Sprintf("%slayers.%d.self_attn.k_proj.weight", prefix, l), []float32{1}, 1))
		}
	}
	for _, n := range f.Names() {
		x, _ := f.Tensor(n)
		x.Name = "language_model." + n
		if bare, ok := strings.CutPrefix(n, "model."); ok {
			x.Name = prefix + bare
		}
		list = append(list, x)
	}
	dir := t.TempDir()
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"model_type":"`+outer+`","vision_config":{},"text_config":`+string(text)+`}`), 0o644); err != nil {
		t.Fatal(err)
	}
	testFixture(t, src, dir, 512, 1)
}

// TestQuirksOfTransformers: what transformers makes of some keys, found by
// TestEveryKeyOfConfigurations.
func TestQuirksOfTransformers(t *testing.T) {
	c, err := configOf(t, `{"model_type":"phi3","hidden_size":32,"num_attention_heads":4,"num_key_value_heads":4,"max_position_embeddings":32,
		"original_max_position_embeddings":16,"rope_scaling":{"type":"yarn","factor":3,"short_factor":[1,2,3,4],"long_factor":[2,3,4,5]}}`)
	if err != nil || c.Rope.Kind != "longrope" || len(c.Rope.Long) != 4 || c.Rope.Original != 16 {
		t.Errorf("yarn in Phi-3 is %q of original length %d, %v; want longrope of 16", c.Rope.Kind, c.Rope.Original, err)
	}
	if c, err = configOf(t, `{"model_type":"olmo","rms_norm_eps":0.1}`); err != nil || c.NormEps != 1e-5 {
		t.Errorf("the epsilon of OLMo is %g, %v; want 1e-5, whatever the configuration says", c.NormEps, err)
	}
}
