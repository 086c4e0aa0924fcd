package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/capture/checkpoint"
	"github.com/attnscope/attnscope/capture/cpu"
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
	Activation   string  // silu or gelu_tanh
	EmbedScale   float32 // of the embeddings
	NormOffset   float32 // added to every norm's weight (Gemma: 1)
	TiedHead     bool
	Rope         Rope
	LocalRope    *Rope  // of layers with a sliding window, where it is another (Gemma 3)
	NoRope       []bool // per layer: not rotated (SmolLM3); nil: all are

	ResidualScale float32 // of what a block adds (Granite); 1 elsewhere
	LogitScale    float32 // the logits are divided by it (Granite); 1 elsewhere
	Experts       int     // of a mixture's feed-forward; 0: dense
	TopExperts    int     // that each token goes through
	NormExperts   bool    // their weights are made to add up to one

	arch Architecture
	gguf bool
}

// Architecture is one line of the table: how a family of checkpoints differs
// from Llama.
type Architecture struct {
	Name  string // model_type of config.json
	GGUF  string // general.architecture of GGUF metadata; empty: not read from GGUF
	About string
	// Pairing of RoPE in GGUF files; hub checkpoints pair halves.
	GGUFPairing cpu.Pairing
	// Fused says that q, k, v stand in one tensor, and gate and up in another.
	Fused bool
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
	// Adjust sets what only this family has; f reads its configuration.
	Adjust func(c *Config, f *fields) error
}

// Architectures lists what can be run, in the order help shows it.
var Architectures = []Architecture{llama, smollm3, mistral, mixtral, qwen2, qwen3, qwen3moe, gemma2, gemma3, phi3, olmo2, granite}

func supported() string {
	var names []string
	for _, a := range Architectures {
		names = append(names, a.Name)
	}
	return strings.Join(names, ", ")
}

// fields reads config.json or GGUF metadata by name; the first error sticks.
type fields struct {
	source string
	values map[string]any
	prefix string // GGUF: architecture and a dot
	err    error
}

func (f *fields) get(name string) (any, bool) {
	v, ok := f.values[f.prefix+name]
	return v, ok && v != nil
}

func (f *fields) bad(name string, v any, want string) {
	if f.err == nil {
		f.err = fmt.Errorf("%s: %s is %v, want %s", f.source, f.prefix+name, v, want)
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
	case c.HeadDim%2 != 0 || c.Rope.Dim%2 != 0 || c.Rope.Dim > c.HeadDim:
		return fmt.Errorf("%s: heads of %d channels, %d of them rotated: want even numbers", path, c.HeadDim, c.Rope.Dim)
	case c.Activation != "silu" && c.Activation != "gelu_tanh":
		return fmt.Errorf("%s: activation %q is not supported; silu and gelu_pytorch_tanh are", path, c.Activation)
	}
	return nil
}

func hubConfig(ck *checkpoint.Checkpoint) (Config, error) {
	f := &fields{source: ck.Path() + "/config.json", values: ck.Config()}
	kind := f.text("model_type", "")
	if kind == "" {
		if list, ok := ck.Config()["architectures"].([]any); ok && len(list) > 0 {
			name, _ := list[0].(string)
			kind = strings.ToLower(strings.TrimSuffix(name, "ForCausalLM"))
		}
	}
	at := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.Name == kind })
	if at < 0 {
		return Config{}, fmt.Errorf("%s: model_type %q is not supported; %s are", f.source, kind, supported())
	}
	if q := f.object("quantization_config"); q != nil {
		return Config{}, fmt.Errorf("%s: quantisation %q is not supported; weights in float32, float16 or bfloat16 are, and GGUF files", f.source, q.text("quant_method", "unknown"))
	}
	c := Config{
		Architecture: kind, arch: Architectures[at],
		Layers: f.count("num_hidden_layers", 0, 1), Hidden: f.count("hidden_size", 0, 1),
		Intermediate: f.count("intermediate_size", 0, 1), Heads: f.count("num_attention_heads", 0, 1),
		Vocab: f.count("vocab_size", 0, 1), MaxPositions: f.count("max_position_embeddings", 0, 0),
		NormEps: float32(f.number("rms_norm_eps", 1e-6)), EOS: f.ids("eos_token_id"), BOS: -1,
		TiedHead: f.flag("tie_word_embeddings", false), EmbedScale: 1, ResidualScale: 1, LogitScale: 1,
	}
	g := &fields{source: ck.Path() + "/generation_config.json", values: ck.Generation()}
	if ids := g.ids("eos_token_id"); len(ids) > 0 { // what a chat ends with often stands there only
		c.EOS = ids
	}
	if err := cmp.Or(f.err, g.err); err != nil {
		return c, err
	}
	if _, given := f.get("tie_word_embeddings"); !given { // families differ in the default: the weights tell
		_, separate := ck.Tensor("lm_head.weight")
		c.TiedHead = !separate
	}
	c.KVHeads = f.count("num_key_value_heads", c.Heads, 1)
	c.HeadDim = f.count("head_dim", c.Hidden/c.Heads, 1)
	c.ValueDim = c.HeadDim
	c.Scale = float32(1 / math.Sqrt(float64(c.HeadDim)))
	if ids := f.ids("bos_token_id"); len(ids) == 1 {
		c.BOS = ids[0]
	}
	c.Activation = activation(f.text("hidden_act", f.text("hidden_activation", "silu")))
	c.LayerWindows = make([]int, c.Layers)
	return c, finish(&c, f)
}

// finish reads the rotation and what only the family has.
func finish(c *Config, f *fields) error {
	c.Rope = readRope(c, f)
	if c.arch.Adjust != nil && f.err == nil {
		if err := c.arch.Adjust(c, f); err != nil {
			return err
		}
	}
	return f.err
}

func activation(name string) string {
	switch name {
	case "silu", "swish":
		return "silu"
	case "gelu_pytorch_tanh", "gelu_tanh", "gelu_new":
		return "gelu_tanh"
	}
	return name
}

// slidingWindow gives the layers that slide says a window of the
// configuration, if it has one.
func (c *Config) slidingWindow(f *fields, slides func(layer int) bool) {
	w := f.count("sliding_window", 0, 0)
	types, _ := f.values["layer_types"].([]any)
	for l := range c.LayerWindows {
		on := slides(l)
		if l < len(types) {
			on = types[l] == "sliding_attention"
		}
		if on {
			c.LayerWindows[l] = w
		}
	}
}

func ggufConfig(ck *checkpoint.Checkpoint) (Config, error) {
	meta := ck.Config()
	kind, _ := meta["general.architecture"].(string)
	at := slices.IndexFunc(Architectures, func(a Architecture) bool { return a.GGUF == kind && kind != "" })
	if at < 0 {
		return Config{}, fmt.Errorf("%s: general.architecture %q is not supported; %s are", ck.Path(), kind, supported())
	}
	f := &fields{source: ck.Path(), values: meta, prefix: kind + "."}
	c := Config{
		Architecture: Architectures[at].Name, arch: Architectures[at], gguf: true,
		Layers: f.count("block_count", 0, 1), Hidden: f.count("embedding_length", 0, 1),
		Intermediate: f.count("feed_forward_length", 0, 1), Heads: f.count("attention.head_count", 0, 1),
		MaxPositions: f.count("context_length", 0, 0),
		NormEps:      float32(f.number("attention.layer_norm_rms_epsilon", 1e-5)), BOS: -1,
		EmbedScale: 1, ResidualScale: 1, LogitScale: 1, Activation: "silu",
	}
	if f.err != nil {
		return c, f.err
	}
	c.KVHeads = f.count("attention.head_count_kv", c.Heads, 1)
	c.HeadDim = f.count("attention.key_length", c.Hidden/c.Heads, 1)
	c.ValueDim = c.HeadDim
	c.Scale = float32(1 / math.Sqrt(float64(c.HeadDim)))
	c.LayerWindows = make([]int, c.Layers)
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
	return c, finish(&c, f)
}
