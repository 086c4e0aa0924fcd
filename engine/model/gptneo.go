package model

import (
	"encoding/json"
	"maps"
)

// gptneo has embeddings of positions, a sliding window in some of its layers, and scores
// that are not scaled.
var gptneo = Architecture{
	Name: "gpt_neo", About: "GPT-Neo",
	Defaults: map[string]any{
		"vocab_size": 50257, "hidden_size": 2048, "num_hidden_layers": 24, "num_attention_heads": 16, "max_position_embeddings": 2048,
		"bos_token_id": 50256, "eos_token_id": 50256, "hidden_act": "gelu_new", "rms_norm_eps": 1e-5, "window_size": 256,
		"attention_types": []any{[]any{[]any{"global", "local"}, json.Number("12")}},
	},
	Keys: map[string]string{
		"num_hidden_layers": "num_layers", "num_attention_heads": "num_heads", "hidden_act": "activation_function", "rms_norm_eps": "layer_norm_epsilon",
	},
	Aliases: map[string]string{"num_hidden_layers": "num_hidden_layers", "num_attention_heads": "num_attention_heads"},
	Ignored: gpt2.Ignored.and(anyValue("attention_layers", "embed_dropout", "resid_dropout")), // attention_layers follows from attention_types
	Names:   gptneoNames(),
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.Learned = true
		c.Scale = 1
		c.KVHeads = c.Heads
		c.Rope = Rope{Kind: noRotation}
		window := f.count("window_size", 256, 1)
		kinds := f.layerKinds("attention_types")
		if f.err == nil && len(kinds) != c.Layers {
			f.bad("attention_types", len(kinds), "one for each layer")
		}
		for l, kind := range kinds {
			switch {
			case f.err != nil:
			case kind == "local":
				c.LayerWindows[l] = window
			case kind != "global":
				f.bad("attention_types", kind, "global or local")
			}
		}
		return nil
	},
}

func gptneoNames() map[string]string {
	names := maps.Clone(gpt2.Names)
	maps.Copy(names, map[string]string{
		"q": "transformer.h.%d.attn.attention.q_proj", "k": "transformer.h.%d.attn.attention.k_proj", "v": "transformer.h.%d.attn.attention.v_proj",
		"o": "transformer.h.%d.attn.attention.out_proj",
	})
	return names
}

// layerKinds reads a list of pairs: kinds of layers, and how often they are repeated. At
// most maxLayers are returned.
func (f *fields) layerKinds(name string) []string {
	v, _ := f.get(name)
	list, _ := v.([]any)
	var kinds []string
	for _, item := range list {
		pair, _ := item.([]any)
		if len(pair) != 2 {
			f.bad(name, jsonText(v), "pairs of kinds and a number")
			return nil
		}
		some, _ := pair[0].([]any)
		one := fields{source: f.source, values: map[string]any{name: pair[1]}}
		n := one.count(name, 0, 0)
		f.take(&one)
		for range min(n, maxLayers) {
			for _, kind := range some {
				text, _ := kind.(string)
				kinds = append(kinds, text)
			}
			if len(kinds) > maxLayers {
				return kinds
			}
		}
	}
	return kinds
}
