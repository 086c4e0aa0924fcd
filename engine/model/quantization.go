package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// A method reads what quantization_config says about one way of coding weights.
type method struct {
	ignored keyTable // keys that may be left unread
	read    func(f *fields, q *checkpoint.Quantization)
}

// methods lists what is read for each method, with the keys that change nothing: which
// layers are quantized, the tensors tell; inputs are computed with as they are; the rest
// says how the weights were quantized, or how other programs load them.
var methods = map[checkpoint.Method]method{
	checkpoint.FP8: {
		ignored: anyValue("activation_scheme", "modules_to_not_convert", "ignored_layers", "modules_to_convert", "dequantize", "scale_fmt",
			"is_checkpoint_fp8_serialized").and(keyTable{"expert_dtype": {"fp8"}}),
		read: func(f *fields, q *checkpoint.Quantization) {
			f.oneOf("fmt", "e4m3", "e4m3", "float8_e4m3fn", "e5m2")
			q.Block = f.block("weight_block_size")
		},
	},
	checkpoint.FBGEMM: {ignored: anyValue("activation_scale_ub", "modules_to_not_convert")},
	checkpoint.MXFP4:  {ignored: anyValue("modules_to_not_convert", "dequantize")},
	checkpoint.GPTQ: {
		ignored: anyValue("desc_act", "act_group_aware", "sym", "true_sequential", "damp_percent", "damp_auto_increment", "static_groups", "model_name_or_path",
			"model_file_base_name", "quantizer", "meta", "backend", "tokenizer", "dataset", "model_seqlen", "block_name_to_quantize", "lm_head",
			"module_name_preceding_first_block", "batch_size", "pad_token_id", "use_cuda_fp16", "max_input_length", "cache_block_outputs",
			"modules_in_block_to_quantize", "modules_to_not_convert", "use_exllama", "disable_exllama", "exllama_config", "offload_to_disk", "mse",
		).and(keyTable{"is_marlin_format": {false}, "pack_dtype": {"int32"}, "rotation": {}, "adapter": {}}),
		read: func(f *fields, q *checkpoint.Quantization) {
			q.Bits = f.bits(2, 3, 4, 8)
			q.Group = f.group()
			format := f.oneOf("format", "gptq", "gptq", "gptq_v2")
			q.LessOne = f.oneOf("checkpoint_format", format, "gptq", "gptq_v2") == "gptq"
			f.noneIn("dynamic", "other settings for some layers")
		},
	},
	checkpoint.AWQ: {
		ignored: anyValue("modules_to_not_convert", "backend", "do_fuse", "fuse_max_seq_len", "modules_to_fuse", "exllama_config", "q_group_size",
			"desc_act", "act_group_aware", "sym", "true_sequential", "damp_percent", "tokenizer", "dataset", "model_seqlen", "meta", "zero_point",
			"block_name_to_quantize", "module_name_preceding_first_block", "batch_size", "pad_token_id", "max_input_length", "cache_block_outputs",
			"modules_in_block_to_quantize"),
		read: func(f *fields, q *checkpoint.Quantization) {
			if _, given := f.get("w_bit"); given {
				f.aliases = map[string]string{"bits": "w_bit"}
			}
			q.Bits = f.bits(4)
			q.Group = f.group()
			f.oneOf("format", "gemm", "gemm", "GEMM")
			f.oneOf("version", "gemm", "gemm", "GEMM")
		},
	},
	checkpoint.CompressedTensors: {
		ignored: anyValue("ignore", "quantization_status", "global_compression_ratio", "version", "run_compressed").
			and(keyTable{"kv_cache_scheme": {}, "moe_sparsity_config": {}}),
		read: readCompressed,
	},
	checkpoint.ModelOpt: {
		ignored: anyValue("config_groups", "ignore", "exclude_modules", "producer").and(keyTable{"kv_cache_scheme": {}, "kv_cache_quant_algo": {}, "group_size": {16.0}}),
		read: func(f *fields, q *checkpoint.Quantization) {
			q.Kind = f.oneOf("quant_algo", "", "NVFP4")
			q.Group = 16
		},
	},
	checkpoint.BitsAndBytes: {
		ignored: anyValue("llm_int8_threshold", "llm_int8_skip_modules", "llm_int8_enable_fp32_cpu_offload", "bnb_4bit_compute_dtype",
			"bnb_4bit_use_double_quant", "bnb_4bit_quant_storage").and(keyTable{"llm_int8_has_fp16_weight": {false}}),
		read: func(f *fields, q *checkpoint.Quantization) {
			inEight := f.flag("load_in_8bit", false)
			inFour := f.flag("load_in_4bit", false)
			f.flag("_load_in_8bit", false)
			f.flag("_load_in_4bit", false)
			kind := f.oneOf("bnb_4bit_quant_type", "fp4", "fp4", "nf4")
			switch {
			case inEight == inFour:
				f.bad("load_in_8bit", inEight, "exactly one of load_in_8bit and load_in_4bit to be true")
			case inEight:
				q.Kind = "int8"
			default:
				q.Kind = kind
			}
		},
	},
}

// assemble reads quantization_config, if there is one, and makes the weights of the
// checkpoint from the tensors that code them.
func assemble(ck *checkpoint.Checkpoint, decoder *fields, ignore *ignorer) error {
	values := ignore.without(ck.Config())
	within := ""
	const key = "quantization_config"
	object, _ := values[key].(map[string]any)
	if v, given := values[key]; !given || v == nil { // else it is that of the whole model
		within = decoder.within
		if v := decoder.values[key]; v != nil {
			object, _ = v.(map[string]any)
		}
	}
	decoder.asked[key] = true
	if v := decoder.values[key]; v != nil && object == nil {
		decoder.bad(key, v, "an object")
		return decoder.err
	}
	if len(object) == 0 {
		return nil
	}
	f := &fields{source: decoder.source, values: object, within: within + key + ".", asked: map[string]bool{}}
	q, err := readQuantization(f)
	if err != nil {
		return err
	}
	for _, key := range []string{"torch_dtype", "dtype"} {
		if name, _ := values[key].(string); ck.HeadersOnly() && q.Method == checkpoint.BitsAndBytes && name != "" {
			q.DType = checkpoint.TorchTypes[name]
		}
	}
	return ck.Assemble(q)
}

// readQuantization reads the fields of quantization_config.
func readQuantization(f *fields) (checkpoint.Quantization, error) {
	name := f.text("quant_method", "")
	if name == "" && (f.values["load_in_8bit"] != nil || f.values["load_in_4bit"] != nil) {
		name = string(checkpoint.BitsAndBytes) // whose older files do not say it
	}
	q := checkpoint.Quantization{Method: checkpoint.Method(name)}
	m, known := methods[q.Method]
	if f.err == nil && !known {
		return q, fmt.Errorf("%s: quantization_config of method %q is not supported; these are: %s; unquantized weights of type %s and GGUF files are supported, too",
			f.source, name, joined(checkpoint.Methods), strings.Join(tensor.FloatTypes(), ", "))
	}
	f.family = name + " quantized"
	if f.err == nil && m.read != nil {
		m.read(f, &q)
	}
	return q, f.checkKeys(m.ignored)
}

// joined joins words with commas.
func joined[T ~string](words []T) string {
	list := make([]string, len(words))
	for i, w := range words {
		list[i] = string(w)
	}
	return strings.Join(list, ", ")
}

// oneOf reads one of some words, or returns def.
func (f *fields) oneOf(name, def string, words ...string) string {
	s := f.text(name, def)
	if !slices.Contains(words, s) {
		f.bad(f.within+name, fmt.Sprintf("%q", s), strings.Join(words, " or "))
	}
	return s
}

// bits reads the number of bits of integers.
func (f *fields) bits(allowed ...int) int {
	n := f.count("bits", 4, 1)
	if !slices.Contains(allowed, n) {
		f.bad(f.within+"bits", n, strings.Trim(fmt.Sprint(allowed), "[]"))
		return allowed[0]
	}
	return n
}

// group reads the number of inputs that share a scale; 0 stands for all inputs.
func (f *fields) group() int {
	n := f.number("group_size", 128)
	if n == -1 {
		return 0
	}
	return f.count("group_size", 128, 1)
}

// block reads the size of the blocks that share a scale.
func (f *fields) block(name string) tensor.Block {
	v, ok := f.get(name)
	if !ok {
		return tensor.Block{}
	}
	if list, ok := v.([]any); !ok || len(list) != 2 {
		f.bad(f.within+name, jsonText(v), "two whole numbers")
		return tensor.Block{}
	}
	n := f.floats(name, 2)
	if f.err == nil && (n[0] < 1 || n[1] < 1 || n[0] != float64(int32(n[0])) || n[1] != float64(int32(n[1]))) {
		f.bad(f.within+name, jsonText(v), "two whole numbers")
	}
	if f.err != nil {
		return tensor.Block{}
	}
	return tensor.Block{Rows: int(n[0]), Cols: int(n[1])}
}

// noneIn reports an object that is not empty; what says what it would mean.
func (f *fields) noneIn(name, what string) {
	if v, ok := f.get(name); ok && !isEmpty(v) {
		f.bad(f.within+name, jsonText(v), "nothing: "+what+" are not supported")
	}
}

// compressedFormats lists the formats of compressed-tensors that are read.
var compressedFormats = []string{
	"pack-quantized", "int-quantized", "float-quantized", "naive-quantized", checkpoint.NVFP4, checkpoint.MXFP4Packed,
}

// fp4Groups has the inputs that share a scale in the formats with floats of 4 bits.
var fp4Groups = map[string]int{checkpoint.NVFP4: 16, checkpoint.MXFP4Packed: 32}

// readCompressed reads the configuration of compressed-tensors: one format, and groups
// of layers whose weights are quantized alike.
func readCompressed(f *fields, q *checkpoint.Quantization) {
	q.Kind = f.oneOf("format", "", compressedFormats...)
	f.noneIn("transform_config", "transforms")
	sparsity := f.object("sparsity_config")
	if sparsity != nil && len(sparsity.values) > 0 {
		sparsity.within = f.within + "sparsity_config."
		sparsity.oneOf("format", "dense", "dense")
		f.take(sparsity)
	}
	groups := f.object("config_groups")
	if groups == nil || len(groups.values) == 0 {
		f.bad(f.within+"config_groups", "missing", "the settings of at least one group of layers")
		return
	}
	for i, name := range slices.Sorted(maps.Keys(groups.values)) {
		own := *q
		scheme := groups.object(name)
		f.take(groups)
		if f.err != nil {
			return
		}
		scheme.within = f.within + "config_groups." + name + "."
		scheme.asked = map[string]bool{}
		scheme.family = f.family
		scheme.source = f.source
		readScheme(scheme, &own)
		f.keepNamed(scheme.err)
		if i > 0 && own != *q {
			f.bad(f.within+"config_groups."+name, "different from the first group", "the same settings of weights in all groups")
		}
		*q = own
	}
}

// schemeIgnored and weightsIgnored list the keys of a group of layers, and of the weights
// in it, that may be left unread.
var (
	schemeIgnored  = anyValue("targets", "input_activations").and(keyTable{"output_activations": {}})
	weightsIgnored = anyValue("symmetric", "observer", "observer_kwargs", "zp_dtype", "scale_dtype", "actorder", "strategy").and(keyTable{"dynamic": {false}})
)

// readScheme reads the settings of a group of layers.
func readScheme(f *fields, q *checkpoint.Quantization) {
	f.oneOf("format", q.Kind, q.Kind)
	w := f.object("weights")
	f.keepNamed(f.checkKeys(schemeIgnored))
	if w == nil || f.err != nil {
		f.bad(f.within+"weights", "missing", "the settings of weights")
		return
	}
	w.within = f.within + "weights."
	w.asked = map[string]bool{}
	w.family = f.family
	w.source = f.source
	q.Bits = w.count("num_bits", 8, 1)
	kind := w.oneOf("type", "int", "int", "float")
	if want := fp4Groups[q.Kind]; want > 0 {
		if q.Group = w.group(); q.Bits != 4 || kind != "float" || q.Group != want {
			w.bad(w.within+"num_bits", fmt.Sprintf("%d of type %s in groups of %d", q.Bits, kind, q.Group), fmt.Sprintf("4 of type float in groups of %d", want))
		}
		f.keepNamed(w.checkKeys(weightsIgnored))
		return
	}
	if q.Bits > 8 || q.Bits < 8 && q.Kind != "pack-quantized" || kind == "float" && q.Kind == "pack-quantized" {
		w.bad(w.within+"num_bits", fmt.Sprintf("%d of type %s", q.Bits, kind), "8, or up to 8 bits of type int in the format pack-quantized")
	}
	if _, given := w.get("group_size"); given {
		q.Group = w.group()
	}
	q.Block = w.block("block_structure")
	f.keepNamed(w.checkKeys(weightsIgnored))
}

// keepNamed keeps an error that names its place already.
func (f *fields) keepNamed(err error) {
	if f.err == nil {
		f.err = err
	}
}
