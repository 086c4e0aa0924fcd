package tokenizer

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// chatFile is what testdata/make_chats.py writes.
type chatFile struct {
	Now   time.Time
	Chats map[string]struct {
		Messages, Tools, Documents, Variables json.RawMessage
		AddGenerationPrompt                   bool `json:"add_generation_prompt"`
		Continue                              string
	}
	Templates map[string]struct {
		Text    string
		Renders map[string]struct {
			Text  *string
			Error string
		}
	}
}

// TestChats renders our templates, which use what those of public models use, with every
// kind of chat, and compares with apply_chat_template.
func TestChats(t *testing.T) { compareChats(t, "testdata/chats.json") }

// TestPublicChats does the same with templates of public models, which are not ours to
// copy: put them into a folder, run testdata/make_chats.py and name its output.
func TestPublicChats(t *testing.T) {
	file := os.Getenv("ATTNSCOPE_CHATS")
	if file == "" {
		t.Skip("SKIPPED: ATTNSCOPE_CHATS does not name an output of testdata/make_chats.py")
	}
	compareChats(t, file)
}

// compareChats fails for every chat that is not rendered as the file says. A refusal is a
// difference too, unless the reference refuses the chat as well.
func compareChats(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var f chatFile
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	equal, refused := 0, 0
	for _, name := range sortedKeys(f.Templates) {
		template := f.Templates[name]
		tok := newTokenizer()
		for token, text := range map[string]string{
			"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>",
		} {
			tok.setSpecial(token, text)
		}
		notCompiled := tok.setTemplate(name, template.Text)
		for _, kind := range sortedKeys(template.Renders) {
			want := template.Renders[kind]
			c := f.Chats[kind]
			var got string
			err := notCompiled
			if err == nil {
				got, err = tok.RenderChat(t.Context(), Chat{
					Messages: c.Messages, Tools: c.Tools, Documents: c.Documents, Variables: c.Variables,
					AddGenerationPrompt: c.AddGenerationPrompt, Continue: c.Continue, Now: f.Now,
				})
			}
			switch {
			case want.Text == nil && err == nil:
				t.Errorf("%s, %s: rendered %q, want the error %s", name, kind, got, want.Error)
			case want.Text == nil:
				refused++
				message, isRaised := strings.CutPrefix(want.Error, "TemplateError: ")
				if isRaised && !strings.Contains(err.Error(), strings.TrimSpace(message)) {
					t.Errorf("%s, %s: error %v, want one with %q", name, kind, err, message)
				}
			case err != nil || got != *want.Text:
				t.Errorf("%s, %s: %v\nrendered %q\nwant     %q", name, kind, err, got, *want.Text)
			default:
				equal++
			}
		}
	}
	t.Logf("%d templates: %d renders equal, %d refused as by the reference", len(f.Templates), equal, refused)
	if equal == 0 {
		t.Error("nothing was compared")
	}
}

func sortedKeys[T any](m map[string]T) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
