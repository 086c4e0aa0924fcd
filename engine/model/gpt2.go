package model

import (
	"fmt"

	"github.com/attnscope/attnscope/engine/tensor"
)

// gpt2 has embeddings of positions instead of a rotation, and stores its matrices as
// [in, out].
var gpt2 = Architecture{
	Name: "gpt2", GGUF: "gpt2", About: "GPT-2", Fused: true,
	Defaults: map[string]any{
		"vocab_size": 50257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 1024,
		"bos_token_id": 50256, "eos_token_id": 50256, "hidden_act": "gelu_new", "rms_norm_eps": 1e-5,
	},
	Keys: map[string]string{
		"hidden_size": "n_embd", "num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "intermediate_size": "n_inner",
		"max_position_embeddings": "n_positions", "hidden_act": "activation_function", "rms_norm_eps": "layer_norm_epsilon",
	},
	Aliases: map[string]string{
		"hidden_size": "hidden_size", "num_hidden_layers": "num_hidden_layers", "num_attention_heads": "num_attention_heads",
		"max_position_embeddings": "max_position_embeddings",
	},
	Ignored: anyValue(
		"n_ctx", "reorder_and_upcast_attn", "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj",
	),
	Names: map[string]string{
		"embed": "transformer.wte", "positions": "transformer.wpe", "norm": "transformer.ln_f",
		"attn_norm": "transformer.h.%d.ln_1", "ffn_norm": "transformer.h.%d.ln_2", "qkv": "transformer.h.%d.attn.c_attn", "o": "transformer.h.%d.attn.c_proj",
		"up": "transformer.h.%d.mlp.c_fc", "down": "transformer.h.%d.mlp.c_proj",
	},
	Arrange: func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error) {
		switch role {
		case "qkv", "o", "up", "down":
			return transposed(t)
		}
		return t, nil
	},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("scale_attn_by_inverse_layer_idx", false) {
			return fmt.Errorf("%s: scale_attn_by_inverse_layer_idx is true; only GPT-2 models with one scale for all layers are supported", f.source)
		}
		if !f.flag("scale_attn_weights", true) {
			c.Scale = 1
		}
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.Learned = true
		c.plainGGUF(f)
		c.Rope = Rope{Kind: noRotation}
		return nil
	},
}

// transposed returns the transpose of a matrix, or a vector unchanged.
func transposed(t tensor.Tensor) (tensor.Tensor, error) {
	if len(t.Shape) != 2 {
		return t, nil
	}
	rows, cols := t.Shape[0], t.Shape[1]
	if t.Data == nil { // only the header was read
		t.Shape = []int{cols, rows}
		return t, nil
	}
	x, err := t.Float32()
	if err != nil {
		return t, err
	}
	y := make([]float32, len(x))
	for i := range rows {
		for j := range cols {
			y[j*rows+i] = x[i*cols+j]
		}
	}
	return tensor.FromFloat32(t.Name, y, cols, rows), nil
}
