package tokenizer

import (
	"fmt"
	"slices"
	"strings"
)

// class is a class of tokenizers in transformers 5. Most of them take tokenizer.json as it
// is. A class that rebuilds takes only the vocabulary, the merges, the post-processor and
// the added tokens from it, and has its own normalizer, pre-tokenizer and decoder.
type class struct {
	name    string
	rebuild func(f *file, c *config) // nil: as it is
	tokens  []specialToken           // those that are set unless the configuration sets them
	again   again                    // whether special tokens are added once more
	ends    bool                     // BOS and EOS replace the post-processor
	bos     bool                     // with ends: BOS is added by default

	// obeys says that add_bos_token and add_eos_token replace the post-processor, as the
	// class of transformers 4 does. Transformers 5 ignores both keys if there is a
	// tokenizer.json.
	obeys bool
}

// again is how a class adds its special tokens once more.
type again int

const (
	againNever   again = iota
	againPlain         // as special tokens without other properties
	againAsGiven       // as special tokens with the properties that are known
)

// named makes the special tokens of a class from pairs of name and text.
func named(pairs ...string) []specialToken {
	var list []specialToken
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, specialToken{name: pairs[i], added: added{Content: pairs[i+1], Special: true}})
	}
	return list
}

// classes are the classes that rebuild the tokenizer, by name without "Fast".
var classes = []class{
	{
		name: "LlamaTokenizer", obeys: true, rebuild: rebuildLlama,
		tokens: named("bos_token", "<s>", "eos_token", "</s>", "unk_token", "<unk>"),
	},
	{
		name: "CodeLlamaTokenizer", obeys: true, ends: true, bos: true, rebuild: rebuildCodeLlama,
		tokens: named("bos_token", "<s>", "eos_token", "</s>", "unk_token", "<unk>", "prefix_token", "▁<PRE>",
			"middle_token", "▁<MID>", "suffix_token", "▁<SUF>", "eot_token", "▁<EOT>", "fill_token", "<FILL_ME>"),
	},
	{
		name: "GemmaTokenizer", obeys: true, rebuild: rebuildGemma,
		tokens: named("bos_token", "<bos>", "eos_token", "<eos>", "unk_token", "<unk>", "pad_token", "<pad>",
			"mask_token", "<mask>"),
	},
	{
		name: "Qwen2Tokenizer", again: againPlain, rebuild: rebuildQwen(cl100kHead + `\p{N}` + cl100kTail),
		tokens: named("eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>", "pad_token", "<|endoftext|>"),
	},
	{
		name: "Qwen3_5Tokenizer", rebuild: rebuildQwen(qwen35Pattern),
		tokens: named("eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>", "pad_token", "<|endoftext|>"),
	},
	{
		name: "GPT2Tokenizer", rebuild: rebuildGPT2(nil),
		tokens: named("bos_token", "<|endoftext|>", "eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>"),
	},
	{
		name: "CodeGenTokenizer", rebuild: rebuildGPT2(nil),
		tokens: named("bos_token", "<|endoftext|>", "eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>"),
	},
	{
		name: "GPTNeoXTokenizer", obeys: true, ends: true, rebuild: rebuildGPT2(&node{Type: "NFC"}),
		tokens: named("bos_token", "<|endoftext|>", "eos_token", "<|endoftext|>", "unk_token", "<|endoftext|>",
			"pad_token", "<|padding|>"),
	},
	{
		name: "CohereTokenizer", obeys: true, again: againAsGiven, rebuild: rebuildCohere,
		tokens: named("bos_token", "<BOS_TOKEN>", "eos_token", "<|END_OF_TURN_TOKEN|>", "unk_token", "<UNK>",
			"sep_token", "<SEP>", "pad_token", "<PAD>", "cls_token", "<CLS>", "mask_token", "<MASK_TOKEN>"),
	},
}

// asIs are the classes that take tokenizer.json as it is, besides those that transformers 5
// does not know.
var asIs = []string{
	"TokenizersBackend", "PreTrainedTokenizer", "PreTrainedTokenizerFast", "PythonBackend", "BloomTokenizer",
}

// otherClasses are the classes of transformers 5 that do something else with tokenizer.json
// and are not supported.
var otherClasses = strings.Fields(`
AlbertTokenizer BartTokenizer BarthezTokenizer BartphoTokenizer BertGenerationTokenizer BertJapaneseTokenizer
BertTokenizer BertweetTokenizer BigBirdTokenizer BioGptTokenizer BlenderbotSmallTokenizer BlenderbotTokenizer
ByT5Tokenizer CLIPTokenizer CTRLTokenizer CamembertTokenizer CanineTokenizer ClvpTokenizer CpmAntTokenizer
CpmTokenizer DebertaTokenizer DebertaV2Tokenizer DiaTokenizer DistilBertTokenizer ElectraTokenizer EsmTokenizer
EsmcTokenizer FNetTokenizer FSMTTokenizer FlaubertTokenizer FunnelTokenizer GPTNeoXJapaneseTokenizer
GPTSw3Tokenizer HerbertTokenizer LEDTokenizer LasrTokenizer LongformerTokenizer LukeTokenizer LxmertTokenizer
M2M100Tokenizer MBart50Tokenizer MBartTokenizer MLukeTokenizer MPNetTokenizer MarianTokenizer MgpstrTokenizer
MobileBertTokenizer MvpTokenizer MyT5Tokenizer NllbTokenizer NougatTokenizer OpenAIGPTTokenizer PLBartTokenizer
ParakeetTokenizer PegasusTokenizer PerceiverTokenizer PhobertTokenizer ProphetNetTokenizer ReformerTokenizer
RemBertTokenizer RoCBertTokenizer RoFormerTokenizer RobertaTokenizer SeamlessM4TTokenizer SiglipTokenizer
SplinterTokenizer T5Tokenizer TapasTokenizer UdopTokenizer WhisperTokenizer XGLMTokenizer XLMRobertaTokenizer
XLMTokenizer XLNetTokenizer`)

// Classes by model_type that transformers 5 knows, for models of decoders. A model that is
// not listed takes the class that its files name.
var classOfModel = map[string]string{
	"gemma": "GemmaTokenizer", "gemma2": "GemmaTokenizer", "gemma3": "GemmaTokenizer", "gemma3_text": "GemmaTokenizer",
	"gemma3n": "GemmaTokenizer", "gemma3n_text": "GemmaTokenizer", "recurrent_gemma": "GemmaTokenizer",
	"gpt2": "GPT2Tokenizer", "gpt_neo": "GPT2Tokenizer", "gptj": "GPT2Tokenizer", "phi": "GPT2Tokenizer",
	"starcoder2": "GPT2Tokenizer", "opt": "GPT2Tokenizer", "codegen": "GPT2Tokenizer", "dbrx": "GPT2Tokenizer",
	"jais2": "GPT2Tokenizer", "gpt_neox": "GPTNeoXTokenizer", "olmo": "GPTNeoXTokenizer", "olmoe": "GPTNeoXTokenizer",
	"mpt": "GPTNeoXTokenizer", "mamba": "GPTNeoXTokenizer", "mamba2": "GPTNeoXTokenizer",
	"falcon_mamba": "GPTNeoXTokenizer", "rwkv": "GPTNeoXTokenizer", "xlstm": "GPTNeoXTokenizer",
	"cohere": "CohereTokenizer", "cohere2": "CohereTokenizer", "aya_vision": "CohereTokenizer",
	"code_llama": "CodeLlamaTokenizer", "idefics": "LlamaTokenizer", "idefics2": "LlamaTokenizer",
	"qwen2": "Qwen2Tokenizer", "qwen2_moe": "Qwen2Tokenizer", "qwen2_vl": "Qwen2Tokenizer",
	"qwen2_5_vl": "Qwen2Tokenizer", "qwen2_audio": "Qwen2Tokenizer", "qwen2_5_omni": "Qwen2Tokenizer",
	"qwen3": "Qwen2Tokenizer", "qwen3_moe": "Qwen2Tokenizer", "qwen3_next": "Qwen2Tokenizer",
	"qwen3_vl": "Qwen2Tokenizer", "qwen3_vl_moe": "Qwen2Tokenizer", "qwen3_omni_moe": "Qwen2Tokenizer",
	"internvl": "Qwen2Tokenizer", "qwen3_5": "Qwen3_5Tokenizer", "qwen3_5_moe": "Qwen3_5Tokenizer",
	"qwen3_5_text": "Qwen3_5Tokenizer", "qwen3_5_moe_text": "Qwen3_5Tokenizer",
}

// asIsModels are the models that transformers 5 gives the tokenizer of tokenizer.json as it
// is, unless their files name no class.
var asIsModels = strings.Fields(`
ernie4_5 ernie4_5_moe flex_olmo glm glm4 glm4_moe glm4_moe_lite glm4v gpt_bigcode granite granitemoe granitemoehybrid
granitemoeshared kimi_linear mimo_v2_flash ministral ministral3 mistral mistral3 mixtral olmo2 olmo3 olmo_hybrid
persimmon pixtral stablelm voxtral arctic chatlm fuyu h2ovl_chat hyperclovax internlm2 internlm3 iquestcoder jamba
llava llava_next minicpm3 minicpmv minimax_m2 modernbert-decoder molmo molmo2 nemotron nvfp4 opencua openvla
paddleocr_vl phi3 phi3_v phimoe step3_vl vipllava smolvlm`)

// wrongClass are the models whose files are known to name a wrong class.
var wrongClass = strings.Fields(`
arctic chatlm ernie4_5 ernie4_5_moe fuyu h2ovl_chat hyperclovax internlm2 internlm3 iquestcoder jamba llava llava_next
minicpm3 minicpmv minimax_m2 modernbert-decoder molmo molmo2 nemotron nvfp4 opencua openvla paddleocr_vl phi3 phi3_v
phimoe qwen2 qwen3_5 qwen3_5_moe qwen3_5_moe_text step3_vl vipllava smolvlm`)

// llama4Classes are the classes of models in transformers 4 whose files name none, where
// these obey add_bos_token and add_eos_token.
var llama4Classes = map[string]string{
	"llama": "LlamaTokenizer", "mistral": "LlamaTokenizer", "mixtral": "LlamaTokenizer",
}

// class chooses the class as AutoTokenizer of transformers 5 does. byteLevel says that
// tokenizer.json names ByteLevel somewhere.
func (c *config) class(byteLevel bool) (class, error) {
	declared := strings.TrimSuffix(c.text("tokenizer_class"), "Fast")
	if declared == "" {
		declared = strings.TrimSuffix(c.hubClass, "Fast")
	}
	name := asIs[0]
	if c.isModel {
		name = c.className(declared, byteLevel)
	}
	k := class{name: name}
	for _, known := range classes {
		if known.name == name {
			k = known
		}
	}
	if slices.Contains(otherClasses, name) {
		return k, fmt.Errorf("tokenizer_class %s is not supported: "+
			"--ignore-config tokenizer_class takes tokenizer.json as it is", name)
	}
	if c.ownProgram() && k.rebuild == nil && !slices.Contains(asIs, declared) && c.registered() == "" {
		return k, c.unknown("auto_map", "the tokenizer is a program of the model")
	}
	if declared == "" {
		declared = llama4Classes[c.modelType]
	}
	for _, known := range classes {
		k.obeys = k.obeys || known.name == declared && known.obeys
	}
	return k, nil
}

// ownProgram reports whether the model brings a tokenizer that is a program.
func (c *config) ownProgram() bool {
	return !c.isNull("auto_map") && strings.Contains(string(c.values["auto_map"]), "AutoTokenizer")
}

// registered is the class of the model, or an empty string if transformers 5 has none.
func (c *config) registered() string {
	if slices.Contains(asIsModels, c.modelType) {
		return asIs[0]
	}
	return classOfModel[c.modelType]
}

// className returns the name of the class, without "Fast".
func (c *config) className(declared string, byteLevel bool) string {
	registered := c.registered()
	if declared == "" && registered == "" {
		return asIs[0]
	}
	if declared == "" || declared == registered {
		return registered
	}
	if !c.ownProgram() {
		wrong := slices.Contains(wrongClass, c.modelType)
		switch {
		case declared == "LlamaTokenizer" && byteLevel && !wrong:
			return asIs[0]
		case registered == asIs[0] || registered != "" && wrong:
			return registered
		}
	}
	known := slices.ContainsFunc(classes, func(k class) bool { return k.name == declared })
	if !known && !slices.Contains(otherClasses, declared) {
		return asIs[0]
	}
	return declared
}

// byteLevelNode is the pre-tokenizer ByteLevel.
func byteLevelNode(prefixSpace, split bool) *node {
	return &node{Type: "ByteLevel", AddPrefixSpace: &prefixSpace, UseRegex: &split}
}

// sequence is a sequence of pre-tokenizers.
func sequence(list ...*node) *node { return &node{Type: "Sequence", PreTokenizers: list} }

// spmDecoder is the decoder of vocabularies with ▁ for spaces. With strip, it drops a
// space at the beginning.
func spmDecoder(strip bool) *node {
	spaces := &node{Type: "Replace", Content: " "}
	spaces.Pattern.String = "▁"
	list := []*node{spaces, {Type: "ByteFallback"}, {Type: "Fuse"}}
	if strip {
		list = append(list, &node{Type: "Strip", Content: " ", Start: 1})
	}
	return &node{Type: "Sequence", Decoders: list}
}

func rebuildLlama(f *file, c *config) {
	scheme := "never"
	if c.flag("add_prefix_space", true) {
		scheme = "first"
		if c.flag("legacy", false) {
			scheme = "always"
		}
	}
	f.metaspace(scheme)
	f.Decoder = spmDecoder(scheme != "never")
}

func rebuildCodeLlama(f *file, c *config) {
	scheme := "never"
	if c.flag("add_prefix_space", true) {
		scheme = "first"
	}
	f.metaspace(scheme)
	f.setUnk(c, "<unk>")
	f.Decoder = spmDecoder(true)
}

// metaspace gives the file a pre-tokenizer that writes ▁ for spaces, with byte fallback.
func (f *file) metaspace(scheme string) {
	split := false
	f.PreTokenizer = &node{Type: "Metaspace", Replacement: "▁", PrependScheme: &scheme, Split: &split}
	f.Model.FuseUnk = true
	f.Model.ByteFallback = true
}

// setUnk sets the unknown token to that of the configuration, or else to a default.
func (f *file) setUnk(c *config, missing string) {
	if raw, given := c.values["unk_token"]; given && !isSet(raw) {
		missing = "None" // the text of Python's null
	} else if t, err := parseToken(raw); err == nil && given {
		missing = t.Content
	}
	f.Model.UnkToken = &missing
}

func rebuildGemma(f *file, c *config) {
	f.Normalizer = &node{Type: "Replace", Content: "▁"}
	f.Normalizer.Pattern.String = " "
	f.Model.FuseUnk = true
	f.Model.ByteFallback = true
	f.setUnk(c, "<unk>")
	f.Decoder = spmDecoder(false)
}

func rebuildQwen(pattern string) func(*file, *config) {
	return func(f *file, c *config) {
		split := &node{Type: "Split", Behavior: "Isolated"}
		split.Pattern.Regex = pattern
		f.Normalizer = &node{Type: "NFC"}
		f.PreTokenizer = sequence(split, byteLevelNode(c.flag("add_prefix_space", false), false))
		f.Decoder = &node{Type: "ByteLevel"}
	}
}

func rebuildGPT2(normalizer *node) func(*file, *config) {
	return func(f *file, c *config) {
		f.Normalizer = normalizer
		f.PreTokenizer = byteLevelNode(c.flag("add_prefix_space", false), true)
		f.Decoder = &node{Type: "ByteLevel"}
	}
}

func rebuildCohere(f *file, c *config) {
	f.Normalizer = &node{Type: "NFC"}
	f.PreTokenizer = sequence(&node{Type: "Digits", Individual: true}, byteLevelNode(c.flag("add_prefix_space", false), true))
	f.Decoder = &node{Type: "ByteLevel"}
}
