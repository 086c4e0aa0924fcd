package model

import (
	"fmt"
	"math"
)

// ownNames has the names of the tensors that make the separate input of each layer.
var ownNames = map[string]string{
	"own_embed":           "model.embed_tokens_per_layer",
	"own_projection":      "model.per_layer_model_projection",
	"own_projection_norm": "model.per_layer_projection_norm",
	"own_gate":            "model.layers.%d.per_layer_input_gate",
	"own_out":             "model.layers.%d.per_layer_projection",
	"own_norm":            "model.layers.%d.post_per_layer_input_norm",
}

// ownGGUF has the same names in GGUF files.
var ownGGUF = map[string]string{
	"own_embed":           "per_layer_token_embd",
	"own_projection":      "per_layer_model_proj",
	"own_projection_norm": "per_layer_proj_norm",
	"own_gate":            "blk.%d.inp_gate",
	"own_out":             "blk.%d.proj",
	"own_norm":            "blk.%d.post_norm",
}

// gemma3n has several states per token, a separate input for each layer, and caches that
// later layers share.
var gemma3n = Architecture{
	Name: "gemma3n_text", OffCard: "norms of values", GGUF: "gemma3n", About: "Gemma 3n (text)", PostNorms: true, QKNorm: true,
	LocalTheta: 1e4, LocalBase: "rope_local_base_freq",
	Ignored: anyValue("hidden_act", "query_pre_attn_scalar", "altup_coef_clip", "altup_lr_multiplier"), // the last two concern training
	Defaults: map[string]any{
		"vocab_size": 262400, "hidden_size": 2048, "intermediate_size": 16384, "num_hidden_layers": 35, "num_attention_heads": 8,
		"num_key_value_heads": 2, "head_dim": 256, "max_position_embeddings": 32768, "bos_token_id": 2, "eos_token_id": 1, "sliding_window": 512,
		"final_logit_softcapping": 30, "vocab_size_per_layer_input": 262144, "hidden_size_per_layer_input": 256, "altup_num_inputs": 4,
		"num_kv_shared_layers": 15, "laurel_rank": 64, "rope_theta": 1e6, "hidden_activation": "gelu_pytorch_tanh",
	},
	Names: joinNames(ownNames, map[string]string{
		"widen": "model.altup_projections.%d", "narrow": "model.altup_unembed_projections.%d",
		"altup_router": "model.layers.%d.altup.modality_router", "altup_norm": "model.layers.%d.altup.router_norm",
		"altup_predict": "model.layers.%d.altup.prediction_coefs", "altup_correct": "model.layers.%d.altup.correction_coefs",
		"altup_scale": "model.layers.%d.altup.correct_output_scale",
		"laurel_left": "model.layers.%d.laurel.linear_left", "laurel_right": "model.layers.%d.laurel.linear_right",
		"laurel_norm": "model.layers.%d.laurel.post_laurel_norm",
	}),
	GGUFTensors: joinNames(ownGGUF, map[string]string{
		"widen": "altup_proj", "narrow": "altup_unembd_proj",
		"altup_router": "blk.%d.altup_router", "altup_norm": "blk.%d.altup_router_norm",
		"altup_predict": "blk.%d.altup_predict_coef", "altup_correct": "blk.%d.altup_correct_coef", "altup_scale": "blk.%d.altup_correct_scale",
		"laurel_left": "blk.%d.laurel_l", "laurel_right": "blk.%d.laurel_r", "laurel_norm": "blk.%d.laurel_post_norm",
	}),
	Inspect: func(c *Config, rows func(name string) int) {
		c.LayerVocab = rows("per_layer_token_embd.weight")
		c.Laurel = rows("blk.0.laurel_l.weight")
	},
	Adjust: func(c *Config, f *fields) error {
		c.gemma4Scales(f)
		c.slidingWindow(f, f.everyNth(5))
		if f.gguf() {
			c.LocalRope = plainRope(c, f.number("rope_local_base_freq", c.arch.LocalTheta))
		} else {
			c.LayerVocab = f.count("vocab_size_per_layer_input", c.Vocab, 1)
			c.Laurel = f.count("laurel_rank", 64, 1)
		}
		c.Streams = f.count("altup_num_inputs", 4, 1)
		c.ActiveStream = f.count("altup_active_idx", 0, 0)
		c.StreamScale = f.flag("altup_correct_scale", true)
		if c.ActiveStream >= c.Streams {
			f.bad("altup_active_idx", c.ActiveStream, fmt.Sprintf("less than %d, the number of states", c.Streams))
		}
		c.readTrims(f)
		return nil
	},
	Vary: func(c *Config, f *fields) error {
		c.shareCaches(f, f.count("num_kv_shared_layers", max(0, c.Layers-20), 0))
		return nil
	},
}

// gemma4Scales sets what Gemma 3n and Gemma 4 have in common: scores without a factor,
// values that are normalized without weights, and a separate input for each layer.
func (c *Config) gemma4Scales(f *fields) {
	c.EmbedScale = float32(math.Sqrt(float64(c.Hidden)))
	c.Activation = "gelu_tanh"
	if !f.gguf() {
		c.Activation = activation(f.text("hidden_activation", "gelu_pytorch_tanh"))
	}
	c.LogitCap = float32(f.number("final_logit_softcapping", 0))
	c.ValueNorm = true
	c.LayerInput = f.count("hidden_size_per_layer_input", 256, 0)
	c.Scale = 1
}

// readTrims reads the part of the gates that each layer sets to 0. GGUF files state the
// bound that follows from it.
func (c *Config) readTrims(f *fields) {
	bound := func(part float64) float64 { return math.Erfinv(float64(2*float32(part)-1)) * math.Sqrt2 }
	name, want := "activation_sparsity_pattern", "numbers from 0 to less than 1"
	if f.gguf() {
		name, want = "activation_sparsity_scale", "numbers"
	}
	c.Trims = make([]Trim, c.Layers)
	v, given := f.get(name)
	if !given {
		for l := range min(10, c.Layers) {
			c.Trims[l] = Trim{On: c.Layers > 10, Deviations: float32(bound(0.95))}
		}
		return
	}
	list, ok := v.([]any)
	if !ok || len(list) != c.Layers {
		f.bad(name, jsonText(v), fmt.Sprintf("a list of %d numbers, one for each layer", c.Layers))
		return
	}
	for l, x := range list {
		n, err := toNumber(x)
		if err != nil || math.IsNaN(n) || !f.gguf() && (n < 0 || n >= 1) {
			f.bad(name, jsonText(v), want)
			return
		}
		if !f.gguf() {
			n = bound(n)
		}
		if !math.IsInf(n, -1) {
			c.Trims[l] = Trim{On: true, Deviations: float32(n)}
		}
	}
}

// shareCaches lets each of the last n layers read the cache of the last layer of the same
// kind before them.
func (c *Config) shareCaches(f *fields, n int) {
	own := c.Layers - n
	for l := max(own, 0); l < c.Layers && f.err == nil; l++ {
		kind := c.Shapes[l].Window > 0
		from := own - 1
		for from >= 0 && (c.Shapes[from].Window > 0) != kind {
			from--
		}
		if from < 0 {
			f.bad("num_kv_shared_layers", n, "fewer, so that a layer of each kind has its own cache")
			return
		}
		c.Shapes[l].CacheOf = from
	}
}

// A Trim says which gates of a feed-forward are used (Gemma 3n): the part of each gate
// that exceeds the mean of the gates by a number of standard deviations.
type Trim struct {
	On         bool
	Deviations float32
}

// apply replaces each gate by its excess over the bound, or by 0 if there is none.
func (t Trim) apply(gate []float32) {
	if !t.On {
		return
	}
	var sum, squares float64
	for _, v := range gate {
		sum += float64(v)
	}
	mean := sum / float64(len(gate))
	for _, v := range gate {
		d := float64(v) - mean
		squares += float64(d * d)
	}
	deviation := float32(math.Sqrt(squares / float64(len(gate))))
	bound := float32(mean) + float32(deviation*t.Deviations)
	for i, v := range gate {
		gate[i] = max(v-bound, 0)
	}
}
