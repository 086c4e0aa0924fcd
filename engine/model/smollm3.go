package model

// smollm3 is llama without rotation in every fourth layer, or in those that
// no_rope_layers marks with 0. A sliding window applies to the layers without rotation.
var smollm3 = Architecture{
	Name: "smollm3", GGUF: "smollm3", GGUFPairing: llama.GGUFPairing, About: "SmolLM3",
	Defaults: map[string]any{
		"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
		"num_key_value_heads": 4, "max_position_embeddings": 32768, "bos_token_id": 128000, "eos_token_id": 128001, "rope_theta": 2e6,
	},
	Adjust: func(c *Config, f *fields) error {
		c.unrotated(f)
		if f.flag("use_sliding_window", false) {
			c.slidingWindow(f, func(l int) bool { return c.NoRope[l] })
		}
		return nil
	},
}

// unrotated reads which layers are not rotated.
func (c *Config) unrotated(f *fields) {
	every := f.count("no_rope_layer_interval", 4, 1)
	c.NoRope = make([]bool, c.Layers)
	value, _ := f.get("no_rope_layers")
	marks, given := value.([]any)
	for l := range c.NoRope {
		c.NoRope[l] = (l+1)%every == 0
		if given && l < len(marks) {
			one := fields{source: f.source, values: map[string]any{"no_rope_layers": marks[l]}}
			c.NoRope[l] = one.number("no_rope_layers", 1) == 0
		}
	}
}
