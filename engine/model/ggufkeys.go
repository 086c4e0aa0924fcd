package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// ggufIgnored lists the keys of an architecture's namespace in GGUF metadata that may
// be left unread, without the architecture: nil stands for any value, a list for the
// values that say what is done anyway. All other keys must be read.
var ggufIgnored = map[string][]any{
	"vocab_size":                           nil, // the rows of the embeddings count, in llama.cpp too
	"pooling_type":                         nil, // of the output of embedding models
	"rope.scaling.finetuned":               nil, // whether the model was trained with the scaling that is stated
	"rope.scaling.original_context_length": nil, // of yarn and longrope, which read it
	"attention.layer_norm_epsilon":         nil, // a family reads that of its kind of norm
	"attention.layer_norm_rms_epsilon":     nil,
	"tensor_data_layout":                   {"Meta AI original pth", "jploski"},
	"attention.causal":                     {true},
	"attention.clamp_kqv":                  {0.0},
	"attention.max_alibi_bias":             {0.0},
	"attention.output_scale":               {0.0},
	"attention.scale":                      {0.0},
	"attention.shared_kv_layers":           {0.0},
	"attention.sliding_window":             {0.0},
	"attention.temperature_length":         {0.0},
	"attention.temperature_scale":          {0.0},
	"attn_logit_softcapping":               {0.0},
	"embedding_scale":                      {0.0, 1.0},
	"expert_count":                         {0.0},
	"expert_feed_forward_length":           {0.0},
	"expert_gating_func":                   {0.0, 1.0}, // 1 is softmax
	"expert_group_count":                   {0.0, 1.0},
	"expert_group_used_count":              {0.0, 1.0},
	"expert_shared_count":                  {0.0},
	"expert_shared_feed_forward_length":    {0.0},
	"expert_used_count":                    {0.0},
	"expert_weights_scale":                 {0.0, 1.0},
	"final_logit_softcapping":              {0.0},
	"interleave_moe_layer_step":            {0.0, 1.0},
	"leading_dense_block_count":            {0.0},
	"logit_scale":                          {0.0, 1.0},
	"moe_every_n_layers":                   {0.0, 1.0},
	"nextn_predict_layers":                 {0.0},
	"residual_scale":                       {0.0, 1.0},
	"rope.scale_linear":                    {0.0, 1.0},
	"rope.scaling.alpha":                   {0.0},
	"rope.scaling.attn_factor":             {1.0},
	"rope.scaling.factor":                  {0.0, 1.0},
	"rope.scaling.yarn_log_multiplier":     {0.0},
	"swin_norm":                            {false},
}

// ggufOtherParts lists the beginnings of keys of parts that are no decoder. Files of
// Ollama have them in the namespace of the decoder.
var ggufOtherParts = []string{"vision.", "audio.", "mm."}

// ggufTokenizer lists the keys of the tokenizer's namespace. The tokenizer reads those
// that it needs; the others concern tasks that are not done here, such as filling in the
// middle of a text.
var ggufTokenizer = []string{
	"model", "pre", "tokens", "token_type", "token_type_count", "scores", "merges",
	"bos_token_id", "eos_token_id", "eot_token_id", "eom_token_id", "unknown_token_id", "seperator_token_id", "separator_token_id",
	"padding_token_id", "cls_token_id", "mask_token_id", "add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix",
	"remove_extra_whitespaces", "escape_whitespaces", "precompiled_charsmap", "normalizer.lowercase",
	"prefix_token_id", "suffix_token_id", "middle_token_id",
	"fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id",
}

// checkMetadata returns an error that names all keys, in alphabetical order, that may
// change what the model computes and are not understood. Keys of other namespaces
// than the architecture's and the tokenizer's describe the file; llama.cpp does not
// read them for the decoder either.
func checkMetadata(f *fields) error {
	if f.err != nil {
		return f.err
	}
	if kind, given := f.values["general.type"]; given && kind != "model" {
		return fmt.Errorf("%s: general.type is %v, want model", f.source, kind)
	}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		if !f.asked[key] && !f.mayIgnore(key) {
			unknown = append(unknown, key)
		}
	}
	if unknown == nil {
		return nil
	}
	text := func(key string) string { return fmt.Sprint(shortValue(f.values[key])) }
	return fmt.Errorf("%s: metadata: %s", f.source, notUnderstood("", unknown, text, "and may change what the model computes"))
}

// mayIgnore reports whether a key of GGUF metadata that nothing has read changes
// nothing.
func (f *fields) mayIgnore(key string) bool {
	if name, ok := strings.CutPrefix(key, "tokenizer.ggml."); ok {
		return slices.Contains(ggufTokenizer, name)
	}
	name, own := strings.CutPrefix(key, f.prefix)
	if !own {
		return true
	}
	if slices.ContainsFunc(ggufOtherParts, func(part string) bool { return strings.HasPrefix(name, part) }) {
		return true
	}
	harmless, known := ggufIgnored[name]
	return known && (harmless == nil || slices.Contains(harmless, plainValue(f.values[key])))
}

// plainValue returns a value of GGUF metadata with every number as float64, and lists
// as their length, for comparisons.
func plainValue(v any) any {
	switch x := v.(type) {
	case uint64:
		return float64(x)
	case int64:
		return float64(x)
	case []any:
		return fmt.Sprintf("a list of %d", len(x))
	}
	return v
}

// shortValue returns a value of GGUF metadata for an error.
func shortValue(v any) any {
	if s, ok := v.(string); ok {
		return fmt.Sprintf("%.80q", s)
	}
	return plainValue(v)
}
