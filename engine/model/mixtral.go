package model

// mixtral is mistral with a mixture of experts.
var mixtral = Architecture{
	Name: "mixtral", SharedGGUF: "llama", About: "Mixtral",
	Defaults: map[string]any{
		"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 8, "max_position_embeddings": 131072, "bos_token_id": 1, "eos_token_id": 2, "rms_norm_eps": 1e-5, "rope_theta": 1e6,
		"num_local_experts": 8, "num_experts_per_tok": 2,
	},
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Names: map[string]string{
		"router":      "model.layers.%d.block_sparse_moe.gate",
		"expert_gate": "model.layers.%d.block_sparse_moe.experts.%d.w1",
		"expert_up":   "model.layers.%d.block_sparse_moe.experts.%d.w3",
		"expert_down": "model.layers.%d.block_sparse_moe.experts.%d.w2",
	},
	Adjust: func(c *Config, f *fields) error {
		c.readExperts(f, "num_local_experts")
		c.NormExperts = true
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	},
}
