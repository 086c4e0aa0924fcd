package tokenizer

import (
	"os"
	"strings"
	"testing"
	"time"
)

const tinyTokenizer = `{"added_tokens":[{"id":5,"content":"<s>","special":true,
	"single_word":false,"lstrip":false,"rstrip":false,"normalized":false}],
"normalizer":null,"pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
"post_processor":null,"decoder":{"type":"ByteLevel"},
"model":{"type":"BPE","vocab":{"a":0,"b":1,"ab":2,"Ġ":3,"Ġab":4},"merges":["a b","Ġ ab"]}}`

// FuzzTokenizerJSON checks that a damaged tokenizer.json is an error, or a tokenizer that
// encodes and decodes without a panic.
func FuzzTokenizerJSON(f *testing.F) {
	f.Add([]byte(tinyTokenizer), "ab ab<s>c")
	f.Add([]byte(strings.Replace(tinyTokenizer, `"ByteLevel","add`, `"Digits","add`, 1)), "a1")
	f.Add([]byte(`{"model":{"type":"BPE","vocab":{},"merges":[]}}`), "x")
	for _, name := range []string{"unigram-always", "unigram-first", "bpe-plain"} {
		if data, err := os.ReadFile("testdata/json/" + name + "/tokenizer.json"); err == nil {
			f.Add(data, "the word <tool> ﬁ\t2")
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := fromJSON(data)
		if err != nil {
			return
		}
		ids, err := tok.TryEncode(text, true)
		if err != nil {
			return // out of time
		}
		for _, id := range ids {
			if id < 0 {
				t.Fatalf("%q gives id %d", text, id)
			}
		}
		_ = tok.Decode(ids, false)
		_ = tok.Ends(text, ids)
	})
}

// FuzzChatTemplate checks that a template renders or fails within its limits.
func FuzzChatTemplate(f *testing.F) {
	f.Add("{% for m in messages %}<|{{ m['role'] }}|>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}", "hi")
	f.Add("{{ raise_exception('no') }}", "x")
	f.Add("{% set ns = namespace(x=1) %}{{ ns.x }}{{ messages[0]['content']|trim|upper }}", " y ")
	f.Fuzz(func(t *testing.T, template, content string) {
		tok := newTokenizer()
		if tok.setTemplate("fuzz", template) != nil {
			return
		}
		start := time.Now()
		text, err := tok.ApplyChat(t.Context(), []Message{{"user", content}, {"assistant", "a"}}, true)
		if err == nil && len(text) > templateOutput {
			t.Errorf("%d bytes of output", len(text))
		}
		if d := time.Since(start); d > 3*templateTime {
			t.Errorf("took %s", d)
		}
	})
}

// FuzzModelFile checks that a damaged tokenizer.model is an error, or a tokenizer that
// encodes and decodes without a panic.
func FuzzModelFile(f *testing.F) {
	for _, name := range []string{"bpe-bytes", "bpe-rules", "unigram-bytes", "unigram-rules"} {
		data, err := os.ReadFile("testdata/spm/" + name + "/tokenizer.model")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, "the word <tool> ﬁ\t2")
	}
	f.Fuzz(func(t *testing.T, data []byte, text string) {
		tok, err := fromSPM(data)
		if err != nil {
			return
		}
		ids := tok.Encode(text, true)
		for _, id := range ids {
			if id < 0 || int(id) >= tok.VocabSize() {
				t.Fatalf("%q gives id %d of %d", text, id, tok.VocabSize())
			}
		}
		_ = tok.Decode(ids, false)
		_ = tok.Ends(text, ids)
	})
}

// FuzzByteLevel checks, for every pre-tokenizer of byte-level vocabularies, that the ids of
// a text decode to the text and that their ends cover it.
func FuzzByteLevel(f *testing.F) {
	var tokens, types, merges []any
	for r, b := range byteOf {
		for len(tokens) <= int(b) {
			tokens, types = append(tokens, ""), append(types, int64(pieceNormal))
		}
		tokens[b] = string(r)
	}
	for _, m := range [][2]string{{"a", "b"}, {"Ġ", "ab"}, {"Ċ", "Ċ"}, {"1", "2"}, {"Ġ", "Ġ"}, {"Ã", "©"}} {
		tokens, types = append(tokens, m[0]+m[1]), append(types, int64(pieceNormal))
		merges = append(merges, m[0]+" "+m[1])
	}
	tokens, types = append(tokens, "<end>"), append(types, int64(pieceControl))
	var list []*Tokenizer
	for _, pre := range GGUFPres() {
		tok, err := fromGGUF(pre, map[string]any{
			"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": pre, "tokenizer.ggml.tokens": tokens,
			"tokenizer.ggml.token_type": types, "tokenizer.ggml.merges": merges,
		})
		if err != nil {
			f.Fatal(err)
		}
		list = append(list, tok)
	}
	for _, text := range []string{"ab  ab\n\n12 345<end>déjà 漢字 a\u0301 I'll\t'S ſ", " ", "\r\n x\n", "…。a،b", "<|$+^`~", "\U0001f600\u200d\u2009\u00a0"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = strings.ToValidUTF8(text, "?")
		for _, tok := range list {
			ids := tok.Encode(text, false)
			if got := tok.Decode(ids, false); got != text {
				t.Fatalf("%s: %q decodes to %q", tok.source, text, got)
			}
			if ends := tok.Ends(text, ids); len(text) > 0 && (len(ends) != len(ids) || int(ends[len(ends)-1]) != len(text)) {
				t.Fatalf("%s: %q ends at %v", tok.source, text, ends)
			}
		}
	})
}
