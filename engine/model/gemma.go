package model

import "math"

var gemmaDefaults = map[string]any{
	"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576, "num_hidden_layers": 28, "num_attention_heads": 16,
	"num_key_value_heads": 16, "head_dim": 256, "max_position_embeddings": 8192, "bos_token_id": 2, "eos_token_id": 1, "hidden_act": "gelu_pytorch_tanh",
}

// gemma scales its embeddings and adds 1 to the weights of its norms.
var gemma = Architecture{
	Name: "gemma", GGUF: "gemma", About: "Gemma 1", Defaults: gemmaDefaults,
	Ignored: anyValue("hidden_activation"),
	Adjust: func(c *Config, f *fields) error {
		if c.Activation == "gelu" { // of the first files, which meant the other one
			c.Activation = "gelu_tanh"
		}
		c.gemmaScales(f)
		return nil
	},
}

// gemmaScales sets the fields that all generations share. In GGUF files the 1 is
// already added to the norms, and the activation is missing.
func (c *Config) gemmaScales(f *fields) {
	c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
	c.NormOffset = 1
	if f.gguf() {
		c.NormOffset = 0
		c.Activation = "gelu_tanh"
	}
}

// gemmaScore sets the scale of the scores. GGUF files do not contain it. It is
// 1/√headDim except in the largest model of a generation, which is recognized by its
// number of layers.
func (c *Config) gemmaScore(f *fields, largest int) {
	if !f.gguf() {
		c.Scale = float32(1 / math.Sqrt(f.number("query_pre_attn_scalar", 256)))
		c.Activation = activation(f.text("hidden_activation", "gelu_pytorch_tanh"))
	} else if c.Layers == largest {
		c.Scale = float32(1 / math.Sqrt(float64(c.Hidden/c.Heads)))
	}
}

// gemma2 normalizes the inputs and outputs of blocks, caps scores and logits, and has a
// sliding window on every other layer.
var gemma2 = Architecture{
	Ignored: anyValue("hidden_act"),
	Name:    "gemma2", GGUF: "gemma2", About: "Gemma 2", PostNorms: true,
	Defaults: map[string]any{
		"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 8192, "bos_token_id": 2, "eos_token_id": 1, "sliding_window": 4096,
		"query_pre_attn_scalar": 256, "attn_logit_softcapping": 50, "final_logit_softcapping": 30,
	},
	Adjust: func(c *Config, f *fields) error {
		c.gemmaScales(f)
		c.gemmaScore(f, 46)
		off := 0.0
		if f.gguf() {
			off = 1
		}
		c.SoftCap = float32(f.number("attn_logit_softcapping", 50*off))
		c.LogitCap = float32(f.number("final_logit_softcapping", 30*off))
		c.slidingWindow(f, f.everyNth(2))
		return nil
	},
}

// gemma3 normalizes queries and keys too and has no caps. Five of six layers have a
// sliding window and their own rotation.
var gemma3 = Architecture{
	Ignored: anyValue("hidden_act", "attn_logit_softcapping", "_sliding_window_pattern", "sliding_window_pattern"),
	Name:    "gemma3_text", GGUF: "gemma3", About: "Gemma 3 (text; the decoder of multimodal models)", PostNorms: true, QKNorm: true,
	LocalTheta: 1e4, LocalBase: "rope_local_base_freq",
	Defaults: map[string]any{
		"vocab_size": 262208, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 26, "num_attention_heads": 8,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072, "bos_token_id": 2, "eos_token_id": 1, "sliding_window": 4096,
		"query_pre_attn_scalar": 256, "rope_theta": 1e6,
	},
	Adjust: func(c *Config, f *fields) error {
		c.gemmaScales(f)
		c.gemmaScore(f, 62) // attn_logit_softcapping is not read by the reference either
		c.LogitCap = float32(f.number("final_logit_softcapping", 0))
		c.slidingWindow(f, f.everyNth(6))
		if f.gguf() {
			c.LocalRope = plainRope(c, f.number("rope_local_base_freq", c.arch.LocalTheta))
		}
		return nil
	},
}
