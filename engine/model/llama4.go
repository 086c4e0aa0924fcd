package model

import (
	"encoding/json"
	"fmt"

	"github.com/attnscope/attnscope/engine/cpu"
)

// llama4 has layers with a rotation, in which a query sees only its own chunk, and layers
// without, in which it sees all earlier positions and grows with its own position. The
// input of an expert is multiplied by the expert's weight.
var llama4 = Architecture{
	Name: "llama4_text", OffCard: "attention within chunks", GGUF: "llama4", About: "Llama 4 (text)", Pairing: cpu.Adjacent, GGUFPairing: cpu.Adjacent,
	LayerTypes: map[string]LayerKind{chunkedLayer: Attention},
	Defaults: map[string]any{
		"vocab_size": 202048, "hidden_size": 5120, "intermediate_size": 16384, "moe_intermediate_size": 8192, "num_hidden_layers": 48,
		"num_attention_heads": 40, "num_key_value_heads": 8, "head_dim": 128, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5,
		"bos_token_id": 1, "eos_token_id": 2, "rope_theta": 5e5, "num_local_experts": 16, "num_experts_per_tok": 1, "attention_chunk_size": 8192,
	},
	Ignored: anyValue("for_llm_compressor"),
	Keys:    map[string]string{"intermediate_size": "intermediate_size_mlp", "moe_intermediate_size": "intermediate_size"},
	Names: map[string]string{
		"gate": "model.layers.%d.feed_forward.gate_proj", "up": "model.layers.%d.feed_forward.up_proj", "down": "model.layers.%d.feed_forward.down_proj",
		"router":          "model.layers.%d.feed_forward.router",
		"experts_gate_up": "model.layers.%d.feed_forward.experts.gate_up_proj",
		"experts_down":    "model.layers.%d.feed_forward.experts.down_proj",
		"shared_gate":     "model.layers.%d.feed_forward.shared_expert.gate_proj",
		"shared_up":       "model.layers.%d.feed_forward.shared_expert.up_proj",
		"shared_down":     "model.layers.%d.feed_forward.shared_expert.down_proj",
	},
	CrossedExperts: true,
	Adjust: func(c *Config, f *fields) error {
		if f.gguf() {
			c.readLlama4GGUF(f)
		} else {
			c.readLlama4(f)
		}
		c.Router = Router{Sigmoid: true, ScaleInput: true}
		c.SharedSize = c.ExpertSize
		return nil
	},
	Vary: func(c *Config, f *fields) error {
		c.readChunks(f)
		return nil
	},
}

// readLlama4 reads the fields of a config.json.
func (c *Config) readLlama4(f *fields) {
	c.unrotated(f)
	c.BareQKNorm = f.flag("use_qk_norm", true)
	c.QueryGrowth = f.number("attn_scale", 0.1)
	c.QueryFrom = f.count("floor_scale", 8192, 1)
	c.QueryFromOne = true
	if v, _ := f.get("attn_temperature_tuning"); isZero(v) {
		c.QueryGrowth = 0
	} else if _, number := v.(json.Number); !number { // published files have 4
		f.flag("attn_temperature_tuning", true)
	}
	c.readExperts(f, "num_local_experts")
	c.ExpertSize = f.count("moe_intermediate_size", 0, 1)
	every := f.count("interleave_moe_layer_step", 1, 1)
	c.Sparse = make([]bool, c.Layers)
	v, given := f.get("moe_layers")
	if !given {
		for l := range c.Sparse {
			c.Sparse[l] = (l+1)%every == 0
		}
		return
	}
	list, _ := v.([]any)
	for _, x := range list {
		n, _ := x.(json.Number)
		l, err := n.Int64()
		if err != nil || l < 0 || int(l) >= c.Layers {
			f.bad("moe_layers", jsonText(v), fmt.Sprintf("layers from 0 to %d", c.Layers-1))
			return
		}
		c.Sparse[l] = true
	}
}

// isZero reports whether a value of a JSON file is false or 0.
func isZero(v any) bool { return sameValue(false, v) || sameValue(0.0, v) }

// readLlama4GGUF reads the fields of a GGUF file, which lacks those that all checkpoints
// share.
func (c *Config) readLlama4GGUF(f *fields) {
	c.NoRope = make([]bool, c.Layers)
	if f.count("sliding_window", 1, 0) > 0 {
		for l := range c.NoRope {
			c.NoRope[l] = (l+1)%4 == 0
		}
		c.QueryGrowth = 0.1
		c.QueryFrom = 8192
		c.QueryFromOne = true
	}
	c.readExperts(f, "num_experts")
	c.BareQKNorm = c.Experts != 128
	c.ExpertSize = f.count("moe_intermediate_size", 0, 1)
	every := f.count("interleave_moe_layer_step", 1, 1)
	c.Sparse = make([]bool, c.Layers)
	for l := range c.Sparse {
		c.Sparse[l] = (l+1)%every == 0
	}
}

// readChunks says which layers attend within chunks: those that layer_types names, or
// else those that are rotated.
func (c *Config) readChunks(f *fields) {
	size := 8192
	if !f.gguf() {
		size = f.count("attention_chunk_size", 0, 0)
	} else if f.count("sliding_window", 1, 0) == 0 {
		size = 0
	}
	types, given := f.values["layer_types"].([]any)
	for l := range c.Shapes {
		chunked := size > 0 && !c.NoRope[l]
		if given && l < len(types) {
			chunked = types[l] == chunkedLayer
		}
		if !chunked {
			continue
		}
		if size == 0 {
			f.bad("attention_chunk_size", size, "a number above 0, because layer_types names layers with chunks")
			return
		}
		c.Shapes[l].Chunk = size
	}
}
