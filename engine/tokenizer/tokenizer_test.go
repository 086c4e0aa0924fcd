package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

func TestChatExamples(t *testing.T) {
	dir := sharedtest.Dir(t, "data/tokenizers")
	text, err := os.ReadFile(filepath.Join(dir, "chat-templates/examples.json"))
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct {
		Template, Case string
		Messages       []Message
		Add            bool `json:"add_generation_prompt"`
		Rendered       string
		IDs            []int32
	}
	if err := json.Unmarshal(text, &cases); err != nil {
		t.Fatal(err)
	}
	ran, loaded := 0, map[string]*Tokenizer{}
	load := func(name string) (*Tokenizer, error) {
		if tok := loaded[name]; tok != nil {
			return tok, nil
		}
		tok, err := Load(filepath.Join(dir, name))
		if err == nil {
			loaded[name] = tok
		}
		return tok, err
	}
	for _, c := range cases {
		if folder, _, mistral := strings.Cut(c.Template, " (mistral-common"); mistral {
			// Their ids are the truth, made by Mistral's own package; what is rendered
			// is for reading.
			tok, err := load(folder)
			if err == nil {
				err = tok.setTemplate(c.Template, mistralTemplate)
			}
			if err != nil {
				t.Fatal(err)
			}
			tok.bosToken, tok.eosToken = "<s>", "</s>"
			text, err := tok.ApplyChat(c.Messages, c.Add)
			if ids := tok.Encode(text, false); err != nil || !slices.Equal(ids, c.IDs) {
				t.Errorf("%s, %s: %q (%v): ids %v, want %v", c.Template, c.Case, text, err, ids, c.IDs)
			}
			ran++
			continue
		}
		tok, err := load(c.Template)
		if err != nil {
			tok = newTokenizer() // a template without a vocabulary
			err := tok.readConfig(filepath.Join(dir, c.Template))
			if text, none := os.ReadFile(filepath.Join(dir, "chat-templates", c.Template+".jinja")); none == nil {
				err = tok.setTemplate(c.Template, string(text))
			}
			if err != nil {
				t.Errorf("%s: %v", c.Template, err)
			}
			tok.bosToken = map[string]string{"deepseek-r1-distill-qwen": "<｜begin▁of▁sentence｜>"}[c.Template]
		}
		if !tok.HasChatTemplate() {
			continue
		}
		ran++
		got, err := tok.ApplyChat(c.Messages, c.Add)
		if err != nil || got != c.Rendered {
			t.Errorf("%s, %s: rendered %q (%v), want %q", c.Template, c.Case, got, err, c.Rendered)
		}
		if ids := tok.Encode(c.Rendered, false); len(c.IDs) > 0 && tok.VocabSize() > 0 && !slices.Equal(ids, c.IDs) {
			t.Errorf("%s, %s: ids %v, want %v", c.Template, c.Case, ids, c.IDs)
		}
	}
	if ran != len(cases) || ran < 21 {
		t.Errorf("only %d of %d examples ran", ran, len(cases))
	}
}

// mistralTemplate says what Mistral's package does for its first models.
const mistralTemplate = `{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n\n' %}` +
	`{% elif m['role'] == 'user' %}[INST] {{ ns.system + m['content'] }} [/INST]{% set ns.system = '' %}{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}{% endfor %}`

func TestRoundTripAndEnds(t *testing.T) {
	for _, name := range []string{"smollm2", "gpt2", "qwen2"} {
		tok, err := Load(sharedtest.Dir(t, "data/tokenizers/"+name))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"", "a", "Hello world, it's 2024!\n\n  tabs\tand  spaces  ", "déjà vu 漢字 🙂‍↔️ x"} {
			ids := tok.Encode(s, false)
			if got := tok.Decode(ids, false); got != s && name != "qwen2" {
				t.Errorf("%s: %q comes back as %q", name, s, got)
			}
			if ends := tok.Ends(s, ids); s == "Hello world, it's 2024!\n\n  tabs\tand  spaces  " && (len(ends) != len(ids) || int(ends[len(ends)-1]) != len(s)) {
				t.Errorf("%s: ends %v of %q", name, ends, s)
			}
		}
	}
}

// TestUnknownNodes: what a tokenizer.json asks for and is not known is one line
// that names the step, what was seen and what is supported.
func TestUnknownNodes(t *testing.T) {
	for _, c := range []struct{ old, with, want, supported string }{
		{`"normalizer":null`, `"normalizer":{"type":"BertNormalizer","lowercase":true}`, "normalizer BertNormalizer", "NFKC"},
		{`"normalizer":null`, `"normalizer":{"type":"Sequence","normalizers":[{"type":"ByteLevel"}]}`, "normalizer ByteLevel", "NFKC"},
		{`"normalizer":null`, `"normalizer":{"type":"Replace","pattern":{"Regex":"(("},"content":""}`, "normalizer Replace", "(("},
		{`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`, `{"type":"UnicodeScripts"}`, "pre_tokenizer UnicodeScripts", "Metaspace"},
		{`{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`, `{"type":"Split","pattern":{"String":" "},"behavior":"Sideways"}`, `"Sideways"`, "Isolated"},
		{`"post_processor":null`, `"post_processor":{"type":"Surprise"}`, "post_processor Surprise", "TemplateProcessing"},
		{`"decoder":{"type":"ByteLevel"}`, `"decoder":{"type":"WordPiece"}`, "decoder WordPiece", "Metaspace"},
		{`"type":"BPE"`, `"type":"WordPiece"`, `model type "WordPiece"`, "Unigram"},
		{`"type":"BPE"`, `"type":"BPE","dropout":0.1`, "dropout 0.1", "set dropout to null"},
		{`"type":"BPE"`, `"type":"BPE","end_of_word_suffix":"</w>"`, "end_of_word_suffix", "</w>"},
		{`"merges":["a b","Ġ ab"]`, `"merges":["a c"]`, "merge 0", `"c"`},
	} {
		text := strings.Replace(tinyTokenizer, c.old, c.with, 1)
		if text == tinyTokenizer {
			t.Fatalf("%s is not in the file", c.old)
		}
		_, err := fromJSON([]byte(text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.supported) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want one line with %q and %q", c.with, err, c.want, c.supported)
		}
	}
}

// TestTemplateFiles: a chat template may stand in tokenizer_config.json, alone or
// among named ones, or in a file of its own, which comes first.
func TestTemplateFiles(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"in the configuration":   {"tokenizer_config.json": `{"eos_token":"!","chat_template":"{{ messages[0].content }}{{ eos_token }}"}`},
		"named":                  {"tokenizer_config.json": `{"eos_token":{"content":"!"},"chat_template":[{"name":"tools","template":"x"},{"name":"default","template":"{{ messages[0].content }}!"}]}`},
		"a file":                 {"chat_template.jinja": "{{ messages[0].content }}!"},
		"a file comes first":     {"chat_template.jinja": "{{ messages[0].content }}!", "tokenizer_config.json": `{"chat_template":"no"}`},
		"a file in JSON":         {"chat_template.json": `{"chat_template":"{{ messages[0].content }}!"}`},
		"JSON and configuration": {"chat_template.json": `{"chat_template":"{{ messages[0].content }}!"}`, "tokenizer_config.json": `{"eos_token":"</s>"}`},
	} {
		dir := t.TempDir()
		for f, text := range files {
			if err := os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte(tinyTokenizer), 0o644); err != nil {
			t.Fatal(err)
		}
		tok, err := Load(dir)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := tok.ApplyChat([]Message{{"user", "ab"}}, false); err != nil || got != "ab!" {
			t.Errorf("%s: %q (%v), want ab!", name, got, err)
		}
	}
}
