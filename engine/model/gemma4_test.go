package model

import (
	"fmt"
	"strings"
	"testing"
)

// kinds spells the layer_types of n layers, of which every period-th one is of another
// kind.
func kinds(n, period int, most, other string) string {
	list := make([]string, n)
	for l := range list {
		list[l] = most
		if (l+1)%period == 0 {
			list[l] = other
		}
	}
	return `["` + strings.Join(list, `","`) + `"]`
}

// TestPublishedSharedCaches reads configurations with the keys and the spelling of
// published models, whose caches layers share, whose heads differ or whose layers attend
// within chunks.
func TestPublishedSharedCaches(t *testing.T) {
	sparsity := "[" + strings.Repeat("0.95,", 10) + strings.Repeat("0.0,", 24) + "0.0]"
	widths := "[" + strings.Repeat("16384,", 34) + "16384]"
	const rope4 = `{"full_attention":{"partial_rotary_factor":0.25,"rope_theta":1000000.0,"rope_type":"proportional"},"sliding_attention":{"rope_theta":10000.0,"rope_type":"default"}}`
	for _, x := range []struct {
		name, text       string
		borrowing        int
		full             LayerShape // of the last layer without a window or a chunk
		chunked, chunk   int
		bytes            int64 // of the cache per token
		theta, ownInputs int
	}{
		{
			"Gemma 3n E4B",
			`{"model_type":"gemma3n","audio_token_id":262273,"vision_soft_tokens_per_image":256,"text_config":{"activation_sparsity_pattern":` + sparsity + `,
			"altup_active_idx":0,"altup_coef_clip":120.0,"altup_correct_scale":true,"altup_lr_multiplier":1.0,"altup_num_inputs":4,"attention_bias":false,
			"attention_dropout":0.0,"final_logit_softcapping":30.0,"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":2048,
			"hidden_size_per_layer_input":256,"initializer_range":0.02,"intermediate_size":` + widths + `,"laurel_rank":64,
			"layer_types":` + kinds(35, 5, "sliding_attention", "full_attention") + `,"max_position_embeddings":32768,"model_type":"gemma3n_text",
			"num_attention_heads":8,"num_hidden_layers":35,"num_key_value_heads":2,"num_kv_shared_layers":15,"query_pre_attn_scalar":256,"rms_norm_eps":1e-06,
			"rope_local_base_freq":10000.0,"rope_scaling":null,"rope_theta":1000000.0,"sliding_window":512,"torch_dtype":"bfloat16","use_cache":true,
			"vocab_size":262400,"vocab_size_per_layer_input":262144}}`,
			15,
			LayerShape{KVHeads: 2, KeyDim: 256, CacheOf: 19},
			0, 0, 20 * 2 * 2 * 256 * 4, 1e6, 256,
		},
		{
			"Gemma 4, small, with inputs of the layers' own",
			`{"model_type":"gemma4","audio_config":{},"text_config":{"attention_bias":false,"attention_k_eq_v":false,"enable_moe_block":false,
			"final_logit_softcapping":30.0,"global_head_dim":512,"head_dim":256,"hidden_activation":"gelu_pytorch_tanh","hidden_size":1536,
			"hidden_size_per_layer_input":256,"intermediate_size":6144,"layer_types":` + kinds(35, 5, "sliding_attention", "full_attention") + `,
			"max_position_embeddings":131072,"model_type":"gemma4_text","moe_intermediate_size":null,"num_attention_heads":8,"num_experts":null,
			"num_global_key_value_heads":null,"num_hidden_layers":35,"num_key_value_heads":1,"num_kv_shared_layers":20,"rms_norm_eps":1e-06,
			"rope_parameters":` + rope4 + `,"sliding_window":512,"tie_word_embeddings":true,"top_k_experts":null,"use_bidirectional_attention":null,
			"use_double_wide_mlp":true,"vocab_size":262144,"vocab_size_per_layer_input":262144}}`,
			20,
			LayerShape{KVHeads: 1, KeyDim: 512, CacheOf: 14},
			0, 0, (12*256 + 3*512) * 2 * 4, 1e6, 256,
		},
		{
			"Gemma 4, a mixture of experts, whose full layers have values that are keys",
			`{"model_type":"gemma4","text_config":{"attention_k_eq_v":true,"enable_moe_block":true,"global_head_dim":512,"head_dim":256,"hidden_size":2816,
			"hidden_size_per_layer_input":0,"intermediate_size":2112,"layer_types":` + kinds(30, 6, "sliding_attention", "full_attention") + `,
			"model_type":"gemma4_text","moe_intermediate_size":704,"num_attention_heads":16,"num_experts":128,"num_global_key_value_heads":2,
			"num_hidden_layers":30,"num_key_value_heads":8,"num_kv_shared_layers":0,"rope_parameters":` + rope4 + `,"sliding_window":1024,"top_k_experts":8,
			"use_bidirectional_attention":"vision","vocab_size":262144}}`,
			0,
			LayerShape{KVHeads: 2, KeyDim: 512, CacheOf: 29},
			0, 0, (25*8*256 + 5*2*512) * 2 * 4, 1e6, 0,
		},
		{
			"Llama 4 Scout",
			`{"model_type":"llama4","boi_token_index":200080,"text_config":{"attention_bias":false,"attention_chunk_size":8192,"attention_dropout":0.0,"attn_scale":0.1,
			"attn_temperature_tuning":4,"bos_token_id":200000,"cache_implementation":"hybrid","eos_token_id":[200001,200007,200008],"floor_scale":8192,
			"for_llm_compressor":false,"head_dim":128,"hidden_act":"silu","hidden_size":5120,"initializer_range":0.02,"interleave_moe_layer_step":1,
			"intermediate_size":8192,"intermediate_size_mlp":16384,"max_position_embeddings":10485760,"model_type":"llama4_text","no_rope_layers":[],
			"num_attention_heads":40,"num_experts_per_tok":1,"num_hidden_layers":48,"num_key_value_heads":8,"num_local_experts":16,"output_router_logits":false,
			"pad_token_id":200018,"rms_norm_eps":1e-05,"rope_scaling":{"factor":8.0,"high_freq_factor":4.0,"low_freq_factor":1.0,
			"original_max_position_embeddings":8192,"rope_type":"llama3"},"rope_theta":500000.0,"router_aux_loss_coef":0.001,"router_jitter_noise":0.0,
			"torch_dtype":"bfloat16","use_cache":true,"use_qk_norm":true,"vocab_size":202048}}`,
			0,
			LayerShape{KVHeads: 8, KeyDim: 128, CacheOf: 47},
			36, 8192, 48 * 8 * 128 * 2 * 4, 5e5, 0,
		},
	} {
		c, err := configOf(t, x.text)
		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		last := c.Shapes[c.Layers-1]
		for l := range c.Shapes {
			if s := c.Shapes[l]; s.Window == 0 && s.Chunk == 0 {
				last = s
			}
		}
		got := fmt.Sprint(c.Borrowing(), last.KVHeads, last.KeyDim, last.ValueDim, last.CacheOf, c.CacheBytes(), c.Rope.Theta, c.LayerInput)
		want := fmt.Sprint(x.borrowing, x.full.KVHeads, x.full.KeyDim, x.full.KeyDim, x.full.CacheOf, x.bytes, float64(x.theta), x.ownInputs)
		if got != want {
			t.Errorf("%s: borrowing layers; kv heads, key, value and cache of the last full layer; bytes, base, own inputs:\n%s, want\n%s", x.name, got, want)
		}
		if n, size := c.Chunked(); n != x.chunked || size != x.chunk {
			t.Errorf("%s: %d layers with chunks of %d, want %d of %d", x.name, n, size, x.chunked, x.chunk)
		}
	}
}

// TestBadSharedCaches: what does not fit is one line that names the field.
func TestBadSharedCaches(t *testing.T) {
	for text, want := range map[string]string{
		`{"model_type":"gemma4_text","num_hidden_layers":4,"num_kv_shared_layers":4}`:                                                                   "num_kv_shared_layers is 4, want fewer",
		`{"model_type":"gemma4_text","num_hidden_layers":2,"layer_types":["full_attention","full_attention"],"per_layer_config":{"1":{"head_dim":64}}}`: "64 channels per head in layer 1",
		`{"model_type":"gemma4_text","num_hidden_layers":2,"per_layer_config":{"1":{"sliding_window":64}}}`:                                             "sliding_window is 64",
		`{"model_type":"gemma4_text","num_hidden_layers":2,"enable_moe_block":true}`:                                                                    "because enable_moe_block is true",
		`{"model_type":"gemma4_text","num_hidden_layers":2,"use_bidirectional_attention":"all"}`:                                                        "queries see later keys",
		`{"model_type":"gemma3n_text","num_hidden_layers":2,"num_kv_shared_layers":0,"activation_sparsity_pattern":[0.5,1]}`:                            "numbers from 0 to less than 1",
		`{"model_type":"gemma3n_text","num_hidden_layers":2,"num_kv_shared_layers":0,"altup_active_idx":4}`:                                             "altup_active_idx is 4, want less than 4",
		`{"model_type":"gemma3n_text","num_hidden_layers":2,"num_kv_shared_layers":0,"intermediate_size":[8]}`:                                          "one for each of 2 layers",
		`{"model_type":"llama4_text","num_hidden_layers":2,"attention_chunk_size":null,"layer_types":["chunked_attention","full_attention"]}`:           "attention_chunk_size is 0",
		`{"model_type":"llama4_text","num_hidden_layers":2,"moe_layers":[2]}`:                                                                           "layers from 0 to 1",
		`{"model_type":"llama4_text","num_hidden_layers":2,"attn_temperature_tuning":"yes"}`:                                                            "true or false",
		`{"model_type":"llama4_text","num_hidden_layers":2,"layer_types":["sliding_attention","full_attention"]}`:                                       "without sliding windows",
	} {
		if _, err := configOf(t, text); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
