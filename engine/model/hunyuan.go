package model

import "maps"

var hunyuanDefaults = map[string]any{
	"vocab_size": 290943, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
	"max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
}

// hunyuanIgnored lists what the configurations of Hunyuan say about other models than the
// decoder, and about training.
var hunyuanIgnored = anyValue(
	"attention_head_dim", "capacity_factor", "cla_share_factor", "class_num", "dense_list", "eod_token_id", "group_limited_greedy", "im_end_id",
	"im_newline_id", "im_start_id", "mask_init_id", "moe_drop_tokens", "moe_intermediate_size", "moe_layer_num_skipped", "moe_random_routing_dropped_token",
	"norm_topk_prob", "norm_type", "num_media_embeds", "num_shared_expert", "org_vocab_size", "pad_id", "pool_type", "routed_scaling_factor", "sep_token_id",
	"skip_cls_token", "text_end_id", "text_start_id", "unpad_fn", "use_mixed_mlp_moe", "use_rotary_pos_emb", "v_head_dim", "video_end_id", "video_start_id",
	"kv_lora_rank", "q_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "n_group", "topk_group", "image_token_id", "max_image_size", "vit_type",
).and(keyTable{"add_classification_head": {false}, "use_cla": {false}, "use_mla": {false}, "use_qk_norm": {true}})

var hunyuanNames = map[string]string{
	"q_norm": "model.layers.%d.self_attn.query_layernorm", "k_norm": "model.layers.%d.self_attn.key_layernorm",
}

// hunyuan normalizes every head's query and key after the rotation, whose base a constant
// stretches.
var hunyuan = Architecture{
	Name: "hunyuan_v1_dense", OffCard: "norms after the rotation", GGUF: "hunyuan-dense", About: "Hunyuan (dense)", QKNorm: true, NormLast: true, RopeKeys: []string{"alpha"},
	Defaults: hunyuanDefaults, Names: hunyuanNames,
	Ignored: hunyuanIgnored.and(anyValue("moe_topk", "num_experts", "num_experts_per_tok")),
}

// hunyuanmoe is hunyuan with a mixture in all layers, and an expert that every token goes
// through. All experts are as large as the dense feed-forward would be.
var hunyuanmoe = Architecture{
	Name: "hunyuan_v1_moe", OffCard: "norms after the rotation", GGUF: "hunyuan-moe", About: "Hunyuan (mixture of experts)", QKNorm: true, NormLast: true, RopeKeys: []string{"alpha"},
	Defaults: hunyuanMoeDefaults(), Ignored: hunyuanIgnored,
	Keys:    map[string]string{"num_experts_per_tok": "moe_topk"},
	Aliases: map[string]string{"num_experts": "num_local_experts", "num_experts_per_tok": "num_experts_per_tok"},
	Names:   hunyuanMoeNames(),
	Adjust: func(c *Config, f *fields) error {
		for _, key := range []string{"num_experts_per_tok", "num_experts"} {
			f.single(key)
		}
		c.readExperts(f, "num_experts")
		c.NormExperts = true
		c.SharedSize = c.Intermediate
		if f.gguf() {
			c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
			c.SharedSize = f.count("shared_expert_intermediate_size", c.Intermediate, 1)
			f.get("n_shared_experts") // they are one tensor, of this size
		}
		return nil
	},
}

func hunyuanMoeDefaults() map[string]any {
	d := maps.Clone(hunyuanDefaults)
	d["num_experts"] = 1
	d["num_experts_per_tok"] = 1
	return d
}

func hunyuanMoeNames() map[string]string {
	names := maps.Clone(hunyuanNames)
	maps.Copy(names, map[string]string{
		"router":      "model.layers.%d.mlp.gate.wg",
		"expert_gate": "model.layers.%d.mlp.experts.%d.gate_proj",
		"expert_up":   "model.layers.%d.mlp.experts.%d.up_proj",
		"expert_down": "model.layers.%d.mlp.experts.%d.down_proj",
		"shared_gate": "model.layers.%d.mlp.shared_mlp.gate_proj",
		"shared_up":   "model.layers.%d.mlp.shared_mlp.up_proj",
		"shared_down": "model.layers.%d.mlp.shared_mlp.down_proj",
	})
	return names
}
