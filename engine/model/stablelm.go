package model

import "fmt"

// stablelm is llama with norms that subtract the mean. The larger model has one norm for
// attention and feed-forward.
var stablelm = Architecture{
	Name: "stablelm", PartialRope: true, GGUF: "stablelm", About: "StableLM 2 (without norms of heads)",
	Defaults: map[string]any{
		"vocab_size": 50304, "hidden_size": 2560, "intermediate_size": 6912, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 32, "max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": 0, "partial_rotary_factor": 0.25, "rms_norm_eps": 1e-5,
	},
	Ignored: anyValue("norm_eps", "rope_pct", "num_heads"),
	Keys:    map[string]string{"rms_norm_eps": "layer_norm_eps"},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("qk_layernorm", false) {
			return fmt.Errorf("%s: qk_layernorm is true; stablelm models are supported only without it", f.source)
		}
		c.layerNorm(f, 1e-5)
		c.Parallel = f.flag("use_parallel_residual", false)
		return nil
	},
}
