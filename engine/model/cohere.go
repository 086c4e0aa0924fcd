package model

import (
	"fmt"
	"maps"

	"github.com/attnscope/attnscope/engine/cpu"
)

var cohereDefaults = map[string]any{
	"vocab_size": 256000, "hidden_size": 8192, "intermediate_size": 22528, "num_hidden_layers": 40, "num_attention_heads": 64,
	"max_position_embeddings": 8192, "bos_token_id": 5, "eos_token_id": 255001, "rms_norm_eps": 1e-5, "logit_scale": 0.0625, "sliding_window": 4096,
}

// cohereWith returns the defaults of a generation, whose rotations have different bases.
func cohereWith(theta float64) map[string]any {
	d := maps.Clone(cohereDefaults)
	d["rope_theta"] = theta
	return d
}

// cohere has one norm for attention and feed-forward, and rotates pairs of adjacent
// channels.
var cohere = Architecture{
	Name: "cohere", GGUF: "command-r", About: "Command R", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent, Defaults: cohereWith(5e5),
	Keys: map[string]string{"rms_norm_eps": "layer_norm_eps"},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("use_qk_norm", false) {
			return fmt.Errorf("%s: use_qk_norm is true; cohere models are supported only without it", f.source)
		}
		c.layerNorm(f, 1e-5)
		c.Parallel = true
		scale := f.number("logit_scale", 0.0625)
		if f.err == nil && scale == 0 {
			f.bad("logit_scale", scale, "a number other than 0")
		}
		c.LogitScale = float32(1 / scale)
		return nil
	},
}

// cohere2 rotates only the layers with a sliding window.
var cohere2 = Architecture{
	Name: "cohere2", GGUF: "cohere2", About: "Command R7B, Command A", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent, Defaults: cohereWith(1e4),
	Keys: cohere.Keys,
	Ignored: keyTable{
		"cache_implementation": nil, "layer_switch": nil, "order_of_interleaved_layers": nil, "position_embedding_type": {"rope_gptj"}, "rotary_pct": {1.0},
		"use_embedding_sharing": {true}, "use_gated_activation": {true}, "use_parallel_block": {true}, "use_parallel_embedding": nil, "sliding_window_pattern": nil, "_sliding_window_pattern": nil,
	},
	Adjust: func(c *Config, f *fields) error {
		c.slidingWindow(f, f.everyNth(4))
		c.NoRope = make([]bool, c.Layers)
		for l, w := range c.LayerWindows {
			c.NoRope[l] = w == 0
		}
		return cohere.Adjust(c, f)
	},
}
