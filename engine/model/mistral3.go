package model

import "github.com/attnscope/attnscope/engine/cpu"

// ministral3 is mistral with queries that grow with the logarithm of their position.
var ministral3 = Architecture{
	Name: "ministral3", OffCard: "queries that grow with their position", GGUF: "mistral3", GGUFPairing: cpu.Adjacent, About: "Ministral 3",
	Defaults: map[string]any{
		"vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 34, "num_attention_heads": 32,
		"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 262144, "bos_token_id": 1, "eos_token_id": 2, "rms_norm_eps": 1e-5,
		"rope_parameters": map[string]any{
			"type": "yarn", "rope_theta": 1e6, "factor": 16.0, "original_max_position_embeddings": 16384,
			"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
		},
	},
	RopeKeys:       []string{"llama_4_scaling_beta", "max_position_embeddings"},
	YarnMultiplier: true,
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(int) bool { return true })
		c.readQueryGrowth(f)
		return nil
	},
}

// readQueryGrowth reads how queries grow with the logarithm of their position.
func (c *Config) readQueryGrowth(f *fields) {
	if f.gguf() {
		c.QueryGrowth = f.number("attention.temperature_scale", 0)
		c.QueryFrom = f.count("rope.scaling.original_context_length", max(1, c.MaxPositions), 1)
		return
	}
	p := f.rotation()
	if _, given := p.get("llama_4_scaling_beta"); !given {
		p.bad("llama_4_scaling_beta", "missing", "a number")
	}
	c.QueryGrowth = p.number("llama_4_scaling_beta", 0)
	c.QueryFrom = f.count("original_max_position_embeddings", p.count("original_max_position_embeddings", 0, 1), 1)
	f.take(p)
}
