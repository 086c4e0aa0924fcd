package model

// nemotron has norms that subtract the mean and add 1 to their weights, and a
// feed-forward that has no gate and the square of ReLU as its activation.
var nemotron = Architecture{
	Name: "nemotron", PartialRope: true, GGUF: "nemotron", About: "Nemotron 3 and 4, Minitron",
	Defaults: map[string]any{
		"vocab_size": 256000, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 32, "num_attention_heads": 48,
		"max_position_embeddings": 4096, "bos_token_id": 2, "eos_token_id": 3, "rms_norm_eps": 1e-5, "hidden_act": "relu2", "partial_rotary_factor": 0.5,
	},
	Ignored: anyValue("rope_percent"),
	Keys:    map[string]string{"rms_norm_eps": "norm_eps"},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.NormOffset = 1
		if f.gguf() { // in GGUF files the 1 is already added to the norms
			c.NormOffset = 0
			c.Activation = "relu2"
		}
		return nil
	},
}
