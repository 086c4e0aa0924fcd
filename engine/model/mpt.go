package model

// mpt has biases of the positions instead of a rotation, and norms without biases.
var mpt = Architecture{
	Name: "mpt", OffCard: "biases of positions (ALiBi)", GGUF: "mpt", About: "MPT", Fused: true,
	Defaults: map[string]any{
		"vocab_size": 50368, "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "max_position_embeddings": 2048, "rms_norm_eps": 1e-5,
	},
	Keys: map[string]string{
		"hidden_size": "d_model", "num_hidden_layers": "n_layers", "num_attention_heads": "n_heads", "max_position_embeddings": "max_seq_len",
		"rms_norm_eps": "layer_norm_epsilon",
	},
	Aliases: map[string]string{"hidden_size": "hidden_size", "num_hidden_layers": "num_hidden_layers", "num_attention_heads": "num_attention_heads"},
	// expansion_ratio is 4 whatever it says, and norm_type says how precise the norms are.
	Ignored: anyValue(
		"emb_pdrop", "embedding_fraction", "expansion_ratio", "init_config", "init_device", "learned_pos_emb", "norm_type", "tokenizer_name", "verbose",
	).and(keyTable{"no_bias": {true}}),
	Names: map[string]string{
		"embed": "transformer.wte", "norm": "transformer.norm_f", "attn_norm": "transformer.blocks.%d.norm_1", "ffn_norm": "transformer.blocks.%d.norm_2",
		"qkv": "transformer.blocks.%d.attn.Wqkv", "o": "transformer.blocks.%d.attn.out_proj",
		"up": "transformer.blocks.%d.ffn.up_proj", "down": "transformer.blocks.%d.ffn.down_proj",
	},
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.KVHeads = c.Heads
		c.Activation = "gelu"
		c.KeyBias = newKeyBias(c.Heads)
		c.Rope = Rope{Kind: noRotation}
		if f.gguf() {
			c.ClipQKV = float32(f.number("clip_qkv", 0))
			if most := f.number("attention.max_alibi_bias", 8); most != 8 {
				f.bad("attention.max_alibi_bias", most, "8")
			}
			return nil
		}
		p := f.object("attn_config")
		if p == nil {
			return nil
		}
		p.asked = map[string]bool{}
		p.within = "attn_config."
		p.source = f.source
		p.family = f.family
		c.ClipQKV = float32(p.number("clip_qkv", 0))
		c.Scale = float32(p.number("softmax_scale", float64(c.Scale)))
		f.take(p)
		return p.checkKeys(mptAttention, hubIgnored)
	},
}

// mptAttention lists the keys of attn_config that may be left unread.
var mptAttention = anyValue("attn_impl", "attn_uses_sequence_id", "output_attentions", "output_hidden_states").and(keyTable{
	"alibi": {true}, "alibi_bias_max": {8.0}, "attn_type": {"multihead_attention"}, "prefix_lm": {false}, "qk_ln": {false},
})
