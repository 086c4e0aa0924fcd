package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/cpu"
)

// The kinds of layers of Nemotron-H that have only a feed-forward.
const (
	denseLayer  = "mlp"
	expertLayer = "moe"
)

// nemotronh has layers that do one thing each: attention, the recurrence of Mamba-2, a
// feed-forward, or a mixture of experts. It has no rotation.
var nemotronh = Architecture{
	Name: "nemotron_h", OffCard: "layers without attention", GGUF: "nemotron_h", AlsoGGUF: []string{"nemotron_h_moe"}, About: "Nemotron-H, Nemotron Nano 2 and 3",
	LayerTypes: map[string]LayerKind{linearLayer: Linear, "mamba": Linear, "attention": Attention, denseLayer: None, expertLayer: None},
	Mixer:      (*loader).mamba, Prepare: prepareNemotron,
	Defaults: map[string]any{
		"vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 21504, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
		"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "hidden_act": "relu2", "bos_token_id": 1, "eos_token_id": 2,
		"mamba_d_state": 128, "mamba_n_heads": 128, "mamba_d_head": 64, "mamba_n_groups": 8, "mamba_d_conv": 4,
		"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 7688, "shared_expert_intermediate_size": 7688,
	},
	Keys: map[string]string{
		"hidden_act": "mlp_hidden_act", "rms_norm_eps": "layer_norm_epsilon", "mamba_d_state": "ssm_state_size", "mamba_n_heads": "mamba_num_heads",
		"mamba_d_head": "mamba_head_dim", "mamba_n_groups": "n_groups", "mamba_d_conv": "conv_kernel",
		"shared_expert_intermediate_size": "moe_shared_expert_intermediate_size",
	},
	Aliases: map[string]string{"mamba_n_groups": "mamba_n_groups", "mamba_d_conv": "mamba_d_conv", "n_routed_experts": "num_local_experts"},
	Ignored: mambaIgnored.and(anyValue(
		"attention_head_dim", "chunk_size", "expand", "mamba_expand", "mamba_proj_bias", "mamba_ssm_cache_dtype", "mtp_hybrid_override_pattern", "mtp_layers_block_type",
		"norm_eps", "rms_norm_eps", "num_query_groups", "rescale_prenorm_residual", "residual_in_fp32", "time_step_floor", "time_step_limit", "time_step_max", "time_step_rank",
		"use_mamba_kernels", "moe_shared_expert_overlap", "num_nextn_predict_layers", "num_hidden_layers", "hybrid_override_pattern", "layers_block_type",
		"n_group", "topk_group", "n_routed_experts", "num_local_experts", "n_shared_experts", "num_experts_per_tok", "moe_intermediate_size",
		"moe_shared_expert_intermediate_size", "norm_topk_prob", "routed_scaling_factor", "moe_latent_size",
	)),
	Names: map[string]string{
		"embed": "backbone.embeddings", "norm": "backbone.norm_f", "attn_norm": "backbone.layers.%d.norm", "ffn_norm": "backbone.layers.%d.norm",
		"q": "backbone.layers.%d.mixer.q_proj", "k": "backbone.layers.%d.mixer.k_proj", "v": "backbone.layers.%d.mixer.v_proj", "o": "backbone.layers.%d.mixer.o_proj",
		"up": "backbone.layers.%d.mixer.up_proj", "down": "backbone.layers.%d.mixer.down_proj",
		"mamba_in": "backbone.layers.%d.mixer.in_proj", "mamba_conv": "backbone.layers.%d.mixer.conv1d", "mamba_a": "backbone.layers.%d.mixer.A_log",
		"mamba_d": "backbone.layers.%d.mixer.D", "mamba_dt": "backbone.layers.%d.mixer.dt_bias", "mamba_norm": "backbone.layers.%d.mixer.norm",
		"mamba_out":   "backbone.layers.%d.mixer.out_proj",
		"router":      "backbone.layers.%d.mixer.gate",
		"router_bias": "backbone.layers.%d.mixer.gate.e_score_correction_bias",
		"expert_up":   "backbone.layers.%d.mixer.experts.%d.up_proj", "expert_down": "backbone.layers.%d.mixer.experts.%d.down_proj",
		"experts_up": "backbone.layers.%d.mixer.experts.up_proj", "experts_down": "backbone.layers.%d.mixer.experts.down_proj",
		"shared_up": "backbone.layers.%d.mixer.shared_experts.up_proj", "shared_down": "backbone.layers.%d.mixer.shared_experts.down_proj",
		"experts_in": "backbone.layers.%d.mixer.fc1_latent_proj", "experts_out": "backbone.layers.%d.mixer.fc2_latent_proj",
	},
	GGUFTensors: joinNames(mambaGGUF, map[string]string{
		"ffn_norm": "blk.%d.attn_norm", "experts_in": "blk.%d.ffn_latent_down", "experts_out": "blk.%d.ffn_latent_up",
	}),
	Adjust: func(c *Config, f *fields) error {
		c.Plain = true
		c.Rope = Rope{Kind: noRotation}
		inner := 0
		if f.gguf() {
			c.Activation = "relu2"
			inner = f.count("mamba_inner", 0, 1)
		}
		c.Mamba = c.readMamba(f, inner)
		if c.Mamba.Activation = activation(f.text("mamba_hidden_act", "silu")); !slices.Contains(cpu.Activations, c.Mamba.Activation) {
			f.bad("mamba_hidden_act", c.Mamba.Activation, strings.Join(cpu.Activations, ", "))
		}
		if !f.gguf() {
			c.Mamba.MinStep = f.number("time_step_min", 0.001) // time_step_limit is not read
		}
		return c.readNemotronParts(f)
	},
	Vary: func(c *Config, f *fields) error {
		c.linearLayers(f, func(int) bool { return false }, c.Mamba.size(c.Hidden))
		for l, feeds := range c.FeedForward {
			if feeds {
				c.Shapes[l] = LayerShape{Kind: None, CacheOf: l}
			}
		}
		return nil
	},
}

// readNemotronParts reads which layers are a feed-forward or a mixture, and the mixture.
func (c *Config) readNemotronParts(f *fields) error {
	types, _ := f.values["layer_types"].([]any)
	if f.err == nil && len(types) != c.Layers {
		return fmt.Errorf("%s: %d kinds of layers, want one for each of %d", f.source, len(types), c.Layers)
	}
	sparse := make([]bool, c.Layers)
	c.FeedForward = make([]bool, c.Layers)
	for l, kind := range types {
		sparse[l] = kind == expertLayer
		c.FeedForward[l] = kind == denseLayer || kind == expertLayer
	}
	if !slices.Contains(sparse, true) {
		return f.err
	}
	c.readDeepExperts(f, true)
	c.SharedSize = f.count("shared_expert_intermediate_size", c.ExpertSize, 1)
	c.ExpertHidden = f.count("moe_latent_size", 0, 0)
	c.Sparse = sparse
	return f.err
}

// nemotronLetters maps the letters of hybrid_override_pattern to kinds of layers.
var nemotronLetters = map[rune]string{'M': linearLayer, '*': fullLayer, '-': denseLayer, 'E': expertLayer}

// prepareNemotron sets layer_types and num_hidden_layers from what a configuration has
// instead.
func prepareNemotron(f *fields) {
	var types []any
	if f.gguf() {
		types = f.nemotronTypes()
	} else {
		types = f.nemotronPattern()
	}
	f.values = maps.Clone(f.values)
	f.values["layer_types"] = types
	if f.err != nil {
		return
	}
	f.values[f.key("num_hidden_layers")] = len(types)
	f.values[f.key("intermediate_size")] = f.most("intermediate_size", 0, 1) // of all layers that have a feed-forward
}

// nemotronPattern reads the kinds of layers of a hub checkpoint.
func (f *fields) nemotronPattern() []any {
	for _, key := range []string{"layers_block_type", "layer_types"} {
		if list, ok := f.values[key].([]any); ok {
			return list
		}
	}
	pattern := f.text("hybrid_override_pattern", "")
	if pattern == "" {
		return []any{linearLayer, expertLayer, fullLayer, denseLayer}
	}
	var types []any
	for at, letter := range pattern {
		kind, known := nemotronLetters[letter]
		if !known {
			f.bad("hybrid_override_pattern", fmt.Sprintf("%q at %d", letter, at), "M, E, * or -")
			return nil
		}
		types = append(types, kind)
	}
	return types
}

// nemotronTypes returns the kinds of layers of a GGUF file, as llama.cpp tells them
// apart: a layer without kv heads and without a feed-forward is recurrent.
func (f *fields) nemotronTypes() []any {
	layers := f.count("num_hidden_layers", 0, 1)
	heads := f.perLayer("num_key_value_heads")
	feeds := f.perLayer("intermediate_size")
	experts := f.count("num_experts", 0, 0)
	if later := f.count("num_nextn_predict_layers", 0, 0); later > 0 {
		f.bad("num_nextn_predict_layers", later, "0; convert the model without the layers that predict several tokens ahead (--no-mtp)")
	}
	if f.err == nil && (len(heads) != layers || len(feeds) != layers) {
		f.bad("num_key_value_heads", fmt.Sprintf("a list of %d", len(heads)), fmt.Sprintf("lists of %d, here and in %s", layers, f.key("intermediate_size")))
	}
	if f.err != nil {
		return nil
	}
	var types []any
	for l := range heads {
		switch {
		case feeds[l] > 0 && experts > 0:
			types = append(types, expertLayer)
		case feeds[l] > 0:
			types = append(types, denseLayer)
		case heads[l] > 0:
			types = append(types, fullLayer)
		default:
			types = append(types, linearLayer)
		}
	}
	return types
}
