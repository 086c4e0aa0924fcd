package model

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// TestUnknownKeys: a key that is set and not understood is an error that names it and
// says how to go on; one that transformers ignores, or that has the value of what is
// done anyway, is not.
func TestUnknownKeys(t *testing.T) {
	for text, want := range map[string]string{
		// what changes what transformers computes, and is not supported
		`{"model_type":"gemma3_text","use_bidirectional_attention":true}`:                                       "use_bidirectional_attention is true",
		`{"model_type":"qwen2","is_causal":false}`:                                                              "is_causal is false",
		`{"model_type":"llama","is_encoder_decoder":true}`:                                                      "is_encoder_decoder is true",
		`{"model_type":"llama","is_decoder":false}`:                                                             "is_decoder is false",
		`{"model_type":"gpt2","add_cross_attention":true}`:                                                      "add_cross_attention is true",
		`{"model_type":"llama","per_layer_config":{"0":{"num_key_value_heads":1}}}`:                             "per_layer_config is",
		`{"model_type":"cohere","use_qk_norm":true}`:                                                            "use_qk_norm is true",
		`{"model_type":"mistral","layer_types":["sliding_attention"],"num_hidden_layers":1}`:                    "layer_types",
		`{"model_type":"llama","layer_types":["sliding_attention"],"num_hidden_layers":1}`:                      "layer_types[0]",
		`{"model_type":"qwen2","layer_types":["sliding_attention"],"num_hidden_layers":1}`:                      "layer_types[0]",
		`{"model_type":"paligemma","text_config":{"model_type":"gemma"}}`:                                       `"paligemma"`,
		`{"model_type":"gemma3","text_config":{"model_type":"gemma3_text","use_bidirectional_attention":true}}`: "text_config.use_bidirectional_attention",
		`{"model_type":"gemma3_text","rope_parameters":{"rope_theta":5}}`:                                       "full_attention is missing",
		// what nobody knows
		`{"model_type":"llama","attention_sinks":4}`:                                                     "attention_sinks is 4",
		`{"model_type":"llama","rope_scaling":{"rope_type":"linear","factor":2,"twist":1}}`:              "twist is 1",
		`{"model_type":"phi","rms_norm_eps":1}`:                                                          "rms_norm_eps is 1",
		`{"model_type":"opt","do_layer_norm_before":false}`:                                              "do_layer_norm_before is false",
		`{"model_type":"opt","word_embed_proj_dim":512}`:                                                 "word_embed_proj_dim is 512",
		`{"model_type":"mpt","attn_config":{"alibi":false}}`:                                             "attn_config.alibi is false",
		`{"model_type":"mpt","attn_config":{"kv_n_heads":2}}`:                                            "attn_config.kv_n_heads is 2",
		`{"model_type":"mpt","logit_scale":2}`:                                                           "logit_scale is 2",
		`{"model_type":"bloom","apply_residual_connection_post_layernorm":true}`:                         "apply_residual_connection_post_layernorm is true",
		`{"model_type":"gpt_neo","attention_types":[[["global"],2]]}`:                                    "attention_types is 2",
		`{"model_type":"glm4_moe","head_dim":16,"n_group":7}`:                                            "n_group is 7",
		`{"model_type":"dots1","n_routed_experts":8,"num_experts_per_tok":3,"n_group":4,"topk_group":1}`: "num_experts_per_tok is 3",
		`{"model_type":"hunyuan_v1_moe","num_experts":4,"moe_topk":[1,2]}`:                               "moe_topk",
		`{"model_type":"ministral3","rope_parameters":{"rope_type":"default","rope_theta":5}}`:           "llama_4_scaling_beta is missing",
		`{"model_type":"qwen2","rope_scaling":{"type":"mrope","mrope_section":[1,1,2]}}`:                 `"mrope"`,
		`{"model_type":"qwen3_next","linear_num_value_heads":24}`:                                        "24 value heads for 16 key heads",
		`{"model_type":"qwen3_next","num_hidden_layers":2,"full_attention_interval":3}`:                  "no layer has attention",
		`{"model_type":"qwen3_5_text","attn_output_gate":false}`:                                         "attn_output_gate is false",
		`{"model_type":"lfm2","num_hidden_layers":2,"layer_types":["conv","linear_attention"]}`:          "layer_types[1] is linear_attention",
		// several of these, in one error
		`{"model_type":"llama","twist":1,"attention_sinks":4}`: "attention_sinks is 4, twist is 1, which are not understood in a llama model " +
			"and may change what it computes; --ignore-config attention_sinks,twist goes on without them",
		`{"model_type":"llama","a_twist":1,"is_encoder_decoder":true}`: "is_encoder_decoder is true: only decoders",
		// nothing to complain about
		`{"model_type":"kimi_k25","tie_word_embeddings":false,"vision_config":{},"text_config":{"model_type":"kimi_k2","num_key_value_heads":128,"ep_size":1}}`:                                                                                                                                                                                                                                                                                                                                                             "",
		`{"model_type":"qwen3_next","full_attention_interval":4,"mlp_only_layers":[],"partial_rotary_factor":0.25,"rope_scaling":null,"rope_theta":10000000,"use_sliding_window":false,"intermediate_size":5120}`:                                                                                                                                                                                                                                                                                                           "",
		`{"model_type":"qwen3_5_moe","image_token_id":5,"vision_config":{},"text_config":{"model_type":"qwen3_5_moe_text","attn_output_gate":true,"full_attention_interval":4,"mamba_ssm_dtype":"float32","mlp_only_layers":[],"mtp_num_hidden_layers":1,"mtp_use_dedicated_embeddings":false,"rope_parameters":{"mrope_interleaved":true,"mrope_section":[11,11,10],"partial_rotary_factor":0.25,"rope_theta":10000000,"rope_type":"default"}}}`:                                                                           "",
		`{"model_type":"lfm2","block_auto_adjust_ff_dim":true,"block_dim":2048,"block_ff_dim":12288,"block_ffn_dim_multiplier":1.0,"block_mlp_init_scale":1.0,"block_multiple_of":256,"block_norm_eps":1e-05,"block_out_init_scale":1.0,"block_use_swiglu":true,"block_use_xavier_init":true,"conv_L_cache":3,"conv_bias":false,"conv_dim":2048,"conv_dim_out":2048,"conv_use_xavier_init":true,"full_attn_idxs":[2,5,8],"hidden_size":2048,"num_heads":32,"num_hidden_layers":16,"use_pos_enc":true,"tie_embedding":true}`: "",
		`{"model_type":"qwen2_5_vl","vision_config":{},"image_token_id":5,"rope_scaling":{"type":"mrope","mrope_section":[16,24,24]},"use_sliding_window":false}`:                                                                                                                                                                                                                                                                                                                                                           "",
		`{"model_type":"mistral3","text_config":{"model_type":"ministral3"},"vision_config":{}}`:                                                                        "",
		`{"model_type":"minimax_m2","scoring_func":"sigmoid","use_routing_bias":true,"qk_norm_type":"per_layer","num_mtp_modules":3,"rotary_dim":64,"head_dim":128}`:    "",
		`{"model_type":"mpt","attn_config":{"alibi":true,"attn_impl":"torch","attn_pdrop":0,"prefix_lm":false,"softmax_scale":null},"init_config":{"name":"x"}}`:        "",
		`{"model_type":"hunyuan_v1_moe","num_experts":4,"moe_topk":[2,2],"use_cla":false,"rope_scaling":{"type":"dynamic","alpha":1000.0,"factor":1.0},"head_dim":128}`: "",
		`{"model_type":"llama","attention_sinks":null,"use_bidirectional_attention":false,"is_causal":true,"pruned_heads":{}}`:                                          "",
		`{"model_type":"llama","rope_interleaved":false,"is_llama_config":true,"transformers.js_config":{"kv_cache_dtype":1},"temperature":0.5}`:                        "",
		`{"model_type":"phi3","attention_bias":false,"embd_pdrop":0.0,"auto_map":{},"sliding_window":2047,"full_attn_mod":1,"interpolate_factor":1}`:                    "",
		`{"model_type":"qwen2","max_window_layers":21,"sliding_window":32768,"use_sliding_window":false,"use_mrope":false}`:                                             "",
		`{"model_type":"cohere2","cache_implementation":"hybrid","layer_switch":4,"order_of_interleaved_layers":"local_attn_first","rotary_pct":1.0}`:                   "",
		`{"model_type":"exaone4","num_hidden_layers":1,"sliding_window_pattern":"LLLG","layer_types":["full_attention"]}`:                                               "",
		`{"model_type":"gpt_neox","is_decoder":false,"rotary_pct":0.25,"rotary_emb_base":10000,"classifier_dropout":0.1}`:                                               "",
		`{"model_type":"gpt2","n_ctx":1024,"task_specific_params":{"text-generation":{"do_sample":true}},"summary_type":"cls_index","model_type_note":null}`:            "",
		`{"model_type":"llava","image_token_index":5,"vision_config":{},"projector_hidden_act":"gelu","text_config":{"model_type":"llama","num_beams":1}}`:              "",
		`{"model_type":"llama","partial_rotary_factor":0.5}`:                                                                                                            "",
		`{"model_type":"llama","rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4},"rope_parameters":{"rope_theta":7.0}}`:         "",
	} {
		_, err := configOf(t, text)
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", text, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n")):
			t.Errorf("%s: %v, want one line with %q", text, err, want)
		}
	}
}

// TestIgnoredKeys: keys that are to be ignored are as if they were missing, and listed.
func TestIgnoredKeys(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("config.json", `{"model_type":"llama","attention_sinks":4,"rope_scaling":{"rope_type":"linear","factor":2,"twist":1}}`)
	write("generation_config.json", `{"eos_token_id":9,"temperature":0.6,"repetition_penalty":1.1,"mood":"happy"}`)
	if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), []tensor.Tensor{tensor.FromFloat32("x", []float32{1}, 1)}, nil); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	keys := []string{"attention_sinks", "mood", "rope_scaling.twist"}
	for _, key := range keys {
		rest := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == key })
		_, name, _ := strings.Cut("."+key, "rope_scaling.")
		if name == "" {
			name = key
		}
		if _, err := ReadConfig(ck, rest...); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want an error that names it", key, err)
		}
	}
	c, err := ReadConfig(ck, append(keys, "not there")...)
	if err != nil || !slices.Equal(c.Ignored, keys) || !slices.Equal(c.EOS, []int32{9}) {
		t.Errorf("ignored %v, ends %v (%v); want %v", c.Ignored, c.EOS, err, keys)
	}
}

// TestRopeScalingCounts: of rope_scaling and rope_parameters, transformers takes the
// first, and the original length beside them before the one within.
func TestRopeScalingCounts(t *testing.T) {
	c, err := configOf(t, `{"model_type":"llama","original_max_position_embeddings":50,"rope_parameters":{"rope_type":"linear","factor":4},
		"rope_scaling":{"rope_type":"yarn","factor":2.0,"original_max_position_embeddings":70}}`)
	if err != nil {
		t.Fatal(err)
	}
	if c.Rope.Kind != "yarn" || c.Rope.Positions != 100 {
		t.Errorf("%s to %d positions, want yarn to 2 * 50", c.Rope.Kind, c.Rope.Positions)
	}
}

// TestTiedHead: the output projection is the embedding matrix if the configuration says
// so and the checkpoint has none that differs; around a decoder, the outer field counts.
func TestTiedHead(t *testing.T) {
	const wrapped = `{"model_type":"mistral3","tie_word_embeddings":true,"text_config":{"model_type":"mistral","tie_word_embeddings":false}}`
	for _, x := range []struct {
		config string
		head   []float32
		want   bool
	}{
		{`{"model_type":"llama","tie_word_embeddings":true}`, nil, true},
		{`{"model_type":"llama","tie_word_embeddings":true}`, []float32{1, 2}, true},
		{`{"model_type":"llama","tie_word_embeddings":true}`, []float32{1, 3}, false},
		{`{"model_type":"llama","tie_word_embeddings":false}`, nil, false},
		{`{"model_type":"llama"}`, nil, true},
		{`{"model_type":"llama"}`, []float32{1, 3}, false},
		{wrapped, nil, true},
		{strings.ReplaceAll(wrapped, "mistral3", "llava_next"), nil, true},
		{`{"model_type":"llava","tie_word_embeddings":false,"text_config":{"model_type":"llama","tie_word_embeddings":true}}`, nil, true},
		{`{"model_type":"llava_next","tie_word_embeddings":false,"text_config":{"model_type":"llama","tie_word_embeddings":true}}`, nil, false},
	} {
		dir := t.TempDir()
		list := []tensor.Tensor{tensor.FromFloat32("model.embed_tokens.weight", []float32{1, 2}, 1, 2)}
		if x.head != nil {
			list = append(list, tensor.FromFloat32("lm_head.weight", x.head, 1, 2))
		}
		if err := checkpoint.WriteSafetensors(filepath.Join(dir, "model.safetensors"), list, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(x.config), 0o644); err != nil {
			t.Fatal(err)
		}
		ck, err := checkpoint.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		c, err := ReadConfig(ck)
		ck.Close()
		if err != nil || c.TiedHead != x.want {
			t.Errorf("%s with head %v: tied %v (%v), want %v", x.config, x.head, c.TiedHead, err, x.want)
		}
	}
}

// TestExpertCounts: num_experts and num_local_experts are the same in the families whose
// configuration classes say so, and the class's own name gives way.
func TestExpertCounts(t *testing.T) {
	for text, want := range map[string]int{
		`{"model_type":"qwen3_moe","num_local_experts":9}`:                  9,
		`{"model_type":"qwen3_moe","num_experts":11}`:                       11,
		`{"model_type":"qwen3_moe","num_experts":11,"num_local_experts":9}`: 9,
		`{"model_type":"mixtral","num_experts":5}`:                          5,
		`{"model_type":"olmoe","num_local_experts":9}`:                      9,
	} {
		if c, err := configOf(t, text); err != nil || c.Experts != want {
			t.Errorf("%s: %d experts (%v), want %d", text, c.Experts, err, want)
		}
	}
	if _, err := configOf(t, `{"model_type":"qwen2_moe","num_local_experts":9}`); err == nil {
		t.Error("qwen2_moe does not know num_local_experts, but there is no error")
	}
}
