package model

// opt has embeddings of positions, of which the first two are unused.
var opt = Architecture{
	Name: "opt", About: "OPT (without OPT-350M)",
	Defaults: map[string]any{
		"vocab_size": 50272, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
		"max_position_embeddings": 2048, "bos_token_id": 2, "eos_token_id": 2, "hidden_act": "relu",
	},
	Keys:    map[string]string{"intermediate_size": "ffn_dim", "hidden_act": "activation_function"},
	Ignored: anyValue("activation_dropout", "dropout", "init_std", "layerdrop"),
	Names: map[string]string{
		"embed": "model.decoder.embed_tokens", "positions": "model.decoder.embed_positions", "norm": "model.decoder.final_layer_norm",
		"attn_norm": "model.decoder.layers.%d.self_attn_layer_norm", "ffn_norm": "model.decoder.layers.%d.final_layer_norm",
		"q": "model.decoder.layers.%d.self_attn.q_proj", "k": "model.decoder.layers.%d.self_attn.k_proj", "v": "model.decoder.layers.%d.self_attn.v_proj",
		"o": "model.decoder.layers.%d.self_attn.out_proj", "up": "model.decoder.layers.%d.fc1", "down": "model.decoder.layers.%d.fc2",
	},
	Adjust: func(c *Config, f *fields) error {
		for _, x := range []struct {
			key  string
			want bool
		}{{"do_layer_norm_before", true}, {"_remove_final_layer_norm", false}} {
			if f.flag(x.key, x.want) != x.want {
				f.bad(x.key, !x.want, "the other value: models that normalize after the blocks, such as OPT-350M, are not supported")
			}
		}
		if width := f.count("word_embed_proj_dim", c.Hidden, 1); width != c.Hidden {
			f.bad("word_embed_proj_dim", width, "hidden_size: projections of the embeddings are not supported")
		}
		c.LayerNorm = true
		c.NormEps = 1e-5
		c.arch.BareNorms = !f.flag("layer_norm_elementwise_affine", true)
		c.Plain = true
		c.KVHeads = c.Heads
		c.Learned = true
		c.UnusedPlaces = 2
		c.Rope = Rope{Kind: noRotation}
		return nil
	},
}
