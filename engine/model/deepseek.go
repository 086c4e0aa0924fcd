package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// latentKeys are the names of fields in the configurations of families with a latent.
var latentKeys = map[string]string{"head_dim": "qk_rope_head_dim"}

// latentIgnored lists keys of these configurations that transformers does not read, or
// computes from others.
var latentIgnored = keyTable{
	"head_dim": nil, "num_key_value_heads": nil, "qk_head_dim": nil, "ep_size": nil, "aux_loss_alpha": nil, "seq_aux": nil, "moe_layer_freq": {1.0},
}

var deepAliases = map[string]string{"num_nextn_predict_layers": "num_mtp_layers", "n_routed_experts": "num_local_experts"}

// deepseek3 has a latent, and a mixture whose router has sigmoids and a bias. GGUF files
// of all families with a latent are read as this one.
var deepseek3 = Architecture{
	Name: "deepseek_v3", OffCard: "latent attention", GGUF: "deepseek2", About: "DeepSeek V3 and R1", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	Keys: latentKeys, Aliases: deepAliases, Names: deepNames,
	Ignored: latentIgnored.and(keyTable{"scoring_func": {"sigmoid"}, "topk_method": {"noaux_tc"}}),
	Defaults: map[string]any{
		"vocab_size": 129280, "hidden_size": 7168, "intermediate_size": 18432, "moe_intermediate_size": 2048, "num_hidden_layers": 61,
		"num_attention_heads": 128, "n_shared_experts": 1, "n_routed_experts": 256, "routed_scaling_factor": 2.5, "kv_lora_rank": 512,
		"q_lora_rank": 1536, "head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "n_group": 8, "topk_group": 4, "num_experts_per_tok": 8,
		"first_k_dense_replace": 3, "max_position_embeddings": 4096, "bos_token_id": 0, "eos_token_id": 1, "num_nextn_predict_layers": 1,
	},
	Inspect: func(c *Config, rows func(name string) int) {
		for l := range c.Layers {
			c.Router.Biased = c.Router.Biased || rows(fmt.Sprintf("blk.%d.exp_probs_b.bias", l)) > 0
		}
	},
	Adjust: func(c *Config, f *fields) error {
		c.leaveLater(f)
		if f.gguf() {
			c.ggufLatent(f)
			c.ggufDeepExperts(f)
			return nil
		}
		c.readLatent(f)
		c.readDeepExperts(f, true)
		return nil
	},
}

// kimi2 is deepseek3 with another model_type.
var kimi2 = func() Architecture {
	a := deepseek3
	a.Name = "kimi_k2"
	a.GGUF = ""
	a.SharedGGUF = deepseek3.GGUF
	a.About = "Kimi K2 and K2.5 (text)"
	return a
}()

// deepseek2 has a router with a softmax. A group of experts is as good as its best one,
// and the weights of the experts are not scaled to a sum of 1, as in transformers.
var deepseek2 = Architecture{
	Name: "deepseek_v2", OffCard: "latent attention", SharedGGUF: "deepseek2", About: "DeepSeek V2, V2-Lite, and Coder V2", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	Keys: latentKeys, Aliases: map[string]string{"n_routed_experts": "num_experts"}, Names: deepNames,
	Ignored: latentIgnored.and(keyTable{"scoring_func": {"softmax"}, "norm_topk_prob": nil}),
	Defaults: map[string]any{
		"vocab_size": 102400, "hidden_size": 4096, "intermediate_size": 11008, "moe_intermediate_size": 1407, "num_hidden_layers": 32,
		"num_attention_heads": 32, "n_shared_experts": 2, "n_routed_experts": 64, "kv_lora_rank": 512, "q_lora_rank": 1536, "head_dim": 64,
		"v_head_dim": 128, "qk_nope_head_dim": 128, "max_position_embeddings": 2048, "bos_token_id": 1, "eos_token_id": 2,
	},
	Adjust: func(c *Config, f *fields) error {
		c.readLatent(f)
		if _, given := f.get("num_experts_per_tok"); !given {
			f.bad("num_experts_per_tok", "missing", "the number of experts that a token goes through")
		}
		c.readExperts(f, "n_routed_experts")
		c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
		c.SharedSize = c.ExpertSize * f.count("n_shared_experts", 0, 0)
		c.Router = Router{Scale: f.positive("routed_scaling_factor", 1), BestOne: true}
		groups, most := f.count("n_group", 0, 0), f.count("topk_group", 0, 0)
		switch method := f.text("topk_method", "greedy"); method {
		case "greedy":
		case "group_limited_greedy":
			c.Router.Groups, c.Router.TopGroups = groups, most
			c.checkGroups(f)
		default:
			f.bad("topk_method", method, "greedy or group_limited_greedy")
		}
		c.denseFirst(f.count("first_k_dense_replace", 0, 0))
		return nil
	},
}

// glm4lite is deepseek3 whose configuration lists the layers with a mixture.
var glm4lite = Architecture{
	Name: "glm4_moe_lite", OffCard: "latent attention", SharedGGUF: "deepseek2", About: "GLM-4.7-Flash", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	Keys: latentKeys, Aliases: deepAliases, Names: deepNames,
	Ignored: latentIgnored.and(keyTable{"scoring_func": {"sigmoid"}, "topk_method": {"noaux_tc"}, "first_k_dense_replace": {1.0}}),
	Defaults: map[string]any{
		"vocab_size": 154880, "hidden_size": 2048, "intermediate_size": 10240, "moe_intermediate_size": 1536, "num_hidden_layers": 47,
		"num_attention_heads": 20, "n_shared_experts": 1, "n_routed_experts": 64, "routed_scaling_factor": 1.8, "kv_lora_rank": 512,
		"q_lora_rank": 768, "head_dim": 64, "v_head_dim": 256, "qk_nope_head_dim": 192, "num_experts_per_tok": 4, "max_position_embeddings": 202752,
		"rms_norm_eps": 1e-5, "bos_token_id": 0, "eos_token_id": 1,
	},
	Adjust: func(c *Config, f *fields) error {
		c.leaveLater(f)
		c.readLatent(f)
		if part := f.rotation().number("partial_rotary_factor", f.number("partial_rotary_factor", 1)); part != 1 {
			f.bad("partial_rotary_factor", part, "1: qk_rope_head_dim is the number of rotated channels")
		}
		c.readDeepExperts(f, true)
		c.denseFirst(1)
		c.sparseTypes(f)
		return nil
	},
}

// youtu is deepseek3 without a mixture.
var youtu = Architecture{
	Name: "youtu", OffCard: "latent attention", SharedGGUF: "deepseek2", About: "Youtu-LLM", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent, Keys: latentKeys,
	Ignored: latentIgnored.and(anyValue("embedding_initializer_range")),
	Defaults: map[string]any{
		"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 32, "num_attention_heads": 16,
		"kv_lora_rank": 512, "q_lora_rank": 1536, "head_dim": 64, "v_head_dim": 128, "qk_nope_head_dim": 128, "max_position_embeddings": 131072,
		"bos_token_id": 128000, "eos_token_id": 128001,
	},
	Adjust: func(c *Config, f *fields) error {
		c.readLatent(f)
		return nil
	},
}

// mistral4 has queries that grow with the logarithm of their position, and a router with
// a softmax. Its configuration calls all channels of a head head_dim.
var mistral4 = Architecture{
	Name: "mistral4", OffCard: "latent attention", GGUF: "mistral4", About: "Mistral Small 4", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent, PartialRope: true, RotaryDim: true,
	Keys: map[string]string{"rotary_dim": "qk_rope_head_dim"}, Aliases: map[string]string{"n_routed_experts": "num_local_experts"}, Names: deepNames,
	Ignored:  latentIgnored,
	RopeKeys: ministral3.RopeKeys,
	Defaults: map[string]any{
		"vocab_size": 131072, "hidden_size": 4096, "intermediate_size": 12288, "moe_intermediate_size": 2048, "num_hidden_layers": 36,
		"num_attention_heads": 32, "n_shared_experts": 1, "n_routed_experts": 128, "kv_lora_rank": 256, "q_lora_rank": 1024, "rotary_dim": 64,
		"head_dim": 128, "v_head_dim": 128, "qk_nope_head_dim": 64, "num_experts_per_tok": 4, "max_position_embeddings": 1048576,
		"bos_token_id": 1, "eos_token_id": 2,
		"rope_parameters": map[string]any{
			"type": "yarn", "rope_theta": 10000.0, "factor": 128.0, "original_max_position_embeddings": 8192,
			"mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1,
		},
	},
	Adjust: func(c *Config, f *fields) error {
		c.readQueryGrowth(f)
		if f.gguf() {
			if c.QueryGrowth == 0 {
				f.bad("attention.temperature_scale", "missing", "how queries grow with their position: convert the model again with a newer converter")
			}
			c.ggufLatent(f)
			c.ggufDeepExperts(f)
			c.Router.BestOne = false
			return nil
		}
		rotated := f.count("rotary_dim", 0, 2)
		if size := rotated + f.count("qk_nope_head_dim", 0, 1); f.err == nil && (c.HeadDim != size || c.Rope.Dim != rotated) {
			f.bad("head_dim", c.HeadDim, fmt.Sprintf("%d, of which %d channels are rotated", size, rotated))
		}
		c.HeadDim = rotated
		c.readLatent(f)
		c.readDeepExperts(f, true)
		c.Router.Sigmoid, c.Router.Biased = false, false
		return nil
	},
}

// minicpm3 has a latent, multiplies embeddings and what a block adds by constants, and
// divides the logits by one. GGUF files do not state these: llama.cpp takes those of the
// published model.
var minicpm3 = Architecture{
	Name: "minicpm3", OffCard: "latent attention", GGUF: "minicpm3", About: "MiniCPM3", Keys: latentKeys, Ignored: latentIgnored,
	Defaults: map[string]any{
		"vocab_size": 73448, "hidden_size": 2560, "intermediate_size": 6400, "num_hidden_layers": 62, "num_attention_heads": 40,
		"kv_lora_rank": 256, "q_lora_rank": 768, "head_dim": 32, "qk_nope_head_dim": 64, "max_position_embeddings": 32768, "rms_norm_eps": 1e-5,
		"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 256, "bos_token_id": 1, "eos_token_id": 2,
	},
	Adjust: func(c *Config, f *fields) error {
		depth, base := 1.4, 256.0
		c.EmbedScale = 12
		if f.gguf() {
			c.ggufLatent(f)
		} else {
			c.readLatent(f)
			c.Rope.Pairing = cpu.Half
			c.EmbedScale = float32(f.number("scale_emb", 1))
			depth = f.positive("scale_depth", math.Sqrt(float64(c.Layers)))
			base = f.positive("dim_model_base", float64(c.Hidden))
		}
		c.ResidualScale = float32(depth / math.Sqrt(float64(c.Layers)))
		c.LogitScale = float32(float64(c.Hidden) / base)
		return nil
	},
}

// readLatent reads the latent of a hub checkpoint and the scale of its scores, which some
// stretched rotations make larger.
func (c *Config) readLatent(f *fields) {
	m := Latent{
		QueryRank: f.count("q_lora_rank", 0, 0),
		Rank:      f.count("kv_lora_rank", 0, 1),
		Plain:     f.count("qk_nope_head_dim", 0, 1),
		Rotated:   c.HeadDim,
		Value:     f.count("v_head_dim", c.Hidden/c.Heads, 1),
	}
	if !f.flag("rope_interleave", true) {
		c.Rope.Pairing = cpu.Half
	}
	c.setLatent(f, m)
	p := f.rotation()
	if all := p.number("mscale_all_dim", 0); all != 0 && c.Rope.Kind != "default" {
		c.stretchScores(yarnScale(p.number("factor", 1), all))
	}
}

// setLatent uses a latent if its sizes are possible.
func (c *Config) setLatent(f *fields, m Latent) {
	switch {
	case f.err != nil:
	case m.entry() > maxDim:
		f.bad("kv_lora_rank", m.Rank, fmt.Sprintf("at most %d, with the rotated channels", maxDim))
	case m.headSize() > maxDim || m.Value > maxDim || m.QueryRank > maxDim*8:
		f.bad("v_head_dim", m.Value, fmt.Sprintf("heads of at most %d channels", maxDim))
	default:
		c.useLatent(m)
	}
}

// stretchScores multiplies the scale of the scores by a factor of queries and of keys.
func (c *Config) stretchScores(by float64) {
	if c.Latent != nil {
		c.Scale = c.Latent.scale(by)
	}
}

// ggufLatent reads the latent of a GGUF file. In files whose W_UK and W_UV are apart, the
// lengths of keys and values are those of the entries of the cache; the lengths of the
// heads have names of their own.
func (c *Config) ggufLatent(f *fields) {
	m := Latent{
		QueryRank: f.count("q_lora_rank", 0, 0),
		Rank:      f.count("kv_lora_rank", 0, 1),
		Rotated:   f.count("rope.dimension_count", 0, 2),
	}
	size := f.count("head_dim", 0, 1)
	m.Value = f.count("attention.value_length", c.Hidden/c.Heads, 1)
	if _, apart := f.get("attention.key_length_mla"); apart {
		if f.err == nil && (size != m.entry() || m.Value != m.Rank) {
			f.bad("head_dim", size, fmt.Sprintf("%d, the size of an entry of the cache, whose value has %d channels", m.entry(), m.Rank))
		}
		size = f.count("attention.key_length_mla", 0, 1)
		m.Value = f.count("attention.value_length_mla", 0, 1)
	}
	if m.Plain = size - m.Rotated; m.Plain < 1 && f.err == nil {
		f.bad("rope.dimension_count", m.Rotated, fmt.Sprintf("fewer than the %d channels of a head", size))
	}
	c.setLatent(f, m)
	f.get("num_key_value_heads") // of the entries, or of the heads
	all := f.number("rope.scaling.yarn_log_multiplier", 0) / 0.1
	if c.Rope.Kind != "yarn" || all == 0 {
		return
	}
	factor := f.positive("rope.scaling.factor", 1)
	if _, given := f.get("rope.scaling.yarn_attn_factor"); !given { // mscale is mscale_all_dim
		c.Rope.Factor /= yarnScale(factor, 1)
	}
	c.stretchScores(yarnScale(factor, all))
}

// ggufDeepExperts reads the mixture of a GGUF file of a family with a latent. If the file
// does not state the function of the router, it has sigmoids if it has a bias.
func (c *Config) ggufDeepExperts(f *fields) {
	size := f.count("moe_intermediate_size", c.Intermediate, 1)
	shared := f.count("n_shared_experts", 0, 0)
	dense := f.count("first_k_dense_replace", 0, 0)
	biased := c.Router.Biased
	c.Router = Router{}
	if f.count("n_routed_experts", 0, 0) == 0 {
		return
	}
	c.readExperts(f, "n_routed_experts")
	c.ExpertSize = size
	c.SharedSize = size * shared
	c.NormExperts = f.flag("norm_topk_prob", false)
	gating := f.count("expert_gating_func", 0, 0)
	if gating == 0 {
		gating = ggufSoftmax
		if biased {
			gating = ggufSigmoid
		}
	}
	if gating != ggufSoftmax && gating != ggufSigmoid {
		f.bad("expert_gating_func", gating, fmt.Sprintf("%d (softmax) or %d (sigmoid)", ggufSoftmax, ggufSigmoid))
	}
	c.Router = Router{
		Sigmoid: gating == ggufSigmoid, BestOne: gating == ggufSoftmax, Biased: biased, Scale: f.positive("routed_scaling_factor", 1),
		Groups: f.count("n_group", 1, 0), TopGroups: f.count("topk_group", 1, 0),
	}
	c.checkGroups(f)
	c.denseFirst(dense)
}

// sparseTypes reads which layers have a mixture from mlp_layer_types, if it is given.
func (c *Config) sparseTypes(f *fields) {
	v, given := f.get("mlp_layer_types")
	if !given {
		return
	}
	list, _ := v.([]any)
	known := func(x any) bool { return x == "dense" || x == "sparse" }
	if len(list) != c.Layers || slices.ContainsFunc(list, func(x any) bool { return !known(x) }) {
		f.bad("mlp_layer_types", jsonText(v), fmt.Sprintf("dense or sparse for each of the %d layers", c.Layers))
		return
	}
	for l, x := range list {
		c.Sparse[l] = x == "sparse"
	}
}
