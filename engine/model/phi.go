package model

import "fmt"

// phi3 has q, k and v in one tensor, and gate and up in another.
var phi3 = Architecture{
	Name: "phi3", PartialRope: true, GGUF: "phi3", About: "Phi-3, Phi-3.5, Phi-4 (dense)", Fused: true, RestartRope: true,
	Ignored: keyTable{"full_attn_mod": {1.0}, "interpolate_factor": {1.0}},
	Defaults: map[string]any{
		"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32, "num_attention_heads": 32,
		"max_position_embeddings": 4096, "original_max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 32000, "rms_norm_eps": 1e-5,
	},
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	},
}

// phi has one norm for attention and feed-forward, whose outputs are added together.
var phi = Architecture{
	Name: "phi", PartialRope: true, GGUF: "phi2", About: "Phi-1, Phi-1.5, Phi-2",
	Defaults: map[string]any{
		"vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 24, "num_attention_heads": 32,
		"max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2, "hidden_act": "gelu_new", "partial_rotary_factor": 0.5, "layer_norm_eps": 1e-5,
	},
	Keys: map[string]string{"rms_norm_eps": "layer_norm_eps"},
	Names: map[string]string{
		"norm": "model.final_layernorm", "o": "model.layers.%d.self_attn.dense", "up": "model.layers.%d.mlp.fc1", "down": "model.layers.%d.mlp.fc2",
	},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("qk_layernorm", false) {
			return fmt.Errorf("%s: qk_layernorm is true; phi models are supported only without it", f.source)
		}
		c.layerNorm(f, 1e-5)
		c.Parallel = true
		c.Plain = true
		c.plainGGUF(f)
		return nil
	},
}

// layerNorm selects norms that subtract the mean.
func (c *Config) layerNorm(f *fields, eps float64) {
	c.LayerNorm = true
	if !f.gguf() {
		c.NormEps = float32(f.number("rms_norm_eps", eps))
	}
}

// plainGGUF sets the activation of a feed-forward without a gate, which is missing in
// GGUF files.
func (c *Config) plainGGUF(f *fields) {
	if f.gguf() {
		c.Activation = "gelu_tanh"
	}
}
