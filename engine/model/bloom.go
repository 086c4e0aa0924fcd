package model

import (
	"fmt"

	"github.com/attnscope/attnscope/engine/tensor"
)

// bloom has biases of the positions instead of a rotation, and normalizes the embeddings.
var bloom = Architecture{
	Name: "bloom", OffCard: "biases of positions (ALiBi)", GGUF: "bloom", About: "BLOOM, BLOOMZ", Fused: true,
	Defaults: map[string]any{
		"vocab_size": 250880, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "bos_token_id": 1, "eos_token_id": 2,
		"rms_norm_eps": 1e-5,
	},
	Keys:    map[string]string{"num_hidden_layers": "n_layer", "num_attention_heads": "n_head", "rms_norm_eps": "layer_norm_epsilon"},
	Aliases: map[string]string{"num_hidden_layers": "num_hidden_layers", "num_attention_heads": "num_attention_heads", "hidden_size": "n_embed"},
	Ignored: anyValue("attention_softmax_in_fp32", "bias_dropout_fusion", "masked_softmax_fusion", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "n_inner").and(
		keyTable{"slow_but_exact": {false}}),
	Names: map[string]string{
		"embed": "transformer.word_embeddings", "embed_norm": "transformer.word_embeddings_layernorm", "norm": "transformer.ln_f",
		"attn_norm": "transformer.h.%d.input_layernorm", "ffn_norm": "transformer.h.%d.post_attention_layernorm",
		"qkv": "transformer.h.%d.self_attention.query_key_value", "o": "transformer.h.%d.self_attention.dense",
		"up": "transformer.h.%d.mlp.dense_h_to_4h", "down": "transformer.h.%d.mlp.dense_4h_to_h",
	},
	Arrange: func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error) {
		if role == "qkv" {
			return headsApart(t, c.Heads, 1, c.HeadDim)
		}
		return t, nil
	},
	Adjust: func(c *Config, f *fields) error {
		if f.flag("apply_residual_connection_post_layernorm", false) {
			return fmt.Errorf("%s: apply_residual_connection_post_layernorm is true; bloom models are supported only without it", f.source)
		}
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.KVHeads = c.Heads
		c.Activation = "gelu_tanh"
		c.EmbedNorm = true
		c.KeyBias = newKeyBias(c.Heads)
		c.Rope = Rope{Kind: noRotation}
		return nil
	},
}
