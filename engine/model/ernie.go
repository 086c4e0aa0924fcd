package model

import (
	"fmt"
	"maps"

	"github.com/attnscope/attnscope/engine/cpu"
)

// ernie is llama with pairs of adjacent channels in the rotation.
var ernie = Architecture{
	Name: "ernie4_5", GGUF: "ernie4_5", About: "ERNIE 4.5 (dense)", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	Defaults: map[string]any{
		"vocab_size": 103424, "hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 18, "num_attention_heads": 16,
		"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
		"bos_token_id": 1, "eos_token_id": 2,
	},
}

// erniemoe is ernie with a mixture, whose router has a bias for the choice, and with
// experts that every token goes through.
var erniemoe = Architecture{
	Name: "ernie4_5_moe", OffCard: "a router with a bias", GGUF: "ernie4_5-moe", About: "ERNIE 4.5 (mixture of experts)", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	Defaults: map[string]any{
		"vocab_size": 103424, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 28, "num_attention_heads": 20,
		"num_key_value_heads": 4, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5, "rope_theta": 5e5, "bos_token_id": 1, "eos_token_id": 2,
		"moe_num_experts": 64, "num_experts_per_tok": 6, "moe_intermediate_size": 1536, "moe_num_shared_experts": 2, "moe_layer_start_index": 1,
	},
	Keys:    map[string]string{"num_experts_per_tok": "moe_k"},
	Aliases: map[string]string{"moe_num_experts": "num_experts", "num_experts_per_tok": "num_experts_per_tok"},
	Ignored: anyValue("moe_capacity", "moe_norm_min", "num_nextn_predict_layers").and(keyTable{"moe_gate": {"topk"}, "moe_use_aux_free": {true}}),
	Names:   ernieNames(),
	Adjust: func(c *Config, f *fields) error {
		if f.flag("use_bias", false) {
			return fmt.Errorf("%s: use_bias is true; ernie4_5_moe models are supported only without it", f.source)
		}
		if f.gguf() {
			c.readErnieGGUF(f)
		} else {
			c.readErnieExperts(f)
		}
		c.NormExperts = true
		c.Router.Biased = true
		return nil
	},
}

// ernieNames has the names of tensors, which differ from those of DeepSeek in one.
func ernieNames() map[string]string {
	names := maps.Clone(deepNames)
	names["router_bias"] = "model.layers.%d.mlp.moe_statics.e_score_correction_bias"
	return names
}

// readErnieExperts reads the mixture of a config.json.
func (c *Config) readErnieExperts(f *fields) {
	c.readExperts(f, "moe_num_experts")
	c.ExpertSize = f.count("moe_intermediate_size", 0, 1)
	c.SharedSize = c.ExpertSize * f.count("moe_num_shared_experts", 0, 0)
	from := f.count("moe_layer_start_index", 0, 0)
	to := int(f.number("moe_layer_end_index", -1))
	if to == -1 {
		to = c.Layers - 1
	}
	step := f.count("moe_layer_interval", 1, 1)
	c.Sparse = make([]bool, c.Layers)
	for l := range c.Sparse {
		c.Sparse[l] = (l+1)%step == 0 && l >= from && l <= to
	}
}

// readErnieGGUF reads the mixture of a GGUF file. The size of the shared experts that
// llama.cpp's converter writes is not theirs.
func (c *Config) readErnieGGUF(f *fields) {
	c.readExperts(f, "num_experts")
	c.ExpertSize = f.count("moe_intermediate_size", 0, 1)
	c.SharedSize = c.ExpertSize * f.count("n_shared_experts", 0, 0)
	f.get("shared_expert_intermediate_size")
	if step := f.count("interleave_moe_layer_step", 1, 1); step != 1 {
		f.bad("interleave_moe_layer_step", step, "1")
	}
	c.checkGating(f)
	c.denseFirst(f.count("first_k_dense_replace", 0, 0))
}
