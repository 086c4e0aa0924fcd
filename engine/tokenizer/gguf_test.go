package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestSentencePieceOfGGUF checks that the metadata which a converter makes of a
// tokenizer.model gives the same ids as the file.
func TestSentencePieceOfGGUF(t *testing.T) {
	for _, name := range []string{"bpe-bytes", "unigram-bytes", "unigram-rules"} {
		data, err := os.ReadFile("testdata/spm/" + name + "/tokenizer.model")
		if err != nil {
			t.Fatal(err)
		}
		m := defaultSPM()
		if err := m.parse(data); err != nil {
			t.Fatal(err)
		}
		meta := map[string]any{
			"tokenizer.ggml.model":                    "llama",
			"tokenizer.ggml.add_space_prefix":         m.dummyPrefix,
			"tokenizer.ggml.remove_extra_whitespaces": !m.extraSpaces,
			"tokenizer.ggml.bos_token_id":             uint64(m.bos),
			"tokenizer.ggml.eos_token_id":             uint64(m.eos),
		}
		if m.unigram {
			meta["tokenizer.ggml.model"] = "t5"
		}
		list := map[string][]any{}
		for i, piece := range m.pieces {
			if m.types[i] == pieceUserDefined {
				piece = strings.ReplaceAll(piece, "▁", " ") // as the converter writes it
			}
			list["tokens"] = append(list["tokens"], piece)
			list["scores"] = append(list["scores"], float64(m.scores[i]))
			list["token_type"] = append(list["token_type"], int64(m.types[i]))
		}
		for _, b := range m.charsmap {
			list["precompiled_charsmap"] = append(list["precompiled_charsmap"], uint64(b))
		}
		for k, v := range list {
			meta["tokenizer.ggml."+k] = v
		}
		got, err := fromGGUF("x.gguf", meta)
		if err != nil {
			t.Fatal(err)
		}
		want, err := fromSPM(data)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{"", " ", "the word  on the bus, 1984", "<tool>x <s> naïve ﬁ Ａ 你好", "    if x:\n\treturn 😀"} {
			if a, b := got.Encode(text, false), want.Encode(text, false); !slices.Equal(a, b) {
				t.Errorf("%s: %q: %v, want %v", name, text, a, b)
			}
		}
		if ids := got.Encode("a", true); got.bos < 0 || (ids[0] == got.bos) != !m.unigram {
			t.Errorf("%s: %v with special tokens: want BOS by default, except for unigram", name, ids)
		}
		delete(meta, "tokenizer.ggml.scores")
		if _, err := fromGGUF("x.gguf", meta); err == nil || !strings.Contains(err.Error(), "x.gguf") {
			t.Errorf("%s: without scores: %v", name, err)
		}
	}
	_, err := fromGGUF("x.gguf", map[string]any{"tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "nobody"})
	if err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("an unknown pre-tokenizer: %v, want an error that names it", err)
	}
}

// TestVocabulariesOfLlamaCpp compares ids with those of llama.cpp, for each GGUF
// vocabulary in its folder models/ that has files of strings and ids. ATTNSCOPE_VOCABS
// names that folder.
func TestVocabulariesOfLlamaCpp(t *testing.T) {
	dir := os.Getenv("ATTNSCOPE_VOCABS")
	if dir == "" {
		t.Skip("SKIPPED, llama.cpp's vocabularies are not here: set ATTNSCOPE_VOCABS to its folder models")
	}
	list, err := filepath.Glob(filepath.Join(dir, "ggml-vocab-*.gguf.inp"))
	if err != nil || len(list) == 0 {
		t.Fatalf("no ggml-vocab-*.gguf.inp in %s (%v)", dir, err)
	}
	for _, path := range list {
		t.Run(filepath.Base(path), func(t *testing.T) {
			path = strings.TrimSuffix(path, ".inp")
			tok, err := Load(path)
			if err != nil {
				t.Skipf("SKIPPED: %v", err)
			}
			in, err := os.ReadFile(path + ".inp")
			if err != nil {
				t.Fatal(err)
			}
			out, err := os.ReadFile(path + ".out")
			if err != nil {
				t.Fatal(err)
			}
			texts := strings.Split(string(in), "\n__ggml_vocab_test__\n")
			for i, line := range strings.Split(strings.TrimRight(string(out), "\n"), "\n") {
				var want []int32
				for _, f := range strings.Fields(line) {
					id, err := strconv.Atoi(f)
					if err != nil {
						t.Fatal(err)
					}
					want = append(want, int32(id))
				}
				if got := tok.Encode(texts[i], false); !slices.Equal(got, want) {
					t.Errorf("%q: %v, want %v", texts[i], got, want)
				}
			}
		})
	}
}

// TestGemma4 checks the vocabulary gemma4 of GGUF files with the pieces and merges of a
// tokenizer.json of Gemma, whose ids AutoTokenizer has. The vocabulary has no merges of
// newlines, but a piece for two of them, which llama.cpp takes whole.
func TestGemma4(t *testing.T) {
	vocabulary, cases := autoKind(t, "gemma")
	var f struct {
		AddedTokens []added `json:"added_tokens"`
		Model       struct {
			Vocab  map[string]int
			Merges [][2]string
		}
	}
	if err := json.Unmarshal(vocabulary.Text, &f); err != nil {
		t.Fatal(err)
	}
	tokens := make([]any, len(f.Model.Vocab))
	types := make([]any, len(f.Model.Vocab))
	for s, id := range f.Model.Vocab {
		tokens[id] = s
		types[id] = int64(pieceNormal)
		if strings.HasPrefix(s, "<0x") {
			types[id] = int64(pieceByte)
		}
	}
	for _, a := range f.AddedTokens {
		if a.SingleWord {
			continue // GGUF has no such tokens
		}
		kind := int64(pieceUserDefined)
		if a.Special {
			kind = pieceControl
		}
		for int(a.ID) >= len(tokens) {
			tokens = append(tokens, "")
			types = append(types, int64(pieceNormal))
		}
		tokens[a.ID] = a.Content
		types[a.ID] = kind
	}
	tokens = append(tokens, "\n\n")
	types = append(types, int64(pieceNormal))
	var merges []any
	for _, m := range f.Model.Merges {
		merges = append(merges, m[0]+" "+m[1])
	}
	tok, err := fromGGUF("x.gguf", map[string]any{
		"tokenizer.ggml.model": "gemma4", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": types,
		"tokenizer.ggml.merges": merges, "tokenizer.ggml.bos_token_id": uint64(1), "tokenizer.ggml.unknown_token_id": uint64(0),
		"tokenizer.ggml.add_bos_token": false,
	})
	if err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, c := range cases {
		if !strings.HasPrefix(c.Case, "class GemmaTokenizerFast") {
			continue
		}
		for _, raw := range c.Strings {
			var text string
			var want []int32
			if err := json.Unmarshal(raw, &[]any{&text, nil, &want}); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(text, "wor") || strings.Contains(text, "new>") || strings.Contains(text, "\n\n") || strings.Contains(text, "<mask>") || strings.Contains(text, "<pad>") {
				continue // the class adds other tokens
			}
			checked++
			if got := tok.Encode(text, false); !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", text, got, want)
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d texts", checked)
	}
	end := int32(len(tokens) - 1)
	for text, want := range map[string][]int32{"\n\n": {1, end}, "a\n\n": {1, tok.Encode("a", false)[0], end}} {
		if got := tok.Encode(text, true); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
