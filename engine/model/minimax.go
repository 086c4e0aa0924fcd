package model

// minimaxm2 has a mixture in all layers, whose router has sigmoids and a bias. Queries and
// keys are normalized over all heads together, and a part of each head is rotated.
var minimaxm2 = Architecture{
	Name: "minimax_m2", OffCard: "a router with a bias", GGUF: "minimax-m2", About: "MiniMax M2", PartialRope: true, RotaryDim: true, WideQKNorm: true,
	Defaults: map[string]any{
		"vocab_size": 200064, "hidden_size": 3072, "intermediate_size": 1536, "num_hidden_layers": 62, "num_attention_heads": 48,
		"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 196608, "rope_theta": 5e6, "bos_token_id": 200034, "eos_token_id": 200020,
		"num_local_experts": 256, "num_experts_per_tok": 8,
	},
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Ignored: anyValue(
		"attn_type_list", "layernorm_full_attention_beta", "layernorm_linear_attention_beta", "layernorm_mlp_beta", "mlp_intermediate_size",
		"mtp_transformer_layers", "num_mtp_modules", "shared_moe_mode",
	).and(keyTable{
		"qk_norm_type": {"per_layer"}, "scoring_func": {"sigmoid"}, "shared_intermediate_size": {0.0}, "use_qk_norm": {true}, "use_routing_bias": {true},
	}),
	Names: map[string]string{
		"router":      "model.layers.%d.block_sparse_moe.gate",
		"router_bias": "model.layers.%d.block_sparse_moe.e_score_correction_bias",
		"expert_gate": "model.layers.%d.block_sparse_moe.experts.%d.w1",
		"expert_up":   "model.layers.%d.block_sparse_moe.experts.%d.w3",
		"expert_down": "model.layers.%d.block_sparse_moe.experts.%d.w2",
	},
	Adjust: func(c *Config, f *fields) error {
		count := "num_local_experts"
		if f.gguf() {
			count = "num_experts"
		}
		c.readExperts(f, count)
		if f.gguf() {
			c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
		}
		c.NormExperts = true
		c.Router = Router{Sigmoid: true, Biased: true}
		c.checkGating(f)
		return nil
	},
}
