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

// gemma3 normalises heads' queries and keys too, has no caps, slides on five
// layers of six, and rotates those with a base of their own.
var gemma3 = Architecture{Name: "gemma3_text", About: "Gemma 3 (text)", PostNorms: true, QKNorm: true,
	Adjust: func(c *Config, f *fields) error {
		c.Scale = float32(1 / math.Sqrt(f.number("query_pre_attn_scalar", 256)))
		c.SoftCap = float32(f.number("attn_logit_softcapping", 0))
		c.LogitCap = float32(f.number("final_logit_softcapping", 0))
		c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
		c.NormOffset = 1
		c.TiedHead = f.flag("tie_word_embeddings", true)
		c.Activation = activation(f.text("hidden_activation", "gelu_pytorch_tanh"))
		every := f.count("sliding_window_pattern", 6, 1)
		c.slidingWindow(f, func(l int) bool { return (l+1)%every != 0 })
		local := Rope{Kind: "default", Factor: 1, Theta: f.number("rope_local_base_freq", 10000), Dim: c.HeadDim}
		local.InvFreq = plainFreq(local.Theta, local.Dim)
		c.LocalRope = &local
		if _, given := f.get("rope_theta"); !given {
			return c.nestedRopes(f)
		}
		return nil
	}}

// nestedRopes reads rope_parameters that are given by kind of layer, as newer
// configurations have them.
func (c *Config) nestedRopes(f *fields) error {
	p := f.object("rope_parameters")
	if p == nil {
		c.Rope.Theta = 1e6
		c.Rope.InvFreq = plainFreq(c.Rope.Theta, c.Rope.Dim)
		return nil
	}
	for kind, r := range map[string]*Rope{"full_attention": &c.Rope, "sliding_attention": c.LocalRope} {
		o := p.object(kind)
		if o == nil {
			continue
		}
		*r = Rope{Kind: o.text("rope_type", "default"), Factor: 1, Theta: o.number("rope_theta", r.Theta), Dim: c.HeadDim}
		r.InvFreq = plainFreq(r.Theta, r.Dim)
		r.adjust(c, f, o)
		if o.err != nil && f.err == nil {
			f.err = o.err
		}
	}
	return nil
}
