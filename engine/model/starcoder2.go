package model

// starcoder2 has norms that subtract the mean, biases everywhere, and a feed-forward
// without a gate.
var starcoder2 = Architecture{
	Name: "starcoder2", GGUF: "starcoder2", About: "StarCoder2",
	Defaults: map[string]any{
		"vocab_size": 49152, "hidden_size": 3072, "intermediate_size": 12288, "num_hidden_layers": 30, "num_attention_heads": 24,
		"num_key_value_heads": 2, "max_position_embeddings": 4096, "bos_token_id": 50256, "eos_token_id": 50256, "hidden_act": "gelu_pytorch_tanh", "rms_norm_eps": 1e-5,
	},
	Ignored: keyTable{"norm_type": {"layer_norm"}, "mlp_type": {"default"}},
	Keys:    map[string]string{"rms_norm_eps": "norm_epsilon"},
	Names:   map[string]string{"up": "model.layers.%d.mlp.c_fc", "down": "model.layers.%d.mlp.c_proj"},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.plainGGUF(f)
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	},
}
