package model

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// gemma4 has full layers with larger heads than its sliding layers, and a separate input
// for each layer. It may have caches that later layers share, values that are the keys,
// and a mixture of experts in parallel to the feed-forward.
var gemma4 = Architecture{
	Name: "gemma4_text", OffCard: "layers of different shapes", GGUF: "gemma4", About: "Gemma 4 (text)", PostNorms: true, QKNorm: true, LocalTheta: 1e4,
	Ignored: anyValue("hidden_act").and(keyTable{"use_bidirectional_attention": {"vision"}}), // of images
	Defaults: map[string]any{
		"vocab_size": 262144, "hidden_size": 2304, "intermediate_size": 9216, "num_hidden_layers": 30, "num_attention_heads": 8,
		"num_key_value_heads": 4, "head_dim": 256, "max_position_embeddings": 131072, "bos_token_id": 2, "eos_token_id": 1, "sliding_window": 512,
		"vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256, "hidden_activation": "gelu_pytorch_tanh",
		"rope_parameters": map[string]any{
			slidingLayer: map[string]any{"rope_type": "default", "rope_theta": 1e4},
			fullLayer:    map[string]any{"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
		},
	},
	Keys: map[string]string{"num_experts_per_tok": "top_k_experts"},
	Names: joinNames(ownNames, map[string]string{
		"layer_scale":      "model.layers.%d.layer_scalar",
		"router":           "model.layers.%d.router.proj",
		"router_scale":     "model.layers.%d.router.scale",
		"expert_scale":     "model.layers.%d.router.per_expert_scale",
		"experts_gate_up":  "model.layers.%d.experts.gate_up_proj",
		"experts_down":     "model.layers.%d.experts.down_proj",
		"experts_norm":     "model.layers.%d.pre_feedforward_layernorm_2",
		"experts_out_norm": "model.layers.%d.post_feedforward_layernorm_2",
		"dense_out_norm":   "model.layers.%d.post_feedforward_layernorm_1",
	}),
	GGUFTensors: joinNames(ownGGUF, map[string]string{
		"layer_scale":      "blk.%d.layer_output_scale",
		"router_scale":     "blk.%d.ffn_gate_inp.scale",
		"expert_scale":     "blk.%d.ffn_down_exps.scale",
		"experts_norm":     "blk.%d.pre_ffw_norm_2",
		"experts_out_norm": "blk.%d.post_ffw_norm_2",
		"dense_out_norm":   "blk.%d.post_ffw_norm_1",
	}),
	Inspect: func(c *Config, rows func(name string) int) {
		c.LayerVocab = rows("per_layer_token_embd.weight")
		c.LayerScale = rows("blk.0.layer_output_scale.weight") > 0
		c.KeyValues = make([]bool, c.Layers)
		for l := range c.KeyValues {
			c.KeyValues[l] = rows(fmt.Sprintf("blk.%d.attn_k.weight", l)) > 0 && rows(fmt.Sprintf("blk.%d.attn_v.weight", l)) == 0
		}
	},
	Adjust: func(c *Config, f *fields) error {
		c.gemma4Scales(f)
		c.slidingWindow(f, func(l int) bool { return (l+1)%6 != 0 })
		c.readBesideDense(f)
		if f.gguf() {
			return nil
		}
		c.LayerWindows[c.Layers-1] = 0 // even if layer_types says otherwise
		c.LayerVocab = f.count("vocab_size_per_layer_input", c.Vocab, 0)
		c.LayerScale = true
		if f.flag("use_double_wide_mlp", false) {
			c.Intermediates = slices.Repeat([]int{c.Intermediate}, c.Layers)
			for l := max(0, c.Layers-f.count("num_kv_shared_layers", 0, 0)); l < c.Layers; l++ {
				c.Intermediates[l] *= 2
			}
		}
		return nil
	},
	Vary: func(c *Config, f *fields) error {
		if f.gguf() {
			c.ggufGemma4Heads(f)
		} else {
			c.readGemma4Heads(f)
		}
		c.shareCaches(f, f.count("num_kv_shared_layers", 0, 0))
		return nil
	},
}

// gemma4unified is gemma4 without separate inputs of the layers and without experts.
var gemma4unified = func() Architecture {
	a := gemma4
	a.Name = "gemma4_unified_text"
	a.GGUF = ""
	a.SharedGGUF = gemma4.GGUF
	a.About = "Gemma 4 unified (text)"
	a.Defaults = maps.Clone(gemma4.Defaults)
	a.Defaults["hidden_size_per_layer_input"] = 0
	a.Defaults["sliding_window"] = 1024
	a.Defaults["max_position_embeddings"] = 262144
	return a
}()

// readBesideDense reads the sizes of the mixture.
func (c *Config) readBesideDense(f *fields) {
	experts := f.count("num_experts", 0, 0)
	top := f.count("num_experts_per_tok", 0, 0)
	size := f.count("moe_intermediate_size", 0, 0)
	if !f.flag("enable_moe_block", f.gguf() && experts > 0) {
		return
	}
	c.Experts = experts
	c.TopExperts = top
	c.ExpertSize = size
	c.NormExperts = true
	c.BesideDense = true
	switch {
	case f.err != nil:
	case experts < 1 || size < 1:
		f.bad("num_experts", experts, "1 or more, and moe_intermediate_size too, because enable_moe_block is true")
	case top < 1 || top > experts:
		f.bad("num_experts_per_tok", top, fmt.Sprintf("1 to %d, the number of experts", experts))
	}
}

// readGemma4Heads reads the sizes of the heads of full layers, which differ from those of
// sliding ones, and the rotation of the full layers.
func (c *Config) readGemma4Heads(f *fields) {
	sameValues := f.flag("attention_k_eq_v", false)
	c.KeyValues = make([]bool, c.Layers)
	over := f.object("per_layer_config")
	headDim := f.count("global_head_dim", 512, 2)
	kvHeads := f.count("num_global_key_value_heads", c.KVHeads, 1)
	for l := range c.Shapes {
		s := &c.Shapes[l]
		full := s.Window == 0
		c.KeyValues[l] = sameValues && full
		switch {
		case over != nil:
			over.layerSizes(l, s)
		case full:
			s.KeyDim = headDim
			if sameValues {
				s.KVHeads = kvHeads
			}
		}
		s.ValueDim = s.KeyDim
	}
	if over != nil {
		f.take(over)
	}
	if f.err == nil {
		c.rotateByKind(f)
	}
}

// ggufGemma4Heads reads the sizes of the heads from a GGUF file, where key_length is the
// length in full layers. The rotation of these layers has factors, which ropeTensors has
// applied.
func (c *Config) ggufGemma4Heads(f *fields) {
	sliding := *c
	sliding.HeadDim = f.count("attention.key_length_swa", c.HeadDim, 2)
	for _, name := range []string{"attention.value_length_swa", "rope.dimension_count_swa"} {
		if n := f.count(name, sliding.HeadDim, 2); n != sliding.HeadDim {
			f.bad(name, n, fmt.Sprintf("%d, the size of a key", sliding.HeadDim))
			return
		}
	}
	c.LocalRope = plainRope(&sliding, f.number("rope_local_base_freq", c.arch.LocalTheta))
	c.Rope.Kind = "proportional"
	kvHeads := f.perLayer("num_key_value_heads")
	for l := range c.Shapes {
		s := &c.Shapes[l]
		if s.Window > 0 {
			s.KeyDim = sliding.HeadDim
			s.ValueDim = sliding.HeadDim
			s.Rope = c.LocalRope
		}
		if l < len(kvHeads) {
			s.KVHeads = kvHeads[l]
		}
	}
}

// rotateByKind gives sliding layers and full layers rotations of the size of their heads.
func (c *Config) rotateByKind(f *fields) {
	var full, sliding *Rope
	for l := range c.Shapes {
		s := &c.Shapes[l]
		kind := &full
		if s.Window > 0 {
			kind = &sliding
		}
		if *kind == nil {
			sized := *c
			sized.HeadDim = s.KeyDim
			first, second := readRopes(&sized, f)
			if *kind = &first; s.Window > 0 {
				*kind = second
			}
		}
		if f.err == nil && (*kind).Dim != s.KeyDim {
			f.bad("per_layer_config", fmt.Sprintf("%d channels per head in layer %d", s.KeyDim, l),
				fmt.Sprintf("%d, as in an earlier layer of its kind", (*kind).Dim))
		}
		s.Rope = *kind
	}
	if full != nil {
		c.Rope = *full
	}
	c.LocalRope = sliding
}

// layerSizes reads what per_layer_config says about a layer.
func (f *fields) layerSizes(l int, s *LayerShape) {
	one := f.object(strconv.Itoa(l))
	if one == nil {
		return
	}
	one.asked = map[string]bool{}
	s.KeyDim = one.count("head_dim", s.KeyDim, 2)
	s.KVHeads = one.count("num_key_value_heads", s.KVHeads, 1)
	for _, key := range slices.Sorted(maps.Keys(one.values)) {
		if !one.asked[key] {
			one.bad(key, jsonText(one.values[key]), "only head_dim and num_key_value_heads")
		}
	}
	f.take(one)
}

// besideDense holds the weights of a mixture that is added to the feed-forward of the
// same layer (Gemma 4).
type besideDense struct {
	routerScale []float32 // of the router's input
	expertScale []float32 // of the experts' outputs, by expert
	norm        []float32 // of the experts' input
	expertsNorm []float32 // of the mixture's output
	denseNorm   []float32 // of the feed-forward's output
}

// besideDense reads the weights of a layer's mixture that other families do not have.
func (l *loader) besideDense(at int) (*besideDense, error) {
	c := l.c
	var w besideDense
	for _, v := range []struct {
		dst    *[]float32
		role   string
		suffix string
		n      int
	}{
		{&w.routerScale, "router_scale", "", c.Hidden},
		{&w.expertScale, "expert_scale", "", c.Experts},
		{&w.norm, "experts_norm", ".weight", c.Hidden},
		{&w.expertsNorm, "experts_out_norm", ".weight", c.Hidden},
		{&w.denseNorm, "dense_out_norm", ".weight", c.Hidden},
	} {
		var err error
		if *v.dst, err = l.vector(v.role, at, v.suffix, v.n, 0); err != nil {
			return nil, err
		}
	}
	return &w, nil
}

// addMixture normalizes the outputs y of the feed-forward, and adds those of the mixture
// of the states x.
func (s *cpuSequence) addMixture(w *layer, x, y []float32, n int) {
	c := s.config
	d := c.Hidden
	in := grow(&s.buf.beside, 2*n*d)
	out := in[n*d:]
	in = in[:n*d]
	toHidden := float32(1 / math.Sqrt(float64(d)))
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := in[i*d : (i+1)*d]
		copy(row, x[i*d:(i+1)*d])
		bareNorm(row, d, c.NormEps)
		for j, scale := range w.beside.routerScale {
			row[j] = row[j] * scale * toHidden
		}
	})
	logits := s.routing(w, in, n)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		cpu.RMSNorm(in[i*d:(i+1)*d], x[i*d:(i+1)*d], w.beside.norm, c.NormEps)
	})
	s.experts(w, out, in, logits, n)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		dense, mixed := y[i*d:(i+1)*d], out[i*d:(i+1)*d]
		cpu.RMSNorm(dense, dense, w.beside.denseNorm, c.NormEps)
		cpu.RMSNorm(mixed, mixed, w.beside.expertsNorm, c.NormEps)
		simd.AddScaled(dense, mixed, 1)
	})
}
