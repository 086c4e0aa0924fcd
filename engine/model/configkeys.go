package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/internal/words"
)

// A keyTable lists keys of a configuration that may be left unread: nil stands for any
// value, a list for the values that say what is done anyway. Numbers are float64.
type keyTable map[string][]any

// anyValue returns a table in which the keys may have any value.
func anyValue(keys ...string) keyTable {
	t := keyTable{}
	for _, k := range keys {
		t[k] = nil
	}
	return t
}

// and returns the table with the entries of another one.
func (t keyTable) and(more keyTable) keyTable {
	t = maps.Clone(t)
	maps.Copy(t, more)
	return t
}

// harmless reports whether a key may be left unread.
func (t keyTable) harmless(key string, v any) bool {
	values, known := t[key]
	return known && (values == nil || slices.ContainsFunc(values, func(x any) bool { return sameValue(x, v) }))
}

// sameValue compares a value of a keyTable with a value of a JSON file.
func sameValue(want, v any) bool {
	if n, ok := v.(json.Number); ok {
		x, err := n.Float64()
		return err == nil && want == x
	}
	switch v.(type) {
	case []any, map[string]any:
		return false
	}
	return want == v
}

// generationKeys are the parameters of generate in transformers, in generation_config.json
// and, in older models, in config.json. Only the tokens that end a reply are read:
// replies are sampled as the user asks, with --temperature and --seed.
var generationKeys = anyValue(
	"assistant_confidence_threshold", "assistant_early_exit", "assistant_ensemble_weight", "assistant_lookbehind", "bad_words_ids", "begin_suppress_tokens",
	"bos_token_id", "cache_config", "cache_implementation", "compile_config", "constraints", "continuous_batching_config", "decoder_start_token_id",
	"disable_compile", "diversity_penalty", "do_sample", "dola_layers", "early_stopping", "encoder_no_repeat_ngram_size", "encoder_repetition_penalty",
	"epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "force_words_ids", "forced_bos_token_id", "forced_decoder_ids", "forced_eos_token_id",
	"generation_kwargs", "guidance_scale", "is_assistant", "length_penalty", "low_memory", "max_cache_len", "max_length", "max_matching_ngram_size",
	"max_new_tokens", "max_time", "min_length", "min_new_tokens", "min_p", "no_repeat_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule",
	"num_beam_groups", "num_beams", "num_return_sequences", "output_attentions", "output_hidden_states", "output_logits", "output_scores", "pad_token_id",
	"penalty_alpha", "prefill_chunk_size", "prompt_lookup_num_tokens", "remove_invalid_values", "renormalize_logits", "repetition_penalty",
	"return_dict_in_generate", "return_legacy_cache", "sequence_bias", "speculation_type", "stop_strings", "suppress_tokens", "target_lookbehind",
	"temperature", "token_healing", "top_h", "top_k", "top_p", "transformers_version", "trust_remote_code", "typical_p", "use_cache", "use_mtp",
	"watermarking_config", "_from_model_config", "chat_format", "max_window_size",
)

// hubIgnored lists the keys of config.json that may be left unread in every family:
// transformers ignores them when it computes logits, or they have the value that says
// what is done anyway.
var hubIgnored = anyValue(
	// What the files are and how they are loaded.
	"_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_experts_implementation", "_flash_attn_2_enabled", "_name_or_path",
	"_pre_quantization_dtype", "architectures", "attn_implementation", "auto_map", "dtype", "experts_implementation", "flash_attn", "is_llama_config",
	"model_name", "model_type", "name_or_path", "tokenizer_class", "torch_dtype", "torchscript", "transformers.js_config", "transformers_version",
	"unsloth_fixed", "unsloth_version", "use_bfloat16", "use_flash_attn", "use_flash_attn_2", "use_flash_attention", "use_flash_attention_2",
	"use_fused_rms_norm", "use_fused_cross_entropy", "fused_attn", "onnx", "neuron", "tie_last_hidden_states",
	// Training.
	"attention_dropout", "attention_dropout_prob", "attention_probs_dropout_prob", "attn_pdrop", "classifier_dropout", "embd_pdrop", "embedding_dropout",
	"gradient_checkpointing", "hidden_dropout", "hidden_dropout_prob", "init_method", "initializer_factor", "initializer_range", "output_router_logits",
	"resid_pdrop", "residual_dropout", "router_aux_loss_coef", "router_jitter_noise", "pretraining_tp", "sequence_parallel", "z_loss_coefficient",
	// Other tasks and outputs than those of a decoder.
	"cls_token_id", "finetuning_task", "id2label", "label2id", "mask_token_id", "num_labels", "prefix", "problem_type", "return_dict", "sep_token_id",
	"task_specific_params", "tf_legacy_loss", "unk_token_id", "use_return_dict", "chunk_size_feed_forward",
	// Lengths that transformers does not read.
	"max_sequence_length", "max_seq_len", "max_seq_length", "model_max_length", "n_ctx", "seq_length", "seq_len", "tokenizer_model_max_length", "training_seq_len",
	// Windows that the family does not have, or that use_sliding_window turns off.
	"max_window_layers", "sliding_window",
	// The bases and parts of rotations without a scaling, where the rotation's object states them.
	"rope_theta", "partial_rotary_factor", "original_max_position_embeddings",
).and(generationKeys).and(keyTable{
	"add_cross_attention":         {false},
	"attention_bias":              {false},
	"attention_out_bias":          {false},
	"bias":                        {false},
	"cross_attention_hidden_size": {},
	"is_causal":                   {true},
	"is_decoder":                  {true},
	"is_encoder_decoder":          {false},
	"lm_head_bias":                {false},
	"mlp_bias":                    {false},
	"parallel_attn":               {false},
	"position_embedding_type":     {"rope"},
	"qk_layernorm":                {false},
	"rope_interleaved":            {false},
	"scale_attn_weights":          {true},
	"tie_encoder_decoder":         {false},
	"use_bidirectional_attention": {false},
	"use_cross_attention":         {false},
	"use_mrope":                   {false},
	"use_qk_norm":                 {false},
	"use_sliding_window":          {false},
})

// emptyValues lists keys that may be left unread if their list or object is empty.
var emptyValues = []string{"pruned_heads", "quantization_config", "rope_parameters", "rope_scaling", "layer_types", "per_layer_config", "mlp_only_layers"}

// checkKeys returns an error that names all keys of a configuration, in alphabetical
// order, that are set, were not read and are not known to change nothing. Keys that say
// that the model is not a causal decoder come before all others.
func (f *fields) checkKeys(tables ...keyTable) error {
	if f.err != nil {
		return f.err
	}
	var unknown []string
	for _, key := range slices.Sorted(maps.Keys(f.values)) {
		v := f.values[key]
		if v == nil || f.asked[key] || isEmpty(v) && slices.Contains(emptyValues, key) {
			continue
		}
		if slices.ContainsFunc(tables, func(t keyTable) bool { return t.harmless(key, v) }) {
			continue
		}
		path := f.within + key
		switch key {
		case "use_bidirectional_attention", "is_causal", "is_decoder":
			return fmt.Errorf("%s: %s is %s: queries see later keys, and only causal attention is recorded; --ignore-config %s runs the model causally",
				f.source, path, jsonText(v), path)
		case "is_encoder_decoder", "add_cross_attention", "use_cross_attention":
			return fmt.Errorf("%s: %s is %s: only decoders are supported", f.source, path, jsonText(v))
		}
		unknown = append(unknown, key)
	}
	if unknown == nil {
		return nil
	}
	text := func(key string) string { return jsonText(f.values[key]) }
	return fmt.Errorf("%s: %s", f.source, notUnderstood(f.within, unknown, text, "in a "+f.family+" model and may change what it computes"))
}

func isEmpty(v any) bool {
	switch x := v.(type) {
	case []any:
		return len(x) == 0
	case map[string]any:
		return len(x) == 0
	}
	return false
}

// notUnderstood says that keys, within an object, are not understood, and how to go on
// without them.
func notUnderstood(within string, keys []string, text func(key string) string, where string) string {
	var values, paths []string
	for _, key := range keys {
		values = append(values, within+key+" is "+text(key))
		paths = append(paths, within+key)
	}
	return fmt.Sprintf("%s, which %s not understood %s; --ignore-config %s goes on without %s",
		strings.Join(values, ", "), words.Plural(len(keys), "is", "are"), where, strings.Join(paths, ","), words.Plural(len(keys), "it", "them"))
}

// jsonText returns a value of a JSON file for an error.
func jsonText(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	if len(text) > 80 {
		return strings.ToValidUTF8(string(text[:80]), "") + "..."
	}
	return string(text)
}

// An ignorer leaves out the keys that the user wants to be ignored.
type ignorer struct {
	keys []string
	used map[string]bool
}

// without returns the values except those to be ignored. The keys of an object within
// are named with a dot, as in rope_scaling.factor.
func (g *ignorer) without(values map[string]any) map[string]any {
	for _, key := range g.keys {
		if _, given := values[key]; given {
			values = maps.Clone(values)
			delete(values, key)
			g.used[key] = true
			continue
		}
		outer, inner, _ := strings.Cut(key, ".")
		object, ok := values[outer].(map[string]any)
		if _, given := object[inner]; ok && given {
			object = maps.Clone(object)
			delete(object, inner)
			values = maps.Clone(values)
			values[outer] = object
			g.used[key] = true
		}
	}
	return values
}

// checkGeneration checks the keys of generation_config.json, and returns the tokens
// that end a reply; nil if it states none.
func checkGeneration(ck *checkpoint.Checkpoint, ignore *ignorer) ([]int32, error) {
	g := &fields{
		source: ck.Path() + "/generation_config.json", values: ignore.without(ck.Generation()), family: "supported", asked: map[string]bool{},
	}
	ids := g.ids("eos_token_id")
	return ids, g.checkKeys(generationKeys)
}

// wrappers lists the model_types of models with more than a decoder whose decoder,
// under text_config, is causal, and how they tie the decoder's output projection.
var wrappers = map[string]tieRule{
	"aya_vision": {byDefault: true}, "gemma3": {byDefault: true}, "gemma3n": {byDefault: true}, "gemma4": {byDefault: true}, "gemma4_unified": {byDefault: true}, "llama4": {inner: true}, "got_ocr2": {byDefault: true}, "internvl": {byDefault: true}, "kimi_k25": {byDefault: true}, "mistral3": {byDefault: true},
	"qwen2_5_vl": {inner: true}, "qwen3_vl": {}, "qwen3_5": {}, "qwen3_5_moe": {}, "lfm2_vl": {byDefault: true}, "llava": {inner: true}, "llava_onevision": {inner: true}, "llava_next": {}, "llava_next_video": {}, "video_llava": {}, "vipllava": {},
}

// flat lists the wrappers whose configurations may have the fields of the decoder, whose
// model_type ends in _text, beside those of the whole model.
var flat = map[string]bool{"qwen2_5_vl": true}

// A tieRule says whether the output projection of a wrapped decoder is the embedding
// matrix if the wrapper's tie_word_embeddings is missing, and whether that of
// text_config counts too.
type tieRule struct{ byDefault, inner bool }

// decoderConfig returns the fields of the decoder. Of a model with more parts, they are
// those of text_config, with the wrapper's tie_word_embeddings.
func decoderConfig(source string, values map[string]any) (*fields, error) {
	f := &fields{source: source, values: values, asked: map[string]bool{}}
	text, ok := values["text_config"].(map[string]any)
	if !ok {
		if flat[f.text("model_type", "")] {
			f.values = maps.Clone(values)
			f.values["model_type"] = values["model_type"].(string) + "_text"
		}
		return f, f.err
	}
	outer := f.text("model_type", "")
	rule, known := wrappers[outer]
	if f.err == nil && !known {
		f.err = &FamilyError{fmt.Sprintf("%s: model_type %q has a text_config, and is not a supported model around a decoder; these are: %s",
			source, outer, strings.Join(slices.Sorted(maps.Keys(wrappers)), ", "))}
	}
	inner := &fields{source: source, values: maps.Clone(text), within: "text_config.", asked: map[string]bool{}}
	tied := f.flag("tie_word_embeddings", rule.byDefault)
	if rule.inner {
		tied = tied || inner.flag("tie_word_embeddings", false)
	}
	if _, given := values["tie_word_embeddings"]; given || text["tie_word_embeddings"] != nil {
		inner.values["tie_word_embeddings"] = tied
	}
	for key, v := range values { // older files have the tokens outside
		if _, given := text[key]; !given && strings.HasSuffix(key, "os_token_id") {
			inner.values[key] = v
		}
	}
	for _, key := range []string{"use_bidirectional_attention", "is_causal", "is_encoder_decoder"} {
		if v, given := values[key]; given && v != nil {
			inner.values[key] = v
		}
	}
	return inner, f.err
}
