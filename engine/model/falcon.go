package model

import (
	"fmt"
	"maps"

	"github.com/attnscope/attnscope/engine/tensor"
)

// falcon comes with one kv head for all query heads (7B), with groups and two norms of the
// same state (40B), or with as many kv heads as query heads; with a rotation or with biases
// of the positions. A tensor stores the queries, key and value of each kv head together.
var falcon = Architecture{
	Name: "falcon", GGUF: "falcon", About: "Falcon 7B, 40B, 180B, Falcon 2, Falcon-RW", Fused: true,
	Defaults: map[string]any{
		"vocab_size": 65024, "hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "max_position_embeddings": 2048,
		"bos_token_id": 11, "eos_token_id": 11, "hidden_act": "gelu", "rms_norm_eps": 1e-5,
	},
	Keys: map[string]string{
		"num_key_value_heads": "num_kv_heads", "intermediate_size": "ffn_hidden_size", "hidden_act": "activation", "rms_norm_eps": "layer_norm_epsilon",
	},
	Aliases: map[string]string{"hidden_size": "n_embed"},
	Names: map[string]string{
		"embed": "transformer.word_embeddings", "norm": "transformer.ln_f",
		"attn_norm": "transformer.h.%d.input_layernorm", "ffn_norm": "transformer.h.%d.post_attention_layernorm",
		"qkv": "transformer.h.%d.self_attention.query_key_value", "o": "transformer.h.%d.self_attention.dense",
		"up": "transformer.h.%d.mlp.dense_h_to_4h", "down": "transformer.h.%d.mlp.dense_4h_to_h",
	},
	Arrange: func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error) {
		if role == "qkv" {
			return headsApart(t, c.KVHeads, c.Heads/c.KVHeads, c.HeadDim)
		}
		return t, nil
	},
	Inspect: func(c *Config, rows func(name string) int) {
		if rows("blk.0.attn_norm_2.weight") > 0 { // of two norms, the first is that of the feed-forward
			c.arch.GGUFTensors = map[string]string{"attn_norm": "blk.%d.attn_norm_2", "ffn_norm": "blk.%d.attn_norm"}
		}
	},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		if f.gguf() {
			c.Activation = "gelu"
			c.Parallel = true
			return nil
		}
		grouped := f.flag("new_decoder_architecture", false)
		single := f.flag("multi_query", true)
		parallel := f.flag("parallel_attn", true)
		norms := 1
		if grouped {
			norms = 2
		}
		norms = f.count("num_ln_in_parallel_attn", norms, 1)
		c.Parallel = grouped || parallel
		switch {
		case grouped && !parallel:
			return fmt.Errorf("%s: parallel_attn is false and new_decoder_architecture true; falcon models are supported only with one of them", f.source)
		case !grouped && single:
			c.KVHeads = 1
		case !grouped:
			c.KVHeads = c.Heads
		}
		c.arch.Names = maps.Clone(c.arch.Names)
		if c.Parallel {
			c.arch.Names["ffn_norm"] = ""
		}
		if parallel && norms == 2 {
			if !grouped {
				return fmt.Errorf("%s: num_ln_in_parallel_attn is 2; falcon models without new_decoder_architecture are supported only with 1", f.source)
			}
			c.arch.Names["attn_norm"] = "transformer.h.%d.ln_attn"
			c.arch.Names["ffn_norm"] = "transformer.h.%d.ln_mlp"
		}
		if f.flag("alibi", false) {
			c.KeyBias = newKeyBias(c.Heads)
			c.KeyBias.Rounded = true
			// The eager attention of transformers 5 adds the bias to the scores and once more with
			// the mask; that of sdpa, which hands over no weights, adds it once.
			c.KeyBias.Scale = 2 * c.Scale
			c.Rope = Rope{Kind: noRotation}
		}
		return nil
	},
}
