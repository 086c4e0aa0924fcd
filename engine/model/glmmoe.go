package model

// glm4moe has a mixture with the router of DeepSeek V3. Half of each head is rotated.
var glm4moe = Architecture{
	Name: "glm4_moe", OffCard: "a router with a bias", GGUF: "glm4moe", About: "GLM-4.5, GLM-4.6", PartialRope: true,
	Defaults: map[string]any{
		"vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 10944, "num_hidden_layers": 46, "num_attention_heads": 96,
		"num_key_value_heads": 8, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "partial_rotary_factor": 0.5,
		"n_routed_experts": 128, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_intermediate_size": 1408, "first_k_dense_replace": 1,
		"num_nextn_predict_layers": 1,
	},
	Aliases: map[string]string{"num_nextn_predict_layers": "num_mtp_layers", "n_routed_experts": "num_local_experts"},
	Names:   deepNames,
	// The norm before the feed-forward is the one after the attention.
	GGUFTensors: map[string]string{"ffn_norm": "blk.%d.post_attention_norm"},
	Inspect: func(c *Config, rows func(name string) int) {
		c.arch.QKNorm = rows("blk.0.attn_q_norm.weight") > 0
	},
	Adjust: func(c *Config, f *fields) error {
		if !f.gguf() {
			c.arch.QKNorm = f.flag("use_qk_norm", false)
		}
		c.leaveLater(f)
		c.readDeepExperts(f, true)
		return nil
	},
}

// deepNames has the names of tensors of a mixture as in DeepSeek V3.
var deepNames = map[string]string{
	"router":      "model.layers.%d.mlp.gate",
	"router_bias": "model.layers.%d.mlp.gate.e_score_correction_bias",
	"expert_gate": "model.layers.%d.mlp.experts.%d.gate_proj",
	"expert_up":   "model.layers.%d.mlp.experts.%d.up_proj",
	"expert_down": "model.layers.%d.mlp.experts.%d.down_proj",
	"shared_gate": "model.layers.%d.mlp.shared_experts.gate_proj",
	"shared_up":   "model.layers.%d.mlp.shared_experts.up_proj",
	"shared_down": "model.layers.%d.mlp.shared_experts.down_proj",
}

// leaveLater reads the number of layers that predict several tokens ahead. GGUF files
// count them among the layers.
func (c *Config) leaveLater(f *fields) {
	c.LaterLayers = f.count("num_nextn_predict_layers", 0, 0)
	if f.gguf() && f.err == nil {
		if c.LaterLayers >= c.Layers {
			f.bad("num_nextn_predict_layers", c.LaterLayers, "fewer than there are layers")
			return
		}
		c.Layers -= c.LaterLayers
		c.LayerWindows = c.LayerWindows[:c.Layers]
	}
}
