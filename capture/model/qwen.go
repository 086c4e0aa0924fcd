package model

import "fmt"

// qwen2 has biases on q, k and v, and may slide from a certain layer on.
var qwen2 = Architecture{Name: "qwen2", GGUF: "qwen2", About: "Qwen2, Qwen2.5", Adjust: qwenWindows}

// qwen3 normalises every head's query and key.
var qwen3 = Architecture{Name: "qwen3", GGUF: "qwen3", About: "Qwen3 (dense)", QKNorm: true, Adjust: qwenWindows}

// qwen3moe is qwen3 with a mixture of experts on every layer.
var qwen3moe = Architecture{Name: "qwen3_moe", About: "Qwen3 (mixture of experts)", QKNorm: true,
	Names: map[string]string{
		"router":      "model.layers.%d.mlp.gate.weight",
		"expert_gate": "model.layers.%d.mlp.experts.%d.gate_proj.weight",
		"expert_up":   "model.layers.%d.mlp.experts.%d.up_proj.weight",
		"expert_down": "model.layers.%d.mlp.experts.%d.down_proj.weight",
	},
	Adjust: func(c *Config, f *fields) error {
		c.readExperts(f, "num_experts")
		c.NormExperts = f.flag("norm_topk_prob", false)
		c.Intermediate = f.count("moe_intermediate_size", c.Intermediate, 1)
		if step := f.count("decoder_sparse_step", 1, 1); step != 1 {
			return fmt.Errorf("%s: decoder_sparse_step is %d; only 1, a mixture on every layer, is supported", f.source, step)
		}
		if list, _ := f.values["mlp_only_layers"].([]any); len(list) > 0 {
			return fmt.Errorf("%s: mlp_only_layers is %v; only a mixture on every layer is supported", f.source, list)
		}
		return qwenWindows(c, f)
	}}

func qwenWindows(c *Config, f *fields) error {
	if f.flag("use_sliding_window", false) {
		from := f.count("max_window_layers", 28, 0)
		c.slidingWindow(f, func(l int) bool { return l >= from })
	}
	return nil
}
