package model

// mixtral is Mistral with a mixture of experts.
var mixtral = Architecture{Name: "mixtral", About: "Mixtral",
	Names: map[string]string{
		"router":      "model.layers.%d.block_sparse_moe.gate.weight",
		"expert_gate": "model.layers.%d.block_sparse_moe.experts.%d.w1.weight",
		"expert_up":   "model.layers.%d.block_sparse_moe.experts.%d.w3.weight",
		"expert_down": "model.layers.%d.block_sparse_moe.experts.%d.w2.weight",
	},
	Adjust: func(c *Config, f *fields) error {
		c.readExperts(f, "num_local_experts")
		c.NormExperts = true
		c.slidingWindow(f, func(int) bool { return true })
		return nil
	}}
