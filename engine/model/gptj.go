package model

import (
	"maps"

	"github.com/attnscope/attnscope/engine/cpu"
)

// gptj has one norm for attention and feed-forward, whose outputs are added together, and
// rotates pairs of adjacent channels in a part of each head.
var gptj = Architecture{
	Name: "gptj", About: "GPT-J", Pairing: cpu.Adjacent, RotaryDim: true,
	Defaults: map[string]any{
		"vocab_size": 50400, "hidden_size": 4096, "num_hidden_layers": 28, "num_attention_heads": 16, "max_position_embeddings": 2048,
		"bos_token_id": 50256, "eos_token_id": 50256, "hidden_act": "gelu_new", "rms_norm_eps": 1e-5, "rotary_dim": 64,
	},
	Keys: gpt2.Keys, Aliases: gpt2.Aliases, Names: gptjNames(),
	Ignored: gpt2.Ignored.and(anyValue("rotary", "tokenizer_class", "rope_parameters", "rope_scaling")),
	Adjust: func(c *Config, f *fields) error {
		c.layerNorm(f, 1e-5)
		c.Plain = true
		c.KVHeads = c.Heads
		c.Parallel = true
		dim := f.count("rotary_dim", 0, 2)
		c.Rope = Rope{Kind: "default", Theta: 1e4, Dim: dim, Pairing: c.pairing(), Factor: 1, InvFreq: plainFreq(1e4, dim)} // as in transformers
		return nil
	},
}

func gptjNames() map[string]string {
	names := maps.Clone(gpt2.Names)
	maps.Copy(names, map[string]string{
		"ffn_norm": "", "q": "transformer.h.%d.attn.q_proj", "k": "transformer.h.%d.attn.k_proj", "v": "transformer.h.%d.attn.v_proj",
		"o": "transformer.h.%d.attn.out_proj", "up": "transformer.h.%d.mlp.fc_in", "down": "transformer.h.%d.mlp.fc_out",
	})
	return names
}
