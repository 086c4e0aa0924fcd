package model

import (
	"github.com/attnscope/attnscope/engine/tensor"
)

// gptneox has two norms of the same state in parallel blocks, and stores the query, key
// and value of each head together.
var gptneox = Architecture{
	Name: "gpt_neox", PartialRope: true, GGUF: "gptneox", About: "GPT-NeoX, Pythia", Fused: true,
	Defaults: map[string]any{
		"vocab_size": 50432, "hidden_size": 6144, "intermediate_size": 24576, "num_hidden_layers": 44, "num_attention_heads": 64,
		"max_position_embeddings": 2048, "bos_token_id": 0, "eos_token_id": 2, "hidden_act": "gelu", "partial_rotary_factor": 0.25, "rope_theta": 10000, "rms_norm_eps": 1e-5,
	},
	Keys:    map[string]string{"rms_norm_eps": "layer_norm_eps", "partial_rotary_factor": "rotary_pct", "rope_theta": "rotary_emb_base"},
	Ignored: anyValue("is_decoder", "gpt_j_residual"),
	Names: map[string]string{
		"embed": "gpt_neox.embed_in", "norm": "gpt_neox.final_layer_norm", "head": "embed_out",
		"attn_norm": "gpt_neox.layers.%d.input_layernorm", "ffn_norm": "gpt_neox.layers.%d.post_attention_layernorm",
		"qkv": "gpt_neox.layers.%d.attention.query_key_value", "o": "gpt_neox.layers.%d.attention.dense",
		"up": "gpt_neox.layers.%d.mlp.dense_h_to_4h", "down": "gpt_neox.layers.%d.mlp.dense_4h_to_h",
	},
	Arrange: func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error) {
		if role == "qkv" {
			return headsApart(t, c.Heads, 1, c.HeadDim)
		}
		return t, nil
	},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Parallel = f.flag("use_parallel_residual", true)
		c.Plain = true
		if f.gguf() {
			c.Activation = "gelu"
		}
		return nil
	},
}

// headsApart reorders rows [kvHeads, group queries and a key and a value, dim] to all
// queries, all keys, all values.
func headsApart(t tensor.Tensor, kvHeads, group, dim int) (tensor.Tensor, error) {
	if t.Data == nil { // only the header was read
		return t, nil
	}
	heads := kvHeads * (group + 2)
	x, err := t.Float32()
	if err != nil || len(x)%(heads*dim) != 0 {
		return t, err
	}
	size := len(x) / heads // of a head
	y := make([]float32, 0, len(x))
	for _, part := range [][2]int{{0, group}, {group, group + 1}, {group + 1, group + 2}} {
		for h := range kvHeads {
			at := h * (group + 2) * size
			y = append(y, x[at+part[0]*size:at+part[1]*size]...)
		}
	}
	return tensor.FromFloat32(t.Name, y, t.Shape...), nil
}
