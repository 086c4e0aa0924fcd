package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attnscope/attnscope/internal/jinja"
)

// Message is one turn of a plain chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Chat is a conversation together with everything else that a chat template is given. The
// values are JSON, because templates print them: the order of keys and the numbers are
// kept. What is empty is not set.
type Chat struct {
	Messages  json.RawMessage // a list of objects, each with a role
	Tools     json.RawMessage // a list of objects; one that is set and empty still is a list
	Documents json.RawMessage // a list of objects

	// Variables is an object with further variables, such as enable_thinking. They replace
	// special tokens of the same name.
	Variables json.RawMessage

	Now time.Time // what strftime_now prints; zero: the present

	AddGenerationPrompt bool   // end with the beginning of the assistant's turn
	Continue            string // the field of the last message that the model continues, such as content
	Template            string // the name of a template of the model; empty: as transformers chooses
}

// PlainChat is the chat of messages that have a role and a text.
func PlainChat(msgs []Message, addGenerationPrompt bool) Chat {
	var b strings.Builder
	for i, m := range msgs {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`{"role":` + quoteJSON(m.Role) + `,"content":` + quoteJSON(m.Content) + `}`)
	}
	return Chat{Messages: json.RawMessage("[" + b.String() + "]"), AddGenerationPrompt: addGenerationPrompt}
}

// quoteJSON writes a string for JSON. Bytes that are not UTF-8 are kept as they are.
func quoteJSON(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ':
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// chatTemplate is a compiled chat template.
type chatTemplate struct {
	source string // the file that contains it
	text   string
	t      *jinja.Template
}

// setTemplate compiles the chat template of the file source, the model's default.
func (t *Tokenizer) setTemplate(source, text string) error {
	return t.addTemplate(source, "default", text)
}

// addTemplate compiles one of the named chat templates of a model.
func (t *Tokenizer) addTemplate(source, name, text string) error {
	if len(text) > templateSource {
		return fmt.Errorf("%s: chat template of %d bytes, at most %d are taken", source, len(text), templateSource)
	}
	c, err := jinja.Compile(text)
	if err != nil {
		return fmt.Errorf("%s: chat template: %w", source, err)
	}
	if t.templates == nil {
		t.templates = map[string]*chatTemplate{}
	}
	t.templates[name] = &chatTemplate{source, text, c}
	return nil
}

// setSpecial sets a special token that templates know under name. Empty: there is none.
func (t *Tokenizer) setSpecial(name, token string) {
	if token == "" {
		delete(t.specials, name)
		return
	}
	if t.specials == nil {
		t.specials = map[string]string{}
	}
	t.specials[name] = token
}

// HasChatTemplate reports whether the model has a chat template.
func (t *Tokenizer) HasChatTemplate() bool { return len(t.templates) > 0 }

// chosen returns the template of a chat: the one it names, or tool_use if it has tools and
// the model has such a template, or the default.
func (t *Tokenizer) chosen(c Chat) (*chatTemplate, error) {
	if !t.HasChatTemplate() {
		return nil, errors.New("the model has no chat template: --no-chat-template joins the messages")
	}
	names := []string{c.Template}
	if c.Template == "" {
		names = []string{"default"}
		if isSet(c.Tools) {
			names = []string{"tool_use", "default"}
		}
	}
	for _, name := range names {
		if found := t.templates[name]; found != nil {
			return found, nil
		}
	}
	var have []string
	for name := range t.templates {
		have = append(have, name)
	}
	slices.Sort(have)
	return nil, fmt.Errorf("the model has no chat template %q, only %q", names[len(names)-1], have)
}

// isSet reports whether a JSON value is there and not null.
func isSet(v json.RawMessage) bool {
	text := strings.TrimSpace(string(v))
	return text != "" && text != "null"
}

// ApplyChat renders messages with the model's chat template, as RenderChat does.
func (t *Tokenizer) ApplyChat(ctx context.Context, msgs []Message, addGenerationPrompt bool) (string, error) {
	return t.RenderChat(ctx, PlainChat(msgs, addGenerationPrompt))
}

// RenderChat renders a chat with the model's chat template, as apply_chat_template of
// transformers 5 does. The text must be encoded without special tokens, because the
// template writes them. It returns an error if the chat is not one that transformers takes,
// if the template fails or exceeds its limits on time, memory or output (see [Sandbox]), or
// if ctx ends.
func (t *Tokenizer) RenderChat(ctx context.Context, c Chat) (string, error) {
	chosen, err := t.chosen(c)
	if err != nil {
		return "", err
	}
	if c.Now.IsZero() {
		c.Now = time.Now()
	}
	r := rendering{Template: chosen.text, Specials: t.specials, Chat: c}
	var text string
	if templates.on {
		text, err = templates.render(ctx, r)
	} else {
		text, err = r.here(ctx, chosen.t)
	}
	if err != nil {
		return "", fmt.Errorf("%s: chat template: %w", chosen.source, err)
	}
	return text, nil
}
