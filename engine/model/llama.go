package model

import "github.com/attnscope/attnscope/engine/cpu"

// llama is the family that every other one is compared with. GGUF files of Mistral and
// Mixtral also have this name; their windows and experts are read if present.
var llama = Architecture{
	Name: "llama", GGUF: "llama", GGUFPairing: cpu.Adjacent,
	About: "Llama 1, 2, 3, 3.x, SmolLM, SmolLM2, Falcon 3 and all that share their layout",
	Defaults: map[string]any{
		"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32,
		"max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
	},
	Names: mixtral.Names,
	Adjust: func(c *Config, f *fields) error {
		if !f.gguf() {
			return nil
		}
		c.slidingWindow(f, func(int) bool { return true })
		if f.count("num_experts", 0, 0) > 0 {
			c.readExperts(f, "num_experts")
			c.NormExperts = true
		}
		return nil
	},
}

// arcee is llama with a feed-forward that has no gate and the square of ReLU as its
// activation.
var arcee = Architecture{
	Name: "arcee", GGUF: "arcee", GGUFPairing: cpu.Adjacent, About: "Arcee AFM",
	Defaults: map[string]any{
		"vocab_size": 32000, "hidden_size": 2560, "intermediate_size": 18432, "num_hidden_layers": 32, "num_attention_heads": 32,
		"max_position_embeddings": 4096, "bos_token_id": 128000, "eos_token_id": 128001, "rms_norm_eps": 1e-5, "hidden_act": "relu2",
	},
	Adjust: func(c *Config, f *fields) error {
		c.Plain = true
		if f.gguf() {
			c.Activation = "relu2"
		}
		return nil
	},
}

// cwm is llama with a sliding window in three of every four layers.
var cwm = Architecture{
	Name: "cwm", About: "Code World Model",
	Defaults: map[string]any{
		"vocab_size": 128256, "hidden_size": 6144, "intermediate_size": 21504, "num_hidden_layers": 64, "num_attention_heads": 48,
		"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "sliding_window": 8192,
		"bos_token_id": 128000, "eos_token_id": []any{128001, 128008, 128009}, "rope_theta": 1e6,
		"rope_parameters": map[string]any{
			"rope_type": "llama3", "rope_theta": 1e6, "factor": 16.0, "high_freq_factor": 4.0, "low_freq_factor": 1.0, "original_max_position_embeddings": 8192,
		},
	},
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(l int) bool { return l%4 != 0 })
		return nil
	},
}

// seedoss is llama with biases, and with a head size that does not follow from the
// hidden size.
var seedoss = Architecture{
	Name: "seed_oss", About: "Seed-OSS",
	Defaults: map[string]any{
		"vocab_size": 155136, "hidden_size": 4096, "intermediate_size": 27648, "num_hidden_layers": 64, "num_attention_heads": 80,
		"num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 524288, "bos_token_id": 0, "eos_token_id": 2,
	},
}
