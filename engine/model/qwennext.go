package model

import (
	"fmt"
	"maps"
)

// linearLayer is the name of layers with a recurrence in layer_types.
const linearLayer = "linear_attention"

// qwen3next has attention, with a gate on its output, in every fourth layer. The other
// layers have the gated delta rule. Most layers have a mixture of experts.
var qwen3next = Architecture{
	Name: "qwen3_next", OffCard: "layers without attention", GGUF: "qwen3next", About: "Qwen3-Next", QKNorm: true, PartialRope: true, OutputGate: true, Names: deltaExperts,
	GGUFTensors: deltaGGUF, LayerTypes: map[string]LayerKind{linearLayer: Linear}, Mixer: (*loader).deltaNet,
	Defaults: map[string]any{
		"vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 48, "num_attention_heads": 16,
		"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768, "partial_rotary_factor": 0.25,
		"linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
		"num_experts": 512, "num_experts_per_tok": 10, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "norm_topk_prob": true,
		"full_attention_interval": 4,
	},
	Adjust: func(c *Config, f *fields) error {
		if f.count("num_experts", 0, 0) > 0 {
			c.readQwenExperts(f, true)
			c.SharedSize = f.count("shared_expert_intermediate_size", c.ExpertSize, 1)
			c.SharedGate = true
		} else {
			f.leave("num_experts_per_tok", "moe_intermediate_size", "shared_expert_intermediate_size", "norm_topk_prob", "decoder_sparse_step", "mlp_only_layers")
		}
		return c.readDelta(f)
	},
	Vary: (*Config).varyDelta,
}

// qwen35 is qwen3next without experts.
var qwen35 = Architecture{
	Name: "qwen3_5_text", OffCard: "layers without attention", GGUF: "qwen35", About: "Qwen3.5 (text; the decoder of multimodal models)", QKNorm: true, PartialRope: true, OutputGate: true,
	RopeKeys: mropeKeys, Names: deltaNames, GGUFTensors: deltaGGUF, LayerTypes: map[string]LayerKind{linearLayer: Linear}, Mixer: (*loader).deltaNet,
	Ignored: qwen35Ignored,
	Defaults: map[string]any{
		"vocab_size": 248320, "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 16,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 32768, "partial_rotary_factor": 0.25,
		"linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
		"full_attention_interval": 4,
	},
	Adjust: func(c *Config, f *fields) error {
		leaveImages(f)
		return c.readDelta(f)
	},
	Vary: (*Config).varyDelta,
}

// qwen35moe is qwen3next under other names, with a mixture in every layer.
var qwen35moe = Architecture{
	Name: "qwen3_5_moe_text", OffCard: "layers without attention", GGUF: "qwen35moe", About: "Qwen3.5 (mixture of experts; text)", QKNorm: true, PartialRope: true, OutputGate: true,
	RopeKeys: mropeKeys, Names: deltaExperts, GGUFTensors: deltaGGUF, LayerTypes: map[string]LayerKind{linearLayer: Linear}, Mixer: (*loader).deltaNet,
	Ignored: qwen35Ignored,
	Defaults: map[string]any{
		"vocab_size": 248320, "hidden_size": 2048, "num_hidden_layers": 40, "num_attention_heads": 16,
		"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768, "partial_rotary_factor": 0.25,
		"linear_conv_kernel_dim": 4, "linear_key_head_dim": 128, "linear_value_head_dim": 128, "linear_num_key_heads": 16, "linear_num_value_heads": 32,
		"num_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512,
		"full_attention_interval": 4,
	},
	Adjust: func(c *Config, f *fields) error {
		leaveImages(f)
		c.readExperts(f, "num_experts")
		c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
		c.NormExperts = true
		c.SharedSize = f.count("shared_expert_intermediate_size", c.ExpertSize, 1)
		c.SharedGate = true
		return c.readDelta(f)
	},
	Vary: (*Config).varyDelta,
}

// deltaExperts has the names of tensors of layers with the gated delta rule and of a
// mixture.
var deltaExperts = joinNames(deltaNames, qwenExperts)

// joinNames returns a table with the names of all tables.
func joinNames(tables ...map[string]string) map[string]string {
	all := map[string]string{}
	for _, t := range tables {
		maps.Copy(all, t)
	}
	return all
}

// qwen35Ignored lists keys of layers that predict several tokens ahead, and of the
// precision in which other programs keep the states.
var qwen35Ignored = anyValue("mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "mamba_ssm_dtype").and(keyTable{"attn_output_gate": {true}})

// readDelta reads the sizes of the layers with the gated delta rule.
func (c *Config) readDelta(f *fields) error {
	if !f.gguf() {
		c.NormOffset = 1
	}
	d := &DeltaShape{
		KeyHeads:   f.count("linear_num_key_heads", 16, 1),
		ValueHeads: f.count("linear_num_value_heads", 32, 1),
		KeyDim:     f.count("linear_key_head_dim", 128, 1),
		Kernel:     f.count("linear_conv_kernel_dim", 4, 1),
	}
	if f.gguf() {
		c.leaveLater(f)
		d.ValueDim = f.count("ssm.inner_size", d.ValueHeads*d.KeyDim, d.ValueHeads) / d.ValueHeads
		d.Tiled = c.arch.GGUF != "qwen3next"
	} else {
		d.ValueDim = f.count("linear_value_head_dim", 128, 1)
	}
	if f.err == nil && d.ValueHeads%d.KeyHeads != 0 {
		return fmt.Errorf("%s: %d value heads for %d key heads of linear attention: want a multiple", f.source, d.ValueHeads, d.KeyHeads)
	}
	c.Delta = d
	return nil
}

// varyDelta gives all layers but every n-th one the gated delta rule, or those that
// layer_types says.
func (c *Config) varyDelta(f *fields) error {
	n := f.count("full_attention_interval", 4, 1)
	c.linearLayers(f, func(l int) bool { return (l+1)%n != 0 }, c.Delta.size(c.Hidden))
	return nil
}
