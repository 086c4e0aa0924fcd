package model

var graniteDefaults = map[string]any{
	"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
	"max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2, "num_local_experts": 8, "num_experts_per_tok": 2,
}

// granite multiplies embeddings, scores, residuals and logits by constants.
var granite = Architecture{
	Name: "granite", GGUF: "granite", GGUFPairing: llama.GGUFPairing, About: "Granite 3.x (dense)", Defaults: graniteDefaults,
	Adjust: func(c *Config, f *fields) error {
		if f.gguf() { // files of Granite 4 without Mamba-2 layers state the size of the feed-forward twice
			c.Intermediate = f.count("shared_expert_intermediate_size", c.Intermediate, 1)
			f.leaveMamba()
		}
		return c.graniteScales(f)
	},
}

// granitemoe is granite with a mixture of experts, which are stored in one tensor.
var granitemoe = Architecture{
	Name: "granitemoe", GGUF: "granitemoe", GGUFPairing: llama.GGUFPairing, About: "Granite 3.x (mixture of experts)", Defaults: graniteDefaults,
	Names: map[string]string{
		"router":          "model.layers.%d.block_sparse_moe.router.layer",
		"experts_gate_up": "model.layers.%d.block_sparse_moe.input_linear",
		"experts_down":    "model.layers.%d.block_sparse_moe.output_linear",
	},
	Adjust: func(c *Config, f *fields) error {
		count := "num_local_experts"
		if f.gguf() {
			count = "num_experts"
		}
		c.readExperts(f, count)
		c.NormExperts = true // the softmax is taken over the chosen experts
		if f.gguf() {
			c.SharedSize = f.count("shared_expert_intermediate_size", 0, 0)
			f.leaveMamba()
		}
		return c.graniteScales(f)
	},
}

// leaveMamba marks the sizes of Mamba-2 layers as read. Files of Granite 4 state them
// even if the model has none of these layers.
func (f *fields) leaveMamba() {
	for _, name := range []string{"mamba_n_heads", "mamba_n_groups", "mamba_d_state", "mamba_d_conv", "mamba_inner"} {
		f.get(name)
	}
}

// graniteScales reads the constants.
func (c *Config) graniteScales(f *fields) error {
	score := 1.0
	if f.gguf() {
		score = float64(c.Scale)
	}
	c.EmbedScale = float32(f.number("embedding_multiplier", 1))
	c.Scale = float32(f.number("attention_multiplier", score))
	c.ResidualScale = float32(f.number("residual_multiplier", 1))
	c.LogitScale = float32(f.number("logits_scaling", 1))
	if f.err == nil && c.LogitScale == 0 {
		f.bad("logits_scaling", 0, "a number other than 0")
	}
	return nil
}
