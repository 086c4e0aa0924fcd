package tokenizer

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

// TestChatML renders a conversation with a small ChatML template and encodes it. It is the
// twin of TestChatExamples that needs no shared data.
func TestChatML(t *testing.T) {
	tok, err := fromJSON([]byte(tinyTokenizer))
	if err != nil {
		t.Fatal(err)
	}
	err = tok.setTemplate("chatml", "{% for m in messages %}<s>{{ m['role'][0] }} {{ m['content'] }}{% endfor %}"+
		"{% if add_generation_prompt %}<s>a{% endif %}")
	if err != nil {
		t.Fatal(err)
	}
	messages := []Message{{"assistant", "ab"}, {"b", "b ab"}}
	for add, want := range map[bool]string{false: "<s>a ab<s>b b ab", true: "<s>a ab<s>b b ab<s>a"} {
		if got, err := tok.ApplyChat(t.Context(), messages, add); err != nil || got != want {
			t.Errorf("add_generation_prompt %v: rendered %q (%v), want %q", add, got, err, want)
		}
	}
	want := []int32{5, 0, 4, 5, 1, 3, 1, 4}
	if ids := tok.Encode("<s>a ab<s>b b ab", false); !slices.Equal(ids, want) {
		t.Errorf("ids %v, want %v", ids, want)
	}
}

// TestChatExamples compares rendered chats and ids with those of the models' own packages.
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
	ran := 0
	loaded := map[string]*Tokenizer{}
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
			// The ids are the reference, made by Mistral's own package. The rendered text
			// is only for readers.
			tok, err := load(folder)
			if err == nil {
				err = tok.setTemplate(c.Template, mistralTemplate)
			}
			if err != nil {
				t.Fatal(err)
			}
			tok.setSpecial("bos_token", "<s>")
			tok.setSpecial("eos_token", "</s>")
			text, err := tok.ApplyChat(t.Context(), c.Messages, c.Add)
			if ids := tok.Encode(text, false); err != nil || !slices.Equal(ids, c.IDs) {
				t.Errorf("%s, %s: %q (%v): ids %v, want %v", c.Template, c.Case, text, err, ids, c.IDs)
			}
			ran++
			continue
		}
		tok, err := load(c.Template)
		if err != nil {
			tok = newTokenizer() // a template without a vocabulary
			folder := filepath.Join(dir, c.Template)
			err := readTemplates(tok, folder)
			if text, none := os.ReadFile(filepath.Join(dir, "chat-templates", c.Template+".jinja")); none == nil {
				err = tok.setTemplate(c.Template, string(text))
			}
			if err != nil {
				t.Errorf("%s: %v", c.Template, err)
			}
			if c.Template == "deepseek-r1-distill-qwen" {
				tok.setSpecial("bos_token", "<｜begin▁of▁sentence｜>")
			}
		}
		if !tok.HasChatTemplate() {
			continue
		}
		ran++
		got, err := tok.ApplyChat(t.Context(), c.Messages, c.Add)
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

// mistralTemplate does what Mistral's package does for its first models.
const mistralTemplate = `{{ bos_token }}{% set ns = namespace(system='') %}` +
	`{% for m in messages %}` +
	`{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n\n' %}` +
	`{% elif m['role'] == 'user' %}[INST] {{ ns.system + m['content'] }} [/INST]{% set ns.system = '' %}` +
	`{% else %} {{ m['content'] }}{{ eos_token }}{% endif %}` +
	`{% endfor %}`

// TestRoundTripAndEnds checks that ids of real vocabularies decode to the text and that
// their ends cover it, as FuzzByteLevel does with small ones.
func TestRoundTripAndEnds(t *testing.T) {
	for _, name := range []string{"smollm2", "gpt2", "qwen2"} {
		tok, err := Load(sharedtest.Dir(t, "data/tokenizers/"+name))
		if err != nil {
			t.Fatal(err)
		}
		const ascii = "Hello world, it's 2024!\n\n  tabs\tand  spaces  "
		for _, s := range []string{"", "a", ascii, "déjà vu 漢字 🙂‍↔️ x"} {
			ids := tok.Encode(s, false)
			if got := tok.Decode(ids, false); got != s && name != "qwen2" {
				t.Errorf("%s: %q decodes to %q", name, s, got)
			}
			ends := tok.Ends(s, ids)
			if s == ascii && (len(ends) != len(ids) || int(ends[len(ends)-1]) != len(s)) {
				t.Errorf("%s: ends %v of %q", name, ends, s)
			}
		}
	}
}

// TestUnknownNodes checks that an unknown step of a tokenizer.json is an error in one line,
// which names the step and what is supported.
func TestUnknownNodes(t *testing.T) {
	const byteLevel = `{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true}`
	const nested = `"normalizer":{"type":"Sequence","normalizers":[{"type":"ByteLevel"}]}`
	const damaged = `"normalizer":{"type":"Replace","pattern":{"Regex":"(("},"content":""}`
	const sideways = `{"type":"Split","pattern":{"String":" "},"behavior":"Sideways"}`
	for _, c := range []struct{ old, with, want, supported string }{
		{`"normalizer":null`, `"normalizer":{"type":"BertNormalizer","lowercase":true}`, "normalizer BertNormalizer", "NFKC"},
		{`"normalizer":null`, nested, "normalizer ByteLevel", "NFKC"},
		{`"normalizer":null`, damaged, "normalizer Replace", "(("},
		{byteLevel, `{"type":"UnicodeScripts"}`, "pre_tokenizer UnicodeScripts", "Metaspace"},
		{byteLevel, sideways, `"Sideways"`, "Isolated"},
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
		message := fmt.Sprint(err)
		if !strings.Contains(message, c.want) || !strings.Contains(message, c.supported) || strings.Contains(message, "\n") {
			t.Errorf("%s: %v, want one line with %q and %q", c.with, err, c.want, c.supported)
		}
	}
}

// TestTemplateFiles checks that a chat template is read from tokenizer_config.json, alone
// or from a list of named templates, or from a file of its own, which comes first.
func TestTemplateFiles(t *testing.T) {
	const fromList = `{"eos_token":{"content":"!"},"chat_template":[{"name":"tools","template":"x"},` +
		`{"name":"default","template":"{{ messages[0].content }}!"}]}`
	const plain = "{{ messages[0].content }}!"
	const inJSON = `{"chat_template":"{{ messages[0].content }}!"}`
	const inConfig = `{"eos_token":"!","chat_template":"{{ messages[0].content }}{{ eos_token }}"}`
	for name, files := range map[string]map[string]string{
		"in the configuration":   {"tokenizer_config.json": inConfig},
		"named":                  {"tokenizer_config.json": fromList},
		"a file":                 {"chat_template.jinja": plain},
		"a file comes first":     {"chat_template.jinja": plain, "tokenizer_config.json": `{"chat_template":"no"}`},
		"a file in JSON":         {"chat_template.json": inJSON},
		"JSON and configuration": {"chat_template.json": inJSON, "tokenizer_config.json": `{"eos_token":"</s>"}`},
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
		if got, err := tok.ApplyChat(t.Context(), []Message{{"user", "ab"}}, false); err != nil || got != "ab!" {
			t.Errorf("%s: %q (%v), want ab!", name, got, err)
		}
	}
}

// modelFolder writes files to a new folder.
func modelFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// readTemplates reads the chat templates of a folder without a vocabulary.
func readTemplates(tok *Tokenizer, dir string) error {
	c, err := readConfig(dir, Options{})
	if err != nil {
		return err
	}
	return tok.readTemplates(dir, c.values["chat_template"])
}
