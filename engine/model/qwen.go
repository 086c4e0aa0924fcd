package model

import "fmt"

// qwen2 has biases of q, k and v, and may have a sliding window from some layer on.
var qwen2 = Architecture{
	Name: "qwen2", GGUF: "qwen2", About: "Qwen2, Qwen2.5", Adjust: qwenWindows,
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 32, "max_position_embeddings": 32768, "sliding_window": 4096,
	},
}

// qwen3 normalizes every head's query and key.
var qwen3 = Architecture{
	Name: "qwen3", GGUF: "qwen3", About: "Qwen3 (dense)", QKNorm: true, Adjust: qwenWindows,
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 32768, "sliding_window": 4096,
	},
}

// qwenWindows sets the sliding window from layer max_window_layers on, if it is
// enabled.
func qwenWindows(c *Config, f *fields) error {
	if f.flag("use_sliding_window", false) {
		from := f.count("max_window_layers", 28, 0)
		c.slidingWindow(f, func(l int) bool { return l >= from })
	}
	return nil
}

// mropeKeys are the fields of a rotation by time, height and width. For text the three
// are equal, and the rotation is that of the position.
var mropeKeys = []string{"mrope_section", "mrope_interleaved"}

// visionTokens are the tokens that stand for images, in configurations in which the
// decoder's fields are not apart from those of the whole model.
var visionTokens = anyValue("vision_config", "vision_start_token_id", "vision_end_token_id", "vision_token_id", "image_token_id", "video_token_id")

// qwen25vl is the decoder of Qwen2.5-VL, which is qwen2.
var qwen25vl = Architecture{
	Name: "qwen2_5_vl_text", GGUF: "qwen2vl", About: "Qwen2.5-VL (text)", RopeKeys: mropeKeys, Ignored: visionTokens,
	Defaults: map[string]any{
		"vocab_size": 152064, "hidden_size": 8192, "intermediate_size": 29568, "num_hidden_layers": 80, "num_attention_heads": 64,
		"num_key_value_heads": 8, "max_position_embeddings": 32768, "sliding_window": 4096, "max_window_layers": 80, "rms_norm_eps": 1e-5,
		"rope_theta": 1e6, "bos_token_id": 151643, "eos_token_id": 151645,
	},
	Adjust: func(c *Config, f *fields) error {
		leaveImages(f)
		return qwenWindows(c, f)
	},
}

// qwen3vl is the decoder of Qwen3-VL, which is qwen3.
var qwen3vl = Architecture{
	Name: "qwen3_vl_text", GGUF: "qwen3vl", About: "Qwen3-VL (text)", RopeKeys: mropeKeys, QKNorm: true,
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 4096, "intermediate_size": 22016, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 32, "head_dim": 128, "max_position_embeddings": 128000, "rope_theta": 5e5,
	},
	Adjust: func(_ *Config, f *fields) error {
		leaveImages(f)
		return nil
	},
}

// leaveImages marks the keys of GGUF files that concern images as read.
func leaveImages(f *fields) {
	if f.gguf() {
		f.get("rope.dimension_sections")
		f.get("n_deepstack_layers")
	}
}

// qwenExperts has the names of tensors of a mixture.
var qwenExperts = map[string]string{
	"router":      "model.layers.%d.mlp.gate",
	"expert_gate": "model.layers.%d.mlp.experts.%d.gate_proj",
	"expert_up":   "model.layers.%d.mlp.experts.%d.up_proj",
	"expert_down": "model.layers.%d.mlp.experts.%d.down_proj",
}

// qwen2moe is qwen2 with a mixture of experts and an expert that every token goes
// through.
var qwen2moe = Architecture{
	Name: "qwen2_moe", GGUF: "qwen2moe", About: "Qwen1.5 and Qwen2 (mixture of experts)", Names: qwenExperts,
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 24, "num_attention_heads": 16,
		"num_key_value_heads": 16, "max_position_embeddings": 32768, "num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408, "shared_expert_intermediate_size": 5632,
	},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("use_sliding_window", false) {
			return fmt.Errorf("%s: use_sliding_window is true; qwen2_moe models are supported only without it", f.source)
		}
		c.readQwenExperts(f, false)
		c.SharedSize = f.count("shared_expert_intermediate_size", c.ExpertSize, 1)
		c.SharedGate = true
		return nil
	},
}

// qwen3moe is qwen3 with a mixture of experts. A sliding window applies to all layers.
var qwen3moe = Architecture{
	Name: "qwen3_moe", GGUF: "qwen3moe", About: "Qwen3 (mixture of experts)", QKNorm: true, Names: qwenExperts,
	Aliases: map[string]string{"num_experts": "num_local_experts"},
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 24, "num_attention_heads": 32,
		"num_key_value_heads": 4, "max_position_embeddings": 32768, "sliding_window": 4096, "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
	},
	Adjust: func(c *Config, f *fields) error {
		c.readQwenExperts(f, true)
		if f.flag("use_sliding_window", false) {
			c.slidingWindow(f, func(int) bool { return true })
		}
		return nil
	},
}

// readQwenExperts reads the sizes of the mixture and the layers that have it. norm says
// whether the weights of the experts are scaled to a sum of 1 when a GGUF file does not
// specify it.
func (c *Config) readQwenExperts(f *fields, norm bool) {
	c.readExperts(f, "num_experts")
	c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
	c.NormExperts = f.flag("norm_topk_prob", f.gguf() && norm)
	step := f.count("decoder_sparse_step", 1, 1)
	c.Sparse = make([]bool, c.Layers)
	for l := range c.Sparse {
		c.Sparse[l] = (l+1)%step == 0
	}
	for _, l := range f.ids("mlp_only_layers") {
		if int(l) < c.Layers {
			c.Sparse[l] = false
		}
	}
}
