package tokenizer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
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
	ran := 0
	for _, c := range cases {
		tok, err := Load(filepath.Join(dir, c.Template))
		if err != nil {
			tok = newTokenizer()
			if text, err := os.ReadFile(filepath.Join(dir, "chat-templates", c.Template+".jinja")); err != nil || tok.setTemplate(c.Template, string(text)) != nil {
				continue
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
	if ran < 12 {
		t.Errorf("only %d of %d examples ran", ran, len(cases))
	}
}

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
