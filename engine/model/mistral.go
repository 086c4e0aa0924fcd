package model

// mistral is llama with a sliding window on every layer, if the configuration sets one.
var mistral = Architecture{
	Name: "mistral", SharedGGUF: "llama", About: "Mistral 7B and its relatives, with and without a sliding window",
	Defaults: mistralDefaults,
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	},
}

// ministral is mistral with a list of the layers that have a sliding window.
var ministral = Architecture{Name: "ministral", About: "Ministral, with sliding and full layers", Defaults: mistralDefaults, Adjust: mistral.Adjust}

var mistralDefaults = map[string]any{
	"vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
	"num_key_value_heads": 8, "max_position_embeddings": 131072, "bos_token_id": 1, "eos_token_id": 2, "sliding_window": 4096,
}
