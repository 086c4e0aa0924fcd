package model

import "math"

// gemma2 scales its embeddings, normalises before and after, caps scores and
// logits, and slides on every other layer.
var gemma2 = Architecture{Name: "gemma2", GGUF: "", About: "Gemma 2", PostNorms: true,
	Adjust: func(c *Config, f *fields) error {
		c.Scale = float32(1 / math.Sqrt(f.number("query_pre_attn_scalar", 256)))
		c.SoftCap = float32(f.number("attn_logit_softcapping", 50))
		c.LogitCap = float32(f.number("final_logit_softcapping", 30))
		c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
		c.NormOffset = 1
		c.TiedHead = f.flag("tie_word_embeddings", true)
		c.Activation = activation(f.text("hidden_activation", "gelu_pytorch_tanh"))
		c.slidingWindow(f, func(l int) bool { return l%2 == 0 })
		return nil
	}}
