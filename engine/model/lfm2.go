package model

import (
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// convLayer is the name of layers with a short convolution in layer_types.
const convLayer = "conv"

// lfm2 has attention in a few layers. The other layers have a short convolution between
// two gates.
var lfm2 = Architecture{
	Name: "lfm2", OffCard: "layers without attention", GGUF: "lfm2", About: "LFM2", QKNorm: true, LayerTypes: map[string]LayerKind{convLayer: Linear}, Mixer: (*loader).shortConv,
	Defaults: map[string]any{
		"vocab_size": 65536, "hidden_size": 2560, "intermediate_size": 12288, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 8, "max_position_embeddings": 128000, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": 2,
		"conv_L_cache": 3, "block_multiple_of": 256, "block_ffn_dim_multiplier": 1.0, "block_auto_adjust_ff_dim": true,
	},
	Keys:        map[string]string{"rms_norm_eps": "norm_eps"},
	Aliases:     map[string]string{"intermediate_size": "block_ff_dim", "tie_word_embeddings": "tie_embedding"},
	Ignored:     lfm2Ignored,
	Names:       lfm2Names,
	GGUFTensors: lfm2GGUF,
	Adjust: func(c *Config, f *fields) error {
		if !f.gguf() && f.flag("block_auto_adjust_ff_dim", true) {
			c.adjustIntermediate(f)
		}
		return c.readShortConv(f)
	},
	Vary: (*Config).varyShortConv,
}

// lfm2moe is lfm2 with a mixture of experts after the first layers.
var lfm2moe = Architecture{
	Name: "lfm2_moe", OffCard: "layers without attention", GGUF: "lfm2moe", About: "LFM2 (mixture of experts)", QKNorm: true,
	LayerTypes: map[string]LayerKind{convLayer: Linear}, Mixer: (*loader).shortConv,
	Defaults: map[string]any{
		"vocab_size": 65536, "hidden_size": 2048, "intermediate_size": 7168, "num_hidden_layers": 32, "num_attention_heads": 32,
		"num_key_value_heads": 8, "max_position_embeddings": 128000, "rms_norm_eps": 1e-5, "rope_theta": 1e6, "bos_token_id": 1, "eos_token_id": 2,
		"conv_L_cache": 3, "moe_intermediate_size": 1792, "num_dense_layers": 2, "num_experts": 32, "num_experts_per_tok": 4,
		"use_expert_bias": true, "routed_scaling_factor": 1.0, "norm_topk_prob": true,
	},
	Keys:        map[string]string{"rms_norm_eps": "norm_eps"},
	Aliases:     map[string]string{"tie_word_embeddings": "tie_embedding"},
	Ignored:     lfm2Ignored,
	Names:       joinNames(lfm2Names, lfm2Experts),
	GGUFTensors: lfm2GGUF,
	Adjust: func(c *Config, f *fields) error {
		c.readExperts(f, "num_experts")
		c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
		c.NormExperts = f.flag("norm_topk_prob", true)
		c.Router = Router{
			Sigmoid: true, Biased: f.flag("use_expert_bias", true), Scale: f.positive("routed_scaling_factor", 1), NormFloor: 1e-6,
		}
		c.checkGating(f)
		c.denseFirst(f.count("num_dense_layers", 0, 0))
		return c.readShortConv(f)
	},
	Vary: (*Config).varyShortConv,
}

var (
	lfm2Names = map[string]string{
		"norm":      "model.embedding_norm",
		"attn_norm": "model.layers.%d.operator_norm",
		"ffn_norm":  "model.layers.%d.ffn_norm",
		"o":         "model.layers.%d.self_attn.out_proj",
		"q_norm":    "model.layers.%d.self_attn.q_layernorm",
		"k_norm":    "model.layers.%d.self_attn.k_layernorm",
		"gate":      "model.layers.%d.feed_forward.w1",
		"up":        "model.layers.%d.feed_forward.w3",
		"down":      "model.layers.%d.feed_forward.w2",
		"conv_in":   "model.layers.%d.conv.in_proj",
		"conv":      "model.layers.%d.conv.conv",
		"conv_out":  "model.layers.%d.conv.out_proj",
	}
	lfm2Experts = map[string]string{
		"router":          "model.layers.%d.feed_forward.gate",
		"router_bias":     "model.layers.%d.feed_forward.expert_bias",
		"expert_gate":     "model.layers.%d.feed_forward.experts.%d.w1",
		"expert_up":       "model.layers.%d.feed_forward.experts.%d.w3",
		"expert_down":     "model.layers.%d.feed_forward.experts.%d.w2",
		"experts_gate_up": "model.layers.%d.feed_forward.experts.gate_up_proj",
		"experts_down":    "model.layers.%d.feed_forward.experts.down_proj",
	}
	lfm2GGUF = map[string]string{
		"norm":     "token_embd_norm",
		"conv_in":  "blk.%d.shortconv.in_proj",
		"conv":     "blk.%d.shortconv.conv",
		"conv_out": "blk.%d.shortconv.out_proj",
	}
)

// lfm2Ignored lists keys of earlier programs that transformers does not read.
var lfm2Ignored = anyValue(
	"block_dim", "block_mlp_init_scale", "block_norm_eps", "block_out_init_scale", "block_use_swiglu", "block_use_xavier_init",
	"conv_dim", "conv_dim_out", "conv_use_xavier_init", "num_heads", "theta", "use_pos_enc",
	"block_multiple_of", "block_ffn_dim_multiplier", "full_attn_idxs",
)

// adjustIntermediate makes the channels of the feed-forward two thirds of those that are
// stated, rounded up to a multiple.
func (c *Config) adjustIntermediate(f *fields) {
	n := 2 * c.Intermediate / 3
	if _, given := f.get("block_ffn_dim_multiplier"); given {
		n = int(f.positive("block_ffn_dim_multiplier", 1) * float64(n))
		of := f.count("block_multiple_of", 256, 1)
		n = (n + of - 1) / of * of
	}
	c.Intermediate = n
}

// A ShortConv describes layers with a convolution between two gates.
type ShortConv struct {
	Kernel int // positions that an output depends on
	Biased bool
}

// readShortConv reads the size of the convolutions.
func (c *Config) readShortConv(f *fields) error {
	c.Activation = "silu"
	c.Conv = &ShortConv{Kernel: f.count("conv_L_cache", 3, 1), Biased: f.flag("conv_bias", false)}
	for _, role := range []string{"conv_in", "conv", "conv_out"} {
		if c.biased != nil {
			c.biased[role] = c.Conv.Biased
		}
	}
	return nil
}

// varyShortConv says which layers have a convolution.
func (c *Config) varyShortConv(f *fields) error {
	heads := f.perLayer("num_key_value_heads")
	var attention []int32
	listed := !f.gguf()
	if listed {
		_, listed = f.get("full_attn_idxs")
		attention = f.ids("full_attn_idxs")
	}
	c.linearLayers(f, func(l int) bool {
		if l < len(heads) {
			return heads[l] == 0
		}
		return listed && !slices.Contains(attention, int32(l))
	}, MixerSize{State: (c.Conv.Kernel - 1) * c.Hidden, Weights: 4 * c.Hidden * c.Hidden, Width: 5 * c.Hidden})
	return nil
}

// shortConv is a layer with a convolution between two gates.
type shortConv struct {
	in, out         *cpu.Matrix // in computes the two gates and the input of the convolution
	inBias, outBias []float32
	conv            cpu.Conv
}

// shortConv reads a layer with a convolution.
func (l *loader) shortConv(at int) (mixer, error) {
	if l.c.Shapes[at].HasAttention() {
		return nil, nil
	}
	d := l.c.Hidden
	var s shortConv
	var err error
	if s.in, err = l.matrices(at, d, part{"conv_in", 3 * d}); err != nil {
		return nil, err
	}
	if s.inBias, err = l.bias("conv_in", at, 3*d); err != nil {
		return nil, err
	}
	if s.conv, err = l.conv("conv", at, d, l.c.Conv.Kernel); err != nil {
		return nil, err
	}
	if s.out, err = l.matrices(at, d, part{"conv_out", d}); err != nil {
		return nil, err
	}
	s.outBias, err = l.bias("conv_out", at, d)
	return &s, err
}

func (v *shortConv) matrices() []*cpu.Matrix { return []*cpu.Matrix{v.in, v.out} }

func (v *shortConv) mix(s *cpuSequence, m *mixing) {
	d := s.config.Hidden
	gates := cpu.Dense(grow(&s.buf.mixer, m.n*3*d), m.n, 3*d) // of the input, of the output, and the input
	y := cpu.Dense(grow(&s.buf.mixerConv, m.n*d), m.n, d)
	s.multiply(v.in, gates, cpu.Dense(m.in, m.n, d), false)
	s.rows(m.n, func(i int, _ *cpu.Scratch) {
		row := gates.Data[i*3*d : (i+1)*3*d]
		addBias(row, v.inBias, 1)
		for j, b := range row[:d] {
			row[2*d+j] *= b
		}
	})
	m.convolve(s, &v.conv, y, gates.Sub(0, 2*d, m.n, d))
	rows := m.n - m.from
	if rows == 0 {
		return
	}
	s.rows(rows, func(i int, _ *cpu.Scratch) {
		at := m.from + i
		for j, c := range gates.Data[at*3*d+d : at*3*d+2*d] {
			y.Data[at*d+j] *= c
		}
	})
	out := m.out[m.from*d : m.n*d]
	s.multiply(v.out, cpu.Dense(out, rows, d), y.Sub(m.from, 0, rows, d), false)
	addBias(out, v.outBias, rows)
}
