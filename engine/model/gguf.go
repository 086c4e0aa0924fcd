package model

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// ggufNames maps the field names of Llama's config.json to keys of GGUF metadata,
// without the architecture prefix.
var ggufNames = map[string]string{
	"num_hidden_layers":               "block_count",
	"hidden_size":                     "embedding_length",
	"intermediate_size":               "feed_forward_length",
	"num_attention_heads":             "attention.head_count",
	"num_key_value_heads":             "attention.head_count_kv",
	"head_dim":                        "attention.key_length",
	"max_position_embeddings":         "context_length",
	"rms_norm_eps":                    "attention.layer_norm_rms_epsilon",
	"layer_norm_eps":                  "attention.layer_norm_epsilon",
	"sliding_window":                  "attention.sliding_window",
	"sliding_window_pattern":          "attention.sliding_window_pattern",
	"num_experts":                     "expert_count",
	"num_experts_per_tok":             "expert_used_count",
	"moe_intermediate_size":           "expert_feed_forward_length",
	"shared_expert_intermediate_size": "expert_shared_feed_forward_length",
	"norm_topk_prob":                  "expert_weights_norm",
	"n_routed_experts":                "expert_count",
	"n_shared_experts":                "expert_shared_count",
	"first_k_dense_replace":           "leading_dense_block_count",
	"routed_scaling_factor":           "expert_weights_scale",
	"n_group":                         "expert_group_count",
	"topk_group":                      "expert_group_used_count",
	"num_nextn_predict_layers":        "nextn_predict_layers",
	"embedding_multiplier":            "embedding_scale",
	"attention_multiplier":            "attention.scale",
	"residual_multiplier":             "residual_scale",
	"logits_scaling":                  "logit_scale",
	"logit_scale":                     "logit_scale",
	"clip_qkv":                        "attention.clamp_kqv",
	"rope_local_base_freq":            "rope.freq_base_swa",
	"altup_active_idx":                "altup.active_idx",
	"altup_num_inputs":                "altup.num_inputs",
	"hidden_size_per_layer_input":     "embedding_length_per_layer_input",
	"num_kv_shared_layers":            "attention.shared_kv_layers",
	"q_lora_rank":                     "attention.q_lora_rank",
	"kv_lora_rank":                    "attention.kv_lora_rank",
	"recurrent_layers":                "attention.recurrent_layers",
	"linear_conv_kernel_dim":          "ssm.conv_kernel",
	"linear_key_head_dim":             "ssm.state_size",
	"linear_num_key_heads":            "ssm.group_count",
	"linear_num_value_heads":          "ssm.time_step_rank",
	"conv_L_cache":                    "shortconv.l_cache",
	"num_dense_layers":                "leading_dense_block_count",
	"mamba_n_heads":                   "ssm.time_step_rank",
	"mamba_n_groups":                  "ssm.group_count",
	"mamba_d_state":                   "ssm.state_size",
	"mamba_d_conv":                    "ssm.conv_kernel",
	"mamba_inner":                     "ssm.inner_size",
	"moe_latent_size":                 "moe_latent_size",
}

// ggufConfig reads the metadata of a GGUF file.
func ggufConfig(ck *checkpoint.Checkpoint, ignore *ignorer) (Config, error) {
	meta := ignore.without(ck.Config())
	kind, _ := meta["general.architecture"].(string)
	at := slices.IndexFunc(Architectures, func(a Architecture) bool {
		return kind != "" && (a.GGUF == kind || slices.Contains(a.AlsoGGUF, kind))
	})
	if at < 0 {
		return Config{}, fmt.Errorf("%s: general.architecture %q is not supported; these are: %s",
			ck.Path(), kind, supported(func(a *Architecture) string { return a.GGUF }))
	}
	f := &fields{source: ck.Path(), values: meta, keys: ggufNames, prefix: kind + ".", asked: map[string]bool{}}
	if prepare := Architectures[at].Prepare; prepare != nil {
		prepare(f)
	}
	c := newConfig(Architectures[at], f)
	c.gguf = true
	if f.err != nil {
		return c, f.err
	}
	c.Activation = "silu"
	embed, ok := ck.Tensor("token_embd.weight")
	if !ok || len(embed.Shape) != 2 {
		return c, fmt.Errorf("%s: no matrix token_embd.weight", ck.Path())
	}
	c.Vocab = embed.Shape[0]
	rows := func(name string) int {
		if t, ok := ck.Tensor(name); ok {
			return t.Rows()
		}
		return 0
	}
	if c.arch.Inspect != nil {
		c.arch.Inspect(&c, rows)
	}
	c.TiedHead = rows("output.weight") == 0
	plain := &fields{source: ck.Path(), values: meta}
	c.EOS = plain.ids("tokenizer.ggml.eos_token_id")
	for _, id := range plain.ids("tokenizer.ggml.eot_token_id") {
		if !slices.Contains(c.EOS, id) {
			c.EOS = append(c.EOS, id)
		}
	}
	if ids := plain.ids("tokenizer.ggml.bos_token_id"); len(ids) == 1 {
		c.BOS = ids[0]
	}
	if err := finish(&c, f); err != nil {
		return c, err
	}
	c.ggufNormEps(f)
	if size := f.count("attention.value_length", c.ValueDim, 1); size != c.ValueDim && c.Latent == nil {
		f.bad("attention.value_length", size, fmt.Sprintf("%d, the size of a key", c.ValueDim))
	}
	if err := c.ropeTensors(ck, f); err != nil {
		return c, err
	}
	if err := c.shapeLayers(f); err != nil {
		return c, err
	}
	return c, checkMetadata(f)
}

// ggufNormEps reads the epsilon of the norms. Files may have one for each kind of norm;
// that of the family's kind counts, as in llama.cpp.
func (c *Config) ggufNormEps(f *fields) {
	own, other := "rms_norm_eps", "layer_norm_eps"
	if c.LayerNorm {
		own, other = other, own
	}
	c.NormEps = float32(f.number(own, f.number(other, 1e-5)))
}
