package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// ggufSplits are the pre-tokenisers that GGUF files name by tokenizer.ggml.pre.
var ggufSplits = map[string][]splitter{
	"default": {splitGPT2}, "gpt-2": {splitGPT2}, "smollm": {splitDigits, splitGPT2},
	"llama-bpe": {func(s string, e func(string)) { splitCL100K(s, 3, e) }},
	"llama3":    {func(s string, e func(string)) { splitCL100K(s, 3, e) }},
	"qwen2":     {func(s string, e func(string)) { splitCL100K(s, 1, e) }},
}

// Token types of GGUF files.
const (
	ggufControl     = 3
	ggufUserDefined = 4
)

// fromGGUF reads the tokenizer that stands in a GGUF file's metadata.
func fromGGUF(path string, meta map[string]any) (*Tokenizer, error) {
	kind, _ := meta["tokenizer.ggml.model"].(string)
	if kind == "" {
		return nil, fmt.Errorf("%s: no tokenizer.ggml.model in its metadata: %w", path, ErrNoTokenizer)
	}
	if kind != "gpt2" {
		return nil, fmt.Errorf("%s: tokenizer.ggml.model %q is not supported; gpt2 (byte-level BPE) is", path, kind)
	}
	pre, _ := meta["tokenizer.ggml.pre"].(string)
	if pre == "" {
		pre = "default"
	}
	splits, ok := ggufSplits[pre]
	if !ok {
		return nil, fmt.Errorf("%s: tokenizer.ggml.pre %q is not supported", path, pre)
	}
	t := newTokenizer()
	t.source, t.byteLevel, t.splits = path, true, splits
	if pre == "llama-bpe" || pre == "llama3" {
		t.ignoreMerges = true
	}
	tokens, types, merges := texts(meta["tokenizer.ggml.tokens"]), numbers(meta["tokenizer.ggml.token_type"]), texts(meta["tokenizer.ggml.merges"])
	h := sha256.New()
	vocab := make(map[string]int32, len(tokens))
	var special []added
	for i, s := range tokens {
		fmt.Fprintf(h, "%d %q\n", i, s)
		vocab[s] = int32(i)
		if i < len(types) && (types[i] == ggufControl || types[i] == ggufUserDefined) {
			special = append(special, added{ID: int32(i), Content: s, Special: types[i] == ggufControl})
		}
	}
	fmt.Fprintf(h, "%q %s", merges, pre)
	t.sha256 = hex.EncodeToString(h.Sum(nil))
	if err := t.setVocab(vocab); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for i, line := range merges {
		a, b, _ := strings.Cut(line, " ")
		left, okA := vocab[a]
		right, okB := vocab[b]
		whole, okC := vocab[a+b]
		if !okA || !okB || !okC {
			return nil, fmt.Errorf("%s: merge %d, %q, is not in the vocabulary", path, i, line)
		}
		t.merges[pair{left, right}] = merge{int32(i), whole}
	}
	if err := t.addTokens(special); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, t.ggufSpecials(path, meta)
}

func (t *Tokenizer) ggufSpecials(path string, meta map[string]any) error {
	id := func(name string) int32 {
		if v, ok := meta[name].(uint64); ok && v < uint64(len(t.pieces)) {
			return int32(v)
		}
		return -1
	}
	t.bos, t.eos = id("tokenizer.ggml.bos_token_id"), id("tokenizer.ggml.eos_token_id")
	if t.bos >= 0 {
		t.bosToken = t.pieces[t.bos]
		if add, _ := meta["tokenizer.ggml.add_bos_token"].(bool); add {
			t.before = []int32{t.bos}
		}
	}
	if t.eos >= 0 {
		t.eosToken = t.pieces[t.eos]
	}
	if text, ok := meta["tokenizer.chat_template"].(string); ok {
		return t.setTemplate(path, text)
	}
	return nil
}

func texts(v any) []string {
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, x := range list {
		out[i], _ = x.(string)
	}
	return out
}

func numbers(v any) []int64 {
	list, _ := v.([]any)
	out := make([]int64, len(list))
	for i, x := range list {
		switch n := x.(type) {
		case int64:
			out[i] = n
		case uint64:
			out[i] = int64(n)
		}
	}
	return out
}
