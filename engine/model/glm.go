package model

import "github.com/attnscope/attnscope/engine/cpu"

var glmDefaults = map[string]any{
	"vocab_size": 151552, "hidden_size": 4096, "intermediate_size": 13696, "num_hidden_layers": 40, "num_attention_heads": 32,
	"num_key_value_heads": 2, "head_dim": 128, "max_position_embeddings": 131072, "eos_token_id": 151329, "rms_norm_eps": 1.5625e-7, "partial_rotary_factor": 0.5,
}

// glm rotates pairs of adjacent channels in half of each head, and has gate and up in one
// tensor.
var glm = Architecture{Name: "glm", PartialRope: true, About: "GLM-4 9B, GLM-Edge", FusedGate: true, Pairing: cpu.Adjacent, Defaults: glmDefaults}

// glm4 normalizes the inputs and outputs of blocks.
var glm4 = Architecture{
	Name: "glm4", PartialRope: true, GGUF: "glm4", About: "GLM-4-0414, Z1", FusedGate: true, PostNorms: true, Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent, Defaults: glmDefaults,
	Names: map[string]string{
		"attn_out_norm": "model.layers.%d.post_self_attn_layernorm", "pre_ffn_norm": "model.layers.%d.post_attention_layernorm",
		"post_ffn_norm": "model.layers.%d.post_mlp_layernorm",
	},
}
