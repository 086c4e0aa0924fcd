package model

import (
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// An Architecture describes how a family of checkpoints differs from Llama. Each
// architecture has its own file.
type Architecture struct {
	Name string // model_type of config.json
	GGUF string // general.architecture of GGUF metadata; empty: see SharedGGUF
	// AlsoGGUF lists other names that GGUF files of the family may have.
	AlsoGGUF []string
	About    string // the models of the family, for the user

	// SharedGGUF is the GGUF name of the family that GGUF files of this one are read as.
	// If both names are empty, the family is not read from GGUF files.
	SharedGGUF string

	// OffCard says why cards run no model of the family. If it is empty, they run all or
	// some, and Config.NoCard says why they do not run a model.
	OffCard string

	// Defaults has the values that the family's configuration class in transformers
	// gives to fields that config.json leaves out. A test compares them with the
	// classes.
	Defaults map[string]any
	// Keys maps the field names of Llama's config.json to the family's own names.
	Keys map[string]string
	// Aliases maps field names to other names that config.json may have for them, as the
	// attribute_map of the family's configuration class does. An alias takes precedence.
	Aliases map[string]string
	// Ignored lists keys of the family's config.json that may be left unread, besides
	// those of hubIgnored.
	Ignored keyTable
	// Names maps the roles of tensors to the family's own names in hub checkpoints.
	Names map[string]string
	// GGUFTensors maps the roles of tensors to the family's own names in GGUF files.
	GGUFTensors map[string]string

	// RopeKeys lists the keys of the object that describes the rotation which the family
	// reads or may ignore, besides those of all families.
	RopeKeys []string

	PartialRope bool // partial_rotary_factor counts; other families ignore it
	RestartRope bool // keys are computed anew where the rotation of long sequences begins
	// YarnMultiplier says that GGUF files have mscale_all_dim of yarn; mscale is 1 then.
	YarnMultiplier bool
	LocalTheta     float64     // layers with a sliding window have their own rotation, of this base by default; 0: they do not
	LocalBase      string      // the field that states this base; empty: none
	Pairing        cpu.Pairing // how the rotation pairs channels, in hub checkpoints
	GGUFPairing    cpu.Pairing // the same, in GGUF files
	Fused          bool        // q, k and v are one tensor; so are gate and up
	FusedGate      bool        // only gate and up are one tensor
	BareNorms      bool        // norms have no weights (OLMo)
	PostNorms      bool        // the outputs of attention and feed-forward are normalized before they are added (Gemma 2)
	NoPreNorms     bool        // the inputs of attention and feed-forward are not normalized (OLMo 2); only with PostNorms
	QKNorm         bool        // every head's query and key is normalized
	NormLast       bool        // queries and keys are normalized after the rotation, not before (Hunyuan)
	Sinks          bool        // every query head has a learned sink
	WholeYarn      bool        // yarn does not round its limits in GGUF files, which do not say it (truncate)
	// CrossedExperts says that the weights of all experts are one tensor [experts, in,
	// out] in hub checkpoints, unless they are coded.
	CrossedExperts bool
	// TwinChannels says that channels of gate and up alternate in that tensor, and that
	// experts have biases.
	TwinChannels bool
	RotaryDim    bool // rotary_dim is the number of rotated channels, if partial_rotary_factor is missing
	WideQKNorm   bool // queries and keys are normalized over all heads together (OLMo 2)
	// OutputGate says that the projection of a query head has the gate of its output as
	// its second half. The sigmoid of the gate scales the output.
	OutputGate bool
	// LayerTypes has the kinds of layers that layer_types may name, besides attention.
	LayerTypes map[string]LayerKind

	// Prepare replaces fields before any is read, for families whose configurations state
	// what all families have in another form.
	Prepare func(f *fields)
	// Arrange converts a weight or bias of a hub checkpoint to the layout [out, in], with
	// queries, keys and values in this order.
	Arrange func(c *Config, role string, t tensor.Tensor) (tensor.Tensor, error)
	// Inspect sets what follows only from the tensors of a GGUF file; rows returns the
	// number of rows of a tensor, or 0 if there is none of that name.
	Inspect func(c *Config, rows func(name string) int)
	// Adjust sets the fields that are specific to the family; f reads its configuration.
	Adjust func(c *Config, f *fields) error
	// Vary changes the shapes of layers that are not like the others. It is called last,
	// when c.Shapes holds the shapes that follow from the other fields.
	Vary func(c *Config, f *fields) error
	// Mixer reads the mixer of a layer; nil if the family has none.
	// Vary sets c.Mixers then.
	Mixer func(l *loader, at int) (mixer, error)
}

// Architectures lists the supported families in the order in which help shows them.
var Architectures = []Architecture{
	llama, smollm3, mistral, ministral, mixtral, qwen2, qwen3, qwen2moe, qwen3moe, gemma, gemma2, gemma3, phi3, olmo, olmo2, olmo3, olmoe, granite, granitemoe,
	gpt2, starcoder2, phi, cohere, cohere2, gptneox, stablelm, glm, glm4, exaone4, nemotron, arcee, seedoss,
	ministral3, qwen25vl, qwen3vl, cwm, glm4moe, minimaxm2, ernie, erniemoe, hunyuan, hunyuanmoe, dots1, gptj, gptneo, opt, falcon, bloom, mpt,
	gptoss,
	deepseek2, deepseek3, kimi2, glm4lite, mistral4, youtu, minicpm3,
	qwen3next, qwen35, qwen35moe, lfm2, lfm2moe,
	gemma3n, gemma4, gemma4unified, llama4,
	graniteHybrid, bamba, falconh1, nemotronh,
}

// supported joins the names that pick returns for the architectures.
func supported(pick func(*Architecture) string) string {
	var names []string
	for i := range Architectures {
		if n := pick(&Architectures[i]); n != "" && !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}
