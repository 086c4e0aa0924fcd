package model

import "slices"

// falconh1 has both attention and the recurrence of Mamba-2 in every layer. Both read the
// same hidden state, and both outputs are added to it. Constants multiply the inputs and
// outputs of most products; in GGUF files, they are already multiplied into the weights.
var falconh1 = Architecture{
	Name: "falcon_h1", OffCard: "attention and a recurrence in the same layer", GGUF: "falcon-h1", About: "Falcon-H1", Mixer: (*loader).mamba,
	Defaults: joinDefaults(mambaDefaults, map[string]any{
		"vocab_size": 128000, "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 8, "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
		"mamba_d_ssm": 1024,
	}),
	Ignored:     mambaIgnored.and(anyValue("attn_layer_indices", "mamba_norm_before_gate", "mamba_expand")),
	Names:       joinNames(mambaNames, feedForwardNames),
	GGUFTensors: mambaGGUF,
	Inspect: func(c *Config, rows func(name string) int) {
		c.Mamba = &MambaShape{Normed: rows("blk.0.ssm_norm.weight") > 0}
	},
	Adjust: func(c *Config, f *fields) error {
		if f.gguf() {
			normed := c.Mamba.Normed
			c.Mamba = c.readMamba(f, f.count("mamba_inner", 0, 1))
			c.Mamba.Normed = normed
			return nil
		}
		c.Mamba = c.readMamba(f, f.count("mamba_d_ssm", f.count("mamba_expand", 2, 1)*c.Hidden, 1))
		c.Mamba.limitSteps(f)
		c.Mamba.Normed = f.flag("mamba_rms_norm", false)
		c.Mamba.NormFirst = c.Mamba.Normed && f.flag("mamba_norm_before_gate", true)
		c.readMultipliers(f)
		return f.err
	},
	Vary: func(c *Config, _ *fields) error {
		c.Mixers = slices.Repeat([]MixerSize{c.Mamba.size(c.Hidden)}, c.Layers)
		return nil
	},
}

// Factors are constants that multiply what layers compute.
type Factors struct {
	AttentionIn  float32 // of attention's input
	Key          float32 // of keys before the rotation
	AttentionOut float32 // of attention's output
	MixerOut     float32
	Gate, Down   float32 // of the feed-forward's gate before the activation, and of its output
}

// readMultipliers reads the constants of Falcon-H1.
func (c *Config) readMultipliers(f *fields) {
	one := func(name string) float32 { return float32(f.number(name, 1)) }
	c.EmbedScale = one("embedding_multiplier")
	c.LogitScale = 1 / one("lm_head_multiplier")
	feed := f.numbers("mlp_multipliers", 2, 1, 1)
	c.Factors = &Factors{
		AttentionIn:  one("attention_in_multiplier"),
		Key:          one("key_multiplier"),
		AttentionOut: one("attention_out_multiplier"),
		MixerOut:     one("ssm_out_multiplier"),
		Gate:         float32(feed[0]),
		Down:         float32(feed[1]),
	}
	c.Mamba.InScale = one("ssm_in_multiplier")
	for _, v := range f.numbers("ssm_multipliers", 5, 1, 1, 1, 1, 1) {
		c.Mamba.Parts = append(c.Mamba.Parts, float32(v))
	}
}
