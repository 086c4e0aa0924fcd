package model

// dots1 is qwen3 with a mixture that has the router of DeepSeek V3.
var dots1 = Architecture{
	Name: "dots1", OffCard: "a router with a bias", GGUF: "dots1", About: "dots.llm1", QKNorm: true, Names: deepNames,
	Aliases: map[string]string{"n_routed_experts": "num_local_experts"},
	Ignored: keyTable{"scoring_func": {"sigmoid", "noaux_tc"}, "topk_method": {"noaux_tc"}, "moe_layer_freq": {1.0}, "ep_size": nil, "aux_loss_alpha": nil, "seq_aux": nil},
	Defaults: map[string]any{
		"vocab_size": 152064, "hidden_size": 4608, "intermediate_size": 10944, "num_hidden_layers": 62, "num_attention_heads": 32,
		"num_key_value_heads": 32, "max_position_embeddings": 2048, "moe_intermediate_size": 1408, "sliding_window": 4096,
	},
	Adjust: func(c *Config, f *fields) error {
		c.readDeepExperts(f, false)
		if f.gguf() {
			return nil
		}
		from := f.count("max_window_layers", 62, 0)
		c.slidingWindow(f, func(l int) bool { return l >= from })
		return nil
	},
}
