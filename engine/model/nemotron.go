package model

// nemotron has norms that take the mean away and add one to their weights, and a
// feed-forward that squares what is above zero.
var nemotron = Architecture{
	Name: "nemotron", GGUF: "nemotron", About: "Nemotron 3 and 4, Minitron",
	Defaults: map[string]any{
		"vocab_size": 256000, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 32, "num_attention_heads": 48,
		"max_position_embeddings": 4096, "bos_token_id": 2, "eos_token_id": 3, "rms_norm_eps": 1e-5, "hidden_act": "relu2", "partial_rotary_factor": 0.5,
	},
	Keys: map[string]string{"rms_norm_eps": "norm_eps"},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain, c.NormOffset = true, 1
		if f.prefix != "" { // GGUF files hold the norms with the one added
			c.NormOffset, c.Activation = 0, "relu2"
		}
		return nil
	},
}
