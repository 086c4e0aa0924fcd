package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestNamedTemplates checks which of several templates renders a chat: as transformers
// chooses, or as the chat says.
func TestNamedTemplates(t *testing.T) {
	const list = `{"chat_template":[{"name":"default","template":"D"},{"name":"tool_use","template":"T"},` +
		`{"name":"rag","template":"R"}]}`
	const tool = "additional_chat_templates/tool_use.jinja"
	tools := json.RawMessage(`[{"type":"function"}]`)
	none := json.RawMessage(`[]`)
	for _, c := range []struct {
		files      map[string]string
		chat       Chat
		want, fail string
	}{
		{map[string]string{"tokenizer_config.json": list}, Chat{}, "D", ""},
		{map[string]string{"tokenizer_config.json": list}, Chat{Tools: tools}, "T", ""},
		{map[string]string{"tokenizer_config.json": list}, Chat{Tools: none}, "T", ""},
		{map[string]string{"tokenizer_config.json": list}, Chat{Tools: json.RawMessage("null")}, "D", ""},
		{map[string]string{"tokenizer_config.json": list}, Chat{Tools: tools, Template: "rag"}, "R", ""},
		{map[string]string{"tokenizer_config.json": list}, Chat{Template: "x"}, "", `no chat template "x"`},
		{map[string]string{"chat_template.jinja": "F", tool: "U"}, Chat{}, "F", ""},
		{map[string]string{"chat_template.jinja": "F", tool: "U"}, Chat{Tools: tools}, "U", ""},
		{map[string]string{"chat_template.jinja": "F", "tokenizer_config.json": list}, Chat{Tools: tools}, "F", ""},
		{map[string]string{tool: "U", "tokenizer_config.json": list}, Chat{}, "", `no chat template "default"`},
	} {
		dir := t.TempDir()
		for name, text := range c.files {
			file := filepath.Join(dir, name)
			if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		tok := newTokenizer()
		if err := readTemplates(tok, dir); err != nil {
			t.Fatal(err)
		}
		c.chat.Messages = json.RawMessage(`[{"role":"user","content":"x"}]`)
		got, err := tok.RenderChat(t.Context(), c.chat)
		if got != c.want || (err == nil) != (c.fail == "") || !strings.Contains(fmt.Sprint(err), c.fail) {
			t.Errorf("%v, %+v: rendered %q (%v), want %q (%s)", c.files, c.chat, got, err, c.want, c.fail)
		}
	}
}

// TestRefusedChats checks what is refused before a template sees it, and what a template
// uses that is not there: the error names it and its line.
func TestRefusedChats(t *testing.T) {
	const user = `[{"role":"user","content":"x"}]`
	for _, c := range []struct{ template, messages, tools, documents, variables, want string }{
		{"", `[]`, "", "", "", "the chat has no messages"},
		{"", `{"role":"user"}`, "", "", "", "messages of the chat: want a list of objects"},
		{"", `["x"]`, "", "", "", "messages of the chat: entry 1 is not an object"},
		{"", `[{"role":"user","content":"\ud800"}]`, "", "", "", "second half of a character"},
		{"", `[{"role":"user"}`, "", "", "", "expected , or ], got the end"},
		{"", user, `{}`, "", "", "tools of the chat: want a list of objects"},
		{"", user, `["get_weather"]`, "", "", "tools of the chat: entry 1 is not an object"},
		{"", user, "", `[1]`, "", "documents of the chat: entry 1 is not an object"},
		{"", user, "", "", `[]`, "variables of the chat template: want an object"},
		{"", user, "", "", `{"tools":[]}`, `"tools" is a parameter of its own`},
		{"", user, "", "", `{"add_generation_prompt":true}`, `"add_generation_prompt" is a parameter of its own`},
		{"\n{{ messages|urlize }}", user, "", "", "", "line 2: the filter 'urlize' is not supported"},
		{"\n\n{{ messages|shout }}", user, "", "", "", "line 3: no filter named 'shout'"},
		{"{{ 1 is shouted }}", user, "", "", "", "line 1: no test named 'shouted'"},
		{"a\n{% include 'x' %}", user, "", "", "", "line 2: the tag 'include' is not supported"},
		{"{% do x %}", user, "", "", "", "line 1: unknown tag 'do'"},
		{"\n{{ nope() }}", user, "", "", "", "line 2: 'nope' is undefined"},
		{"\n{{ messages[0].nope.x }}", user, "", "", "", "line 2: 'dict object' has no attribute 'nope'"},
		{"{{ messages.append(1) }}", user, "", "", "", "access to attribute 'append' of 'list' object is unsafe"},
		{"{{ 'x'.encode() }}", user, "", "", "", "str.encode is not supported"},
		{"{{ messages|map('upper') }}", user, "", "", "", "line 1: a generator is printed"},
		{"{{ strftime_now('%Q') }}", user, "", "", "", "the code %Q is not supported"},
		{"{{ lipsum() }}", user, "", "", "", "lipsum writes random text"},
		{"{{ [1]|random }}", user, "", "", "", "the filter 'random' is not supported"},
		{"{{ self }}", user, "", "", "", "the variable self is not supported"},
	} {
		tok := newTokenizer()
		err := tok.setTemplate("model.json", c.template)
		if err == nil {
			_, err = tok.RenderChat(t.Context(), Chat{
				Messages: json.RawMessage(c.messages), Tools: json.RawMessage(c.tools),
				Documents: json.RawMessage(c.documents), Variables: json.RawMessage(c.variables),
			})
		}
		if err == nil || !strings.HasPrefix(err.Error(), "model.json: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q, %q, %q, %q, %q: error %v, want %q", c.template, c.messages, c.tools, c.documents,
				c.variables, err, c.want)
		}
	}
}

// TestInterruptedTemplate checks that a template which would run until its time is up ends
// with the context, in the separate process and in this one, and that the next one renders.
func TestInterruptedTemplate(t *testing.T) {
	loop := strings.Repeat("{% for i in range(2000) %}", 4) + strings.Repeat("{% endfor %}", 4)
	for _, separate := range []bool{true, false} {
		templates.on = separate
		tok := newTokenizer()
		if err := tok.setTemplate("loop", loop); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := tok.ApplyChat(ctx, []Message{{"user", "x"}}, true)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("separate process %v: error %v, want the end of the context", separate, err)
		}
		good := newTokenizer()
		if err := good.setTemplate("good", "{{ messages[0].content }}"); err != nil {
			t.Fatal(err)
		}
		if text, err := good.ApplyChat(t.Context(), []Message{{"user", "x"}}, true); text != "x" || err != nil {
			t.Errorf("separate process %v: the next template renders %q (%v)", separate, text, err)
		}
	}
	templates.on = true
}

// TestVariables checks that variables replace special tokens and are defined, and that the
// order of keys and the numbers are those of the JSON text.
func TestVariables(t *testing.T) {
	tok := newTokenizer()
	tok.setSpecial("bos_token", "<s>")
	tok.setSpecial("pad_token", "<pad>")
	err := tok.setTemplate("x", "{{ bos_token }}{{ pad_token }}{{ eos_token is defined }}{{ enable_thinking is false }}"+
		"{{ extra|tojson }}{{ tools is none }}{{ messages[0].keys()|list }}")
	if err != nil {
		t.Fatal(err)
	}
	got, err := tok.RenderChat(t.Context(), Chat{
		Messages: json.RawMessage(`[{"z":1,"role":"user","a":null,"content":"x","z":2}]`),
		Variables: json.RawMessage(`{"bos_token":"B","enable_thinking":false,` +
			`"extra":{"b":1.0,"a":[1e5,10000000000000000000000]}}`),
	})
	want := `B<pad>FalseTrue{"b": 1.0, "a": [100000.0, 10000000000000000000000]}True['z', 'role', 'content']`
	if got != want || err != nil {
		t.Errorf("rendered %q (%v), want %q", got, err, want)
	}
}
