package model

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// Config is the configuration of a decoder: its sizes, its constants, and how its
// layers differ.
type Config struct {
	Architecture string // name of the Architecture
	Layers       int
	LaterLayers  int // layers after these in the file, which predict several tokens ahead and are not run
	Hidden       int
	Intermediate int // channels of a dense feed-forward
	Heads        int // query heads
	KVHeads      int
	HeadDim      int // channels of a query or key
	ValueDim     int // channels of a value
	Vocab        int
	MaxPositions int     // 0: not stated
	EOS          []int32 // each of them ends a reply
	BOS          int32   // -1: none

	NormEps      float32
	NormOffset   float32 // added to the weights of every norm (Gemma: 1)
	LayerNorm    bool    // norms subtract the mean and may have biases; else they are RMS norms
	Scale        float32 // factor of the scores
	SoftCap      float32 // of the scores; 0: none
	LogitCap     float32 // soft cap of the logits; 0: none
	LogitScale   float32 // divisor of the logits (Granite); 1 elsewhere
	EmbedScale   float32 // factor of the embeddings; 1: none
	TiedHead     bool    // the output projection is the embedding matrix
	LayerWindows []int   // by layer: a query at position p sees the keys after p-window; 0: all keys

	// Shapes describes the attention of each layer. Heads, KVHeads, HeadDim, ValueDim,
	// Scale, SoftCap, LayerWindows, Rope, LocalRope and NoRope are what they follow from,
	// unless the family sets them (Architecture.Vary).
	Shapes []LayerShape

	Mixers []MixerSize // by layer, of the mixer instead of attention or in addition to it; nil: none
	Delta  *DeltaShape // of layers with the gated delta rule; nil: there are none
	Conv   *ShortConv  // of layers with a short convolution; nil: there are none
	Mamba  *MambaShape // of Mamba-2 layers; nil: there are none

	FeedForward []bool   // by layer: whether it has a feed-forward; nil: all layers have one
	Factors     *Factors // constants that multiply what layers compute (Falcon-H1); nil: 1

	Activation    string       // one of cpu.Activations
	ClampedGate   *ClampedGate // of the feed-forward, instead of Activation (gpt-oss); nil: none
	Plain         bool         // the feed-forward has no gate: down(act(up(x)))
	Parallel      bool         // attention and feed-forward read the same state, and both are added to it
	ResidualScale float32      // factor of the output that a block adds (Granite); 1 elsewhere
	ClipQKV       float32      // bound of queries, keys and values before the rotation (OLMo); 0: none

	Rope      Rope
	LocalRope *Rope  // of layers with a sliding window, if it differs (Gemma 3)
	NoRope    []bool // by layer: whether queries and keys are left unrotated (SmolLM3); nil: all are rotated
	Learned   bool   // positions have embeddings, which are added to the token embeddings
	// UnusedPlaces is the number of rows before the embedding of position 0 (OPT).
	UnusedPlaces int

	EmbedNorm bool     // the embeddings are normalized (BLOOM)
	KeyBias   *KeyBias // of the scores, instead of a rotation; nil: none

	// Queries at position p are multiplied by 1 + QueryGrowth ln(1 + floor(p/QueryFrom))
	// after the rotation (Ministral 3). With QueryFromOne, it is that of p+1, and only in
	// layers that are not rotated (Llama 4).
	QueryGrowth  float64
	QueryFrom    int
	QueryFromOne bool
	BareQKNorm   bool // every rotated head of queries and keys is normalized after the rotation, without weights (Llama 4)

	Experts      int    // of a mixture; 0: all layers are dense
	TopExperts   int    // experts that each token goes through
	NormExperts  bool   // the weights of these experts are scaled to a sum of 1
	ExpertSize   int    // channels of an expert
	SharedSize   int    // channels of the shared expert, which every token goes through; 0: none
	SharedGate   bool   // a gate scales the shared expert
	ExpertHidden int    // channels that the experts but the shared one read and write; 0: Hidden
	Router       Router // how the experts of a token are chosen
	Sparse       []bool // by layer: whether it has a mixture; nil: all layers have one if Experts > 0
	BesideDense  bool   // the mixture is added to the dense feed-forward (Gemma 4)

	Intermediates []int  // by layer: channels of a dense feed-forward; nil: Intermediate
	Trims         []Trim // by layer: which gates count (Gemma 3n); nil: all
	ValueNorm     bool   // every head's value is normalized, without weights (Gemma 3n and 4)
	KeyValues     []bool // by layer: whether values are the keys before their norm (Gemma 4); nil: none are
	LayerScale    bool   // the output of each layer has a factor (Gemma 4)

	// Every layer may have an input of its own (Gemma 3n and 4).
	LayerInput int // its channels; 0: none
	LayerVocab int // the tokens that it is made from; others count as token 0

	// A token may have several states, of which a layer computes one (Gemma 3n).
	Streams      int  // states; 0: one
	ActiveStream int  // the one that layers compute
	StreamScale  bool // that state has a factor where a layer's own input is computed from it
	Laurel       int  // channels of the low-rank path parallel to the attention

	Latent *Latent // the cache has one latent for all heads; nil: it has keys and values

	Ignored []string // keys that were set and ignored because the caller asked for it, sorted

	arch   Architecture
	biased map[string]bool // the roles of linear layers that may have biases; nil: all
	gguf   bool            // read from a GGUF file
}

// intermediate is the number of channels of a layer's dense feed-forward.
func (c *Config) intermediate(layer int) int {
	if c.Intermediates == nil {
		return c.Intermediate
	}
	return c.Intermediates[layer]
}

// trim returns which gates of a layer's feed-forward count.
func (c *Config) trim(layer int) Trim {
	if c.Trims == nil {
		return Trim{}
	}
	return c.Trims[layer]
}

// keyValues reports whether the values of a layer are its keys before their norm.
func (c *Config) keyValues(layer int) bool { return c.KeyValues != nil && c.KeyValues[layer] }

// ReadConfig reads the configuration of a checkpoint, without its weights. It fails if
// the model is not supported.
//
// ignore names keys of config.json, generation_config.json or GGUF metadata that are
// treated as if they were missing; Config.Ignored tells which of them were there.
func ReadConfig(ck *checkpoint.Checkpoint, ignore ...string) (Config, error) {
	var c Config
	var err error
	leave := &ignorer{keys: ignore, used: map[string]bool{}}
	if ck.Format() == "gguf" {
		c, err = ggufConfig(ck, leave)
	} else {
		c, err = hubConfig(ck, leave)
	}
	if err != nil {
		return Config{}, err
	}
	c.Ignored = slices.Sorted(maps.Keys(leave.used))
	return c, c.check(ck.Path())
}

// check reports inconsistent sizes and unsupported features.
func (c *Config) check(path string) error {
	if !slices.Contains(cpu.Activations, c.Activation) {
		return fmt.Errorf("%s: activation %q is not supported; these are: %s", path, c.Activation, strings.Join(cpu.Activations, ", "))
	}
	if c.NormEps < 0 {
		return fmt.Errorf("%s: the epsilon of the norms is %g, want 0 or more", path, c.NormEps)
	}
	return c.checkShapes(path)
}

// FamilyError says that a model is of no family that is supported.
type FamilyError struct{ text string }

func (e *FamilyError) Error() string { return e.text }

// Hint says how to find out whether the model is one of the families under another name.
func (e *FamilyError) Hint() string {
	return "if the model has the layout of one of these, set model_type in a copy of config.json, and attnscope info -m FOLDER " +
		"names what differs (docs/MODELS.md)"
}

// hubConfig reads config.json and, for the tokens that end a reply,
// generation_config.json.
func hubConfig(ck *checkpoint.Checkpoint, ignore *ignorer) (Config, error) {
	f, err := decoderConfig(ck.Path()+"/config.json", ignore.without(ck.Config()))
	if err != nil {
		return Config{}, err
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
		return Config{}, &FamilyError{fmt.Sprintf("%s: model_type %q is not supported; these are: %s",
			f.source, kind, supported(func(a *Architecture) string { return a.Name }))}
	}
	a := Architectures[at]
	f.defaults = a.Defaults
	f.keys = a.Keys
	f.aliases = a.Aliases
	f.family = a.Name
	if err := assemble(ck, f, ignore); err != nil {
		return Config{}, err
	}
	if a.Prepare != nil {
		a.Prepare(f)
	}
	c := newConfig(a, f)
	c.Vocab = f.count("vocab_size", 0, 1)
	c.EOS = f.ids("eos_token_id")
	c.BOS = -1
	ends, err := checkGeneration(ck, ignore)
	if len(ends) > 0 { // the end of a chat message is often only here
		c.EOS = ends
	}
	if err := cmp.Or(f.err, err); err != nil {
		return c, err
	}
	c.tieHead(ck, f)
	if ids := f.ids("bos_token_id"); len(ids) == 1 {
		c.BOS = ids[0]
	}
	c.Activation = activation(f.text("hidden_act", "silu"))
	c.readBiases(f)
	if err := finish(&c, f); err != nil {
		return c, err
	}
	if err := c.shapeLayers(f); err != nil {
		return c, err
	}
	c.checkLayers(f)
	return c, f.checkKeys(a.Ignored, hubIgnored)
}

// tieHead decides whether the output projection is the embedding matrix. As in
// transformers, it is not if the checkpoint has an output projection that differs. If
// the field is missing, the weights decide: the default differs between families. If
// only the headers are there, an output projection is taken for the same only if the
// configuration says so.
func (c *Config) tieHead(ck *checkpoint.Checkpoint, f *fields) {
	l := loader{ck: ck, c: c}
	head, separate := l.find(l.name("head", -1, ".weight"))
	if !f.flag("tie_word_embeddings", true) {
		return
	}
	embed, ok := l.find(l.name("embed", -1, ".weight"))
	if ck.HeadersOnly() {
		_, said := f.get("tie_word_embeddings")
		c.TiedHead = !separate || said
		return
	}
	same := false
	f.keep(tensor.Guard(func() error {
		plain := ok && separate && head.Coded == nil && embed.Coded == nil
		same = plain && head.DType == embed.DType && bytes.Equal(head.Data, embed.Data)
		return nil
	}))
	c.TiedHead = !separate || same
}

// oneWindow lists the families in which a sliding window holds for all layers, whatever
// layer_types says.
var oneWindow = []string{"mistral", "mixtral", "phi3", "starcoder2", "qwen3_moe"}

// checkLayers reports layers that are said to slide in a family, or by a configuration,
// without sliding windows. It must be called after the windows were read.
func (c *Config) checkLayers(f *fields) {
	types, _ := f.values["layer_types"].([]any)
	f.asked["layer_types"] = true
	_, window := f.get("sliding_window")
	if slices.Contains(oneWindow, c.Architecture) && len(types) > 0 && window && slices.Max(c.LayerWindows) > 0 {
		f.bad("layer_types", "given", "sliding_window alone in a "+c.Architecture+" model, where it holds for all layers")
	}
	slides := slices.Max(c.LayerWindows) > 0
	for l, kind := range types {
		if kind == slidingLayer && !slides {
			f.bad(fmt.Sprintf("layer_types[%d]", l), kind, fullLayer+" in a "+c.Architecture+" model without sliding windows")
		}
	}
}

// Limits of a configuration, the same as a dump's. Memory of these sizes is allocated
// before any weight is read.
const (
	maxLayers = 1 << 12
	maxHeads  = 1 << 12
	maxDim    = 1 << 14
)

// newConfig reads the fields that every family has.
func newConfig(a Architecture, f *fields) Config {
	c := Config{
		Architecture:  a.Name,
		arch:          a,
		Layers:        f.count("num_hidden_layers", 0, 1),
		Hidden:        f.count("hidden_size", 0, 1),
		Heads:         f.count("num_attention_heads", 0, 1),
		MaxPositions:  f.count("max_position_embeddings", 0, 0),
		BOS:           -1,
		NormEps:       float32(f.number("rms_norm_eps", 1e-6)),
		EmbedScale:    1,
		ResidualScale: 1,
		LogitScale:    1,
	}
	if f.err != nil {
		return c
	}
	c.Intermediate, c.Intermediates = f.layerCounts("intermediate_size", c.Layers, 4*c.Hidden)
	c.KVHeads = f.most("num_key_value_heads", c.Heads, 1)
	c.HeadDim = f.count("head_dim", c.Hidden/c.Heads, 1)
	for _, x := range []struct {
		name    string
		n, most int
	}{
		{"num_hidden_layers", c.Layers, maxLayers},
		{"num_attention_heads", c.Heads, maxHeads},
		{"head_dim", c.HeadDim, maxDim},
	} {
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

// finish reads the rotation and the fields that are specific to the family.
func finish(c *Config, f *fields) error {
	c.checkLayerTypes(f)
	c.Rope, c.LocalRope = readRopes(c, f)
	c.Rope.Restart = c.arch.RestartRope && c.Rope.Long != nil
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

// activation returns the name in cpu.Activations of a function of transformers.
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
	chunkedLayer = "chunked_attention"
)

// checkLayerTypes reports an unsupported kind of layer as an error.
func (c *Config) checkLayerTypes(f *fields) {
	types, _ := f.values["layer_types"].([]any)
	for l, kind := range types {
		name, _ := kind.(string)
		if _, own := c.arch.LayerTypes[name]; !own && name != slidingLayer && name != fullLayer {
			f.bad(fmt.Sprintf("layer_types[%d]", l), kind, slidingLayer+" or "+fullLayer)
		}
	}
}

// slidingWindow sets the configuration's sliding window, if it has one, for the layers
// that slides selects. layer_types, or the pattern of a GGUF file, takes precedence
// over slides.
func (c *Config) slidingWindow(f *fields, slides func(layer int) bool) {
	w := f.count("sliding_window", 0, 0)
	types, _ := f.values["layer_types"].([]any)
	if slices.Contains(oneWindow, c.Architecture) {
		types = nil // checkLayers refuses them
	}
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
