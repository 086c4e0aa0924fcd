package model

// exaone4 normalizes the outputs of blocks and every head's query and key. If some
// layers have a sliding window, only those layers are rotated.
var exaone4 = Architecture{
	Name: "exaone4", GGUF: "exaone4", About: "EXAONE 4", PostNorms: true, NoPreNorms: true, QKNorm: true,
	Ignored: anyValue("sliding_window_pattern"),
	Defaults: map[string]any{
		"vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 16384, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 32, "max_position_embeddings": 2048, "bos_token_id": 0, "eos_token_id": 2, "rms_norm_eps": 1e-5, "sliding_window": 4096,
	},
	Adjust: func(c *Config, f *fields) error {
		if f.count("sliding_window", 0, 0) == 0 {
			return nil
		}
		c.slidingWindow(f, f.everyNth(4))
		c.NoRope = make([]bool, c.Layers)
		for l, w := range c.LayerWindows {
			c.NoRope[l] = w == 0
		}
		return nil
	},
}
