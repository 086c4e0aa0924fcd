package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// Config is what the decoder needs to know of a checkpoint.
type Config struct {
	Architecture string
	Layers       int
	Hidden       int
	Intermediate int
	Heads        int // query heads
	KVHeads      int
	HeadDim      int
	ValueDim     int
	Vocab        int
	MaxPositions int     // 0: not stated
	EOS          []int32 // any of them ends a reply
	BOS          int32   // -1: none

	NormEps      float32
	Scale        float32 // of the scores
	SoftCap      float32 // of the scores; 0 = off
	LogitCap     float32 // of the logits; 0 = off
	LayerWindows []int   // per layer: sliding window; 0 = full
	Activation   string  // one of cpu.Activations
	EmbedScale   float32 // of the embeddings
	NormOffset   float32 // added to every norm's weight (Gemma: 1)
	TiedHead     bool
	Rope         Rope
	LocalRope    *Rope  // of layers with a sliding window, where it is another (Gemma 3)
	NoRope       []bool // per layer: not rotated (SmolLM3); nil: all are

	ResidualScale float32 // of what a block adds (Granite); 1 elsewhere
	LogitScale    float32 // the logits are divided by it (Granite); 1 elsewhere
	ClipQKV       float32 // bound of queries, keys and values before the rotation (OLMo); 0: none
	Experts       int     // of a mixture's feed-forward; 0: dense
	TopExperts    int     // that each token goes through
	NormExperts   bool    // their weights are made to add up to one
	ExpertSize    int     // channels of an expert; Intermediate are those of dense layers
	SharedSize    int     // of the expert that every token goes through, by a gate of its own; 0: none
	Sparse        []bool  // per layer: a mixture; nil: all are, where there are experts

	LayerNorm bool // norms take the mean away and may have biases; else they divide by the root mean square
	Parallel  bool // attention and feed-forward read the same state, and both are added to it
	Plain     bool // the feed-forward has no gate: down(act(up(x)))
	Learned   bool // positions have embeddings, which are added to the tokens'

	arch Architecture
	gguf bool
}

// Architecture is one line of the table: how a family of checkpoints differs
// from Llama.
type Architecture struct {
	Name  string // model_type of config.json
	GGUF  string // general.architecture of GGUF metadata; empty: not read from GGUF
	About string
	// Defaults are the values that the family's configuration class takes for
	// what config.json leaves out, where they differ from Llama's.
	Defaults map[string]any
	// Keys are the family's own names for fields of config.json.
	Keys map[string]string
	// Pairing of RoPE in hub checkpoints.
	Pairing cpu.Pairing
	// GGUFPairing is that of GGUF files.
	GGUFPairing cpu.Pairing
	// Fused says that q, k, v stand in one tensor, and gate and up in another.
	Fused bool
	// FusedGate says that only gate and up do.
	FusedGate bool
	// BareNorms says that norms have no weights (OLMo).
	BareNorms bool
	// PostNorms says that attention and feed-forward are normalised again
	// before they are added (Gemma 2).
	PostNorms bool
	// QKNorm says that every head's query and key are normalised.
	QKNorm bool
	// WideQKNorm says that queries and keys are normalised over all heads
	// together (OLMo 2).
	WideQKNorm bool
	// NoPreNorms says that blocks read their input as it is, and only what they
	// add is normalised (OLMo 2); it goes with PostNorms.
	NoPreNorms bool
	// Names overrides the names of tensors in hub checkpoints, by role.
	Names map[string]string
	// Arrange turns a tensor of a hub checkpoint, or its bias, into [out, in] with
	// queries, keys and values under one another.
	Arrange func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error)
	// Adjust sets what only this family has; f reads its configuration.
	Adjust func(c *Config, f *fields) error
}

// Architectures lists what can be run, in the order help shows it.
var Architectures = []Architecture{
	llama, smollm3, mistral, ministral, mixtral, qwen2, qwen3, qwen2moe, qwen3moe, gemma, gemma2, gemma3, phi3, olmo, olmo2, olmo3, olmoe, granite, granitemoe,
	gpt2, starcoder2, phi, cohere, cohere2, gptneox, stablelm, glm, glm4, exaone4, nemotron, arcee, seedoss,
}

// supported lists the names that pick returns of the architectures.
func supported(pick func(*Architecture) string) string {
	var names []string
	for i := range Architectures {
		if n := pick(&Architectures[i]); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// fields reads config.json or GGUF metadata by the names of config.json; the
// first error sticks. What is null is not there; what is left out has the
// family's default.
type fields struct {
	source   string
	values   map[string]any
	defaults map[string]any
	keys     map[string]string // how the source calls a field, where it differs
	prefix   string            // GGUF: architecture and a dot
	err      error
}

func (f *fields) key(name string) string {
	if k, ok := f.keys[name]; ok {
		return f.prefix + k
	}
	return f.prefix + name
}

func (f *fields) get(name string) (any, bool) {
	v, ok := f.values[f.key(name)]
	if !ok && f.prefix == "" {
		v, ok = f.values[name]
	}
	if !ok {
		v, ok = f.defaults[name]
	}
	return v, ok && v != nil
}

func (f *fields) bad(name string, v any, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %s is %v, want %s", f.source, f.key(name), v, want)
	}
}

// number reads a number; missing or null gives the default.
func (f *fields) number(name string, def float64) float64 {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	switch x := v.(type) {
	case json.Number:
		n, err := x.Float64()
		if err != nil {
			f.bad(name, v, "a number")
		}
		return n
	case uint64:
		return float64(x)
	case int64:
		return float64(x)
	case float64:
		return x
	case int: // a default
		return float64(x)
	}
	f.bad(name, v, "a number")
	return def
}

// count reads a whole number in [lo, 2^31).
func (f *fields) count(name string, def, lo int) int {
	n := f.number(name, float64(def))
	if n != math.Trunc(n) || n < float64(lo) || n > math.MaxInt32 {
		v, _ := f.get(name)
		if v == nil {
			v = "missing"
		}
		f.bad(name, v, fmt.Sprintf("a whole number from %d", lo))
		return lo
	}
	return int(n)
}

func (f *fields) text(name, def string) string {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	s, ok := v.(string)
	if !ok {
		f.bad(name, v, "a string")
	}
	return s
}

func (f *fields) flag(name string, def bool) bool {
	v, ok := f.get(name)
	if !ok {
		return def
	}
	b, ok := v.(bool)
	if !ok {
		f.bad(name, v, "true or false")
	}
	return b
}

// ids reads a token id or a list of them.
func (f *fields) ids(name string) []int32 {
	v, ok := f.get(name)
	if !ok {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	var out []int32
	for _, x := range list {
		one := fields{source: f.source, values: map[string]any{name: x}}
		if n := one.count(name, -1, 0); one.err == nil {
			out = append(out, int32(n))
		} else if f.err == nil {
			f.err = one.err
		}
	}
	return out
}

// object reads a JSON object; nil where missing.
func (f *fields) object(name string) *fields {
	v, ok := f.get(name)
	if !ok {
		return nil
	}
	m, ok := v.(map[string]any)
	if !ok {
		f.bad(name, v, "an object")
		return nil
	}
	return &fields{source: f.source + ": " + name, values: m}
}

// queryWidth is the number of elements of all query heads of a token.
func (c *Config) queryWidth() int { return c.Heads * c.HeadDim }

// keyWidth is the number of elements of all keys of a token.
func (c *Config) keyWidth() int { return c.KVHeads * c.HeadDim }

// valueWidth is the number of elements of all values of a token.
func (c *Config) valueWidth() int { return c.KVHeads * c.ValueDim }

// outputWidth is the number of elements of the attention's output of a token.
func (c *Config) outputWidth() int { return c.Heads * c.ValueDim }

// ReadConfig reads the configuration of a checkpoint, without its weights.
func ReadConfig(ck *checkpoint.Checkpoint) (Config, error) {
	var c Config
	var err error
	if ck.Format() == "gguf" {
		c, err = ggufConfig(ck)
	} else {
		c, err = hubConfig(ck)
	}
	if err != nil {
		return Config{}, err
	}
	return c, c.check(ck.Path())
}

func (c *Config) check(path string) error {
	switch {
	case c.Heads%c.KVHeads != 0:
		return fmt.Errorf("%s: %d query heads on %d kv heads: want a multiple", path, c.Heads, c.KVHeads)
	case !c.Learned && (c.Rope.Dim%2 != 0 || c.Rope.Dim > c.HeadDim):
		return fmt.Errorf("%s: heads of %d channels, %d of them rotated: want an even number of them", path, c.HeadDim, c.Rope.Dim)
	case !slices.Contains(cpu.Activations, c.Activation):
		return fmt.Errorf("%s: activation %q is not supported; %s are", path, c.Activation, strings.Join(cpu.Activations, ", "))
	}
	return nil
}

func hubConfig(ck *checkpoint.Checkpoint) (Config, error) {
	f := &fields{source: ck.Path() + "/config.json", values: ck.Config()}
	if text, ok := f.values["text_config"].(map[string]any); ok { // the decoder of a model that sees too
		f.values = text
	}
	kind := f.text("model_type", "")
	if kind == "" {
		if list, ok := f.values["architectures"].([]any); ok && len(list) > 0 {
			name, _ := list[0].(string)
			kind = strings.ToLower(strings.TrimSuffix(name, "ForCausalLM"))
		}
	}
	at := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.Name == kind })
	if at < 0 {
		return Config{}, fmt.Errorf("%s: model_type %q is not supported; %s are", f.source, kind, supported(func(a *Architecture) string { return a.Name }))
	}
	a := Architectures[at]
	f.defaults, f.keys = a.Defaults, a.Keys
	if q := f.object("quantization_config"); q != nil {
		return Config{}, fmt.Errorf("%s: quantization_config of method %q is not supported; weights in %s are, and GGUF files", f.source, q.text("quant_method", "unknown"),
			strings.Join(tensor.FloatTypes(), ", "))
	}
	c := newConfig(a, f)
	c.Vocab = f.count("vocab_size", 0, 1)
	c.EOS, c.BOS = f.ids("eos_token_id"), -1
	g := &fields{source: ck.Path() + "/generation_config.json", values: ck.Generation()}
	if ids := g.ids("eos_token_id"); len(ids) > 0 { // what a chat ends with often stands there only
		c.EOS = ids
	}
	if err := cmp.Or(f.err, g.err); err != nil {
		return c, err
	}
	if tied, given := f.values["tie_word_embeddings"]; given && tied != nil {
		c.TiedHead = f.flag("tie_word_embeddings", false)
	} else { // families differ in the default: the weights tell
		l := loader{ck: ck, c: &c}
		_, separate := l.find(l.name("head", -1, ".weight"))
		c.TiedHead = !separate
	}
	if ids := f.ids("bos_token_id"); len(ids) == 1 {
		c.BOS = ids[0]
	}
	c.Activation = activation(f.text("hidden_act", f.text("hidden_activation", "silu")))
	return c, finish(&c, f)
}

// Limits on a configuration, those of a dump: space is made by these numbers
// before any weight is seen.
const (
	maxLayers = 1 << 12
	maxHeads  = 1 << 12
	maxDim    = 1 << 14
)

// newConfig reads what every family has.
func newConfig(a Architecture, f *fields) Config {
	c := Config{
		Architecture: a.Name, arch: a,
		Layers: f.count("num_hidden_layers", 0, 1), Hidden: f.count("hidden_size", 0, 1), Heads: f.count("num_attention_heads", 0, 1),
		MaxPositions: f.count("max_position_embeddings", 0, 0), BOS: -1,
		NormEps: float32(f.number("rms_norm_eps", 1e-6)), EmbedScale: 1, ResidualScale: 1, LogitScale: 1,
	}
	if f.err != nil {
		return c
	}
	c.Intermediate = f.count("intermediate_size", 4*c.Hidden, 1)
	c.KVHeads = f.count("num_key_value_heads", c.Heads, 1)
	c.HeadDim = f.count("head_dim", c.Hidden/c.Heads, 1)
	for _, x := range []struct {
		name    string
		n, most int
	}{{"num_hidden_layers", c.Layers, maxLayers}, {"num_attention_heads", c.Heads, maxHeads}, {"head_dim", c.HeadDim, maxDim}} {
		if x.n > x.most {
			f.bad(x.name, x.n, fmt.Sprintf("at most %d", x.most))
			return c
		}
	}
	c.ValueDim = c.HeadDim
	c.Scale = float32(1 / math.Sqrt(float64(c.HeadDim)))
	c.LayerWindows = make([]int, c.Layers)
	return c
}

// finish reads the rotation and what only the family has.
func finish(c *Config, f *fields) error {
	c.checkLayerTypes(f)
	c.Rope, c.LocalRope = readRopes(c, f)
	if c.MaxPositions > 0 {
		c.MaxPositions = max(c.MaxPositions, c.Rope.Positions)
	}
	if c.arch.Adjust != nil && f.err == nil {
		if err := c.arch.Adjust(c, f); err != nil {
			return err
		}
	}
	if c.Experts > 0 && c.ExpertSize == 0 {
		c.ExpertSize = c.Intermediate
	}
	return f.err
}

func activation(name string) string {
	switch name {
	case "silu", "swish":
		return "silu"
	case "gelu_pytorch_tanh", "gelu_tanh", "gelu_new", "gelu_fast":
		return "gelu_tanh"
	}
	return name
}

// The kinds of layers that layer_types may name.
const (
	slidingLayer = "sliding_attention"
	fullLayer    = "full_attention"
)

// checkLayerTypes refuses kinds of layers that are not known.
func (c *Config) checkLayerTypes(f *fields) {
	types, _ := f.values["layer_types"].([]any)
	for l, kind := range types {
		if kind != slidingLayer && kind != fullLayer {
			f.bad(fmt.Sprintf("layer_types[%d]", l), kind, slidingLayer+" or "+fullLayer)
		}
	}
}

// slidingWindow gives the layers that slide says a window of the
// configuration, if it has one. layer_types, or the pattern of a GGUF file, comes
// before slides.
func (c *Config) slidingWindow(f *fields, slides func(layer int) bool) {
	w := f.count("sliding_window", 0, 0)
	types, _ := f.values["layer_types"].([]any)
	pattern, _ := f.get("sliding_window_pattern")
	list, _ := pattern.([]any)
	for l := range c.LayerWindows {
		on := slides(l)
		if l < len(types) {
			on = types[l] == slidingLayer
		}
		if l < len(list) {
			on, _ = list[l].(bool)
		}
		if on {
			c.LayerWindows[l] = w
		}
	}
}

// everyNth says that of n layers the last sees everything, by the field that
// gives n; def where it is not given.
func (f *fields) everyNth(def int) func(layer int) bool {
	if v, _ := f.get("sliding_window_pattern"); v != nil {
		if _, list := v.([]any); list {
			return func(int) bool { return false }
		}
	}
	n := f.count("sliding_window_pattern", def, 1)
	return func(l int) bool { return (l+1)%n != 0 }
}

// ggufNames are the keys of GGUF metadata for fields of config.json.
var ggufNames = map[string]string{
	"num_hidden_layers": "block_count", "hidden_size": "embedding_length", "intermediate_size": "feed_forward_length",
	"num_attention_heads": "attention.head_count", "num_key_value_heads": "attention.head_count_kv", "head_dim": "attention.key_length",
	"max_position_embeddings": "context_length", "rms_norm_eps": "attention.layer_norm_rms_epsilon", "layer_norm_eps": "attention.layer_norm_epsilon",
	"sliding_window": "attention.sliding_window", "sliding_window_pattern": "attention.sliding_window_pattern",
	"num_experts": "expert_count", "num_experts_per_tok": "expert_used_count", "moe_intermediate_size": "expert_feed_forward_length",
	"shared_expert_intermediate_size": "expert_shared_feed_forward_length", "norm_topk_prob": "expert_weights_norm",
	"embedding_multiplier": "embedding_scale", "attention_multiplier": "attention.scale", "residual_multiplier": "residual_scale",
	"logits_scaling": "logit_scale", "logit_scale": "logit_scale", "clip_qkv": "attention.clamp_kqv", "rope_local_base_freq": "rope.freq_base_swa",
}

func ggufConfig(ck *checkpoint.Checkpoint) (Config, error) {
	meta := ck.Config()
	kind, _ := meta["general.architecture"].(string)
	at := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.GGUF == kind && kind != "" })
	if at < 0 {
		return Config{}, fmt.Errorf("%s: general.architecture %q is not supported; %s are", ck.Path(), kind, supported(func(a *Architecture) string { return a.GGUF }))
	}
	f := &fields{source: ck.Path(), values: meta, keys: ggufNames, prefix: kind + "."}
	c := newConfig(Architectures[at], f)
	c.gguf = true
	if f.err != nil {
		return c, f.err
	}
	if _, given := f.get("rms_norm_eps"); !given {
		c.NormEps = float32(f.number("layer_norm_eps", 1e-5))
	}
	c.Activation = "silu"
	embed, ok := ck.Tensor("token_embd.weight")
	if !ok || len(embed.Shape) != 2 {
		return c, fmt.Errorf("%s: no matrix token_embd.weight", ck.Path())
	}
	c.Vocab = embed.Shape[0]
	_, separate := ck.Tensor("output.weight")
	c.TiedHead = !separate
	plain := &fields{source: ck.Path(), values: meta}
	c.EOS = plain.ids("tokenizer.ggml.eos_token_id")
	for _, id := range plain.ids("tokenizer.ggml.eot_token_id") {
		if !slices.Contains(c.EOS, id) {
			c.EOS = append(c.EOS, id)
		}
	}
	if ids := plain.ids("tokenizer.ggml.bos_token_id"); len(ids) == 1 {
		c.BOS = ids[0]
	}
	if err := finish(&c, f); err != nil {
		return c, err
	}
	return c, c.ropeTensors(ck, f)
}
