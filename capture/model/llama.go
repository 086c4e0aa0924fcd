package model

import "github.com/attnscope/attnscope/capture/cpu"

// llama is what every other family is measured by. Its GGUF files serve Mistral
// and Mixtral too: their windows and experts are read where they are given.
var llama = Architecture{Name: "llama", GGUF: "llama", GGUFPairing: cpu.Adjacent,
	About:    "Llama 1, 2, 3, 3.x, SmolLM, SmolLM2, Falcon 3 and all that share their layout",
	Defaults: map[string]any{"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2},
	Names:    mixtral.Names,
	Adjust: func(c *Config, f *fields) error {
		if f.prefix == "" {
			return nil
		}
		c.slidingWindow(f, func(int) bool { return true })
		if f.count("num_experts", 0, 0) > 0 {
			c.readExperts(f, "num_experts")
			c.NormExperts = true
		}
		return nil
	}}
