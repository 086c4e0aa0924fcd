package model

// gptoss has a sink in every head, which takes a part of each softmax, and windows in
// every other layer. All layers are mixtures, whose experts and router have biases and
// whose gates are clamped.
var gptoss = Architecture{
	Name: "gpt_oss", OffCard: "learned sinks", GGUF: "gpt-oss", About: "gpt-oss", Sinks: true, CrossedExperts: true, TwinChannels: true, WholeYarn: true,
	Defaults: map[string]any{
		"vocab_size": 201088, "hidden_size": 2880, "intermediate_size": 2880, "num_hidden_layers": 36, "num_attention_heads": 64,
		"num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 150000,
		"sliding_window": 128, "num_local_experts": 128, "num_experts_per_tok": 4,
		"rope_parameters": map[string]any{
			"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0, "truncate": false, "original_max_position_embeddings": 4096.0,
		},
	},
	Aliases: map[string]string{"num_local_experts": "num_experts"},
	Ignored: anyValue("initial_context_length", "experts_per_token", "hidden_act"),
	Names: map[string]string{
		"router": "model.layers.%d.mlp.router",
		"sinks":  "model.layers.%d.self_attn.sinks",
	},
	GGUFTensors: map[string]string{"ffn_norm": "blk.%d.post_attention_norm"},
	Adjust: func(c *Config, f *fields) error {
		count := "num_local_experts"
		if f.gguf() {
			count = "num_experts"
		}
		c.readExperts(f, count)
		if f.gguf() {
			c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
			if n := f.count("expert_gating_func", ggufSoftmaxOfChosen, 0); n != ggufSoftmaxOfChosen {
				f.bad("expert_gating_func", n, "3 in a gpt_oss model")
			}
		}
		c.Activation = "silu"
		c.ClampedGate = &ClampedGate{Alpha: float32(f.number("swiglu_alpha", 1.702)), Limit: float32(f.number("swiglu_limit", 7))}
		c.NormExperts = true // a softmax over the chosen experts alone has the same weights
		c.Router.Offset = true
		c.slidingWindow(f, func(l int) bool { return l%2 == 0 })
		return nil
	},
}

// A ClampedGate computes min(gate, Limit) sigmoid(Alpha min(gate, Limit)) (up + 1), with
// up clamped to [-Limit, Limit], in place of act(gate) up.
type ClampedGate struct{ Alpha, Limit float32 }
