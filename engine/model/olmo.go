package model

import "fmt"

var olmoDefaults = map[string]any{
	"vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
	"max_position_embeddings": 2048, "eos_token_id": 50279, "rms_norm_eps": 1e-5, "sliding_window": 4096,
}

// olmo has norms without weights, and may clip queries, keys and values.
var olmo = Architecture{
	Name: "olmo", GGUF: "olmo", GGUFPairing: llama.GGUFPairing, About: "OLMo 1", BareNorms: true, Defaults: olmoDefaults,
	Adjust: func(c *Config, f *fields) error {
		c.LayerNorm = true
		if !f.gguf() {
			c.NormEps = 1e-5 // whatever the configuration says, as in transformers
		}
		c.ClipQKV = float32(f.number("clip_qkv", 0))
		return nil
	},
}

// olmo2 normalizes the outputs of blocks instead of their inputs, and queries and keys
// over all heads together.
var olmo2 = Architecture{
	Name: "olmo2", GGUF: "olmo2", About: "OLMo 2", PostNorms: true, NoPreNorms: true, WideQKNorm: true, Defaults: olmoDefaults,
	Adjust: func(c *Config, f *fields) error {
		if f.gguf() { // OLMo 3 has the same name in GGUF files
			return olmo3.Adjust(c, f)
		}
		return nil
	},
}

// olmoe has a mixture of experts, and normalizes queries and keys over all heads
// together.
var olmoe = Architecture{
	Name: "olmoe", GGUF: "olmoe", About: "OLMoE", WideQKNorm: true, Names: qwenExperts,
	Aliases: map[string]string{"num_experts": "num_local_experts"},
	Defaults: map[string]any{
		"vocab_size": 50304, "hidden_size": 2048, "intermediate_size": 2048, "num_hidden_layers": 16, "num_attention_heads": 16,
		"max_position_embeddings": 4096, "eos_token_id": 50279, "rms_norm_eps": 1e-5, "num_experts": 64, "num_experts_per_tok": 8,
	},
	Adjust: func(c *Config, f *fields) error {
		if clip := f.number("clip_qkv", 0); clip != 0 {
			return fmt.Errorf("%s: clip_qkv is %g; olmoe models are supported only without it", f.source, clip)
		}
		c.readQwenExperts(f, false)
		return nil
	},
}

// olmo3 has a sliding window in three of every four layers. The rotation of these
// layers is not scaled, and rope_theta is not its base, as in transformers 5.
var olmo3 = Architecture{
	Name: "olmo3", SharedGGUF: "olmo2", About: "OLMo 3", PostNorms: true, NoPreNorms: true, WideQKNorm: true, LocalTheta: 5e5,
	Defaults: map[string]any{
		"vocab_size": 50304, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
		"max_position_embeddings": 2048, "eos_token_id": 50279, "rms_norm_eps": 1e-5, "sliding_window": 4096, "rope_theta": 5e5,
	},
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, f.everyNth(4))
		if f.gguf() { // which have one base; the family's models state the default
			c.LocalRope = plainRope(c, c.Rope.Theta)
		}
		return nil
	},
}
