package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"
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
	c, err := jinja.Compile(strings.TrimSuffix(text, "\n"))
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
func (t *Tokenizer) ApplyChat(msgs []Message, addGenerationPrompt bool) (string, error) {
	return t.RenderChat(PlainChat(msgs, addGenerationPrompt))
}

// RenderChat renders a chat with the model's chat template, as apply_chat_template of
// transformers does. The text must be encoded without special tokens, because the template
// writes them. It returns an error if the chat is not one that transformers takes, or if
// the template fails or exceeds its limits on time, memory or output; see [Sandbox].
func (t *Tokenizer) RenderChat(c Chat) (string, error) {
	chosen, err := t.chosen(c)
	if err != nil {
		return "", err
	}
	r := rendering{Template: chosen.text, Specials: t.specials, Chat: c}
	var text string
	if templates.on {
		text, err = templates.render(r)
	} else {
		text, err = renderHere(r, chosen.t)
	}
	if err != nil {
		return "", fmt.Errorf("%s: chat template: %w", chosen.source, err)
	}
	return text, nil
}

// renderHere renders in this process. A template that does not end in time keeps running,
// since a goroutine cannot be stopped.
func renderHere(r rendering, t *jinja.Template) (string, error) {
	type result struct {
		text string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		text, err := r.with(t)
		done <- result{text, err}
	}()
	select {
	case r := <-done:
		return r.text, r.err
	case <-time.After(templateTime):
		return "", fmt.Errorf("not done after %s", templateTime)
	}
}

// render compiles the template and renders it.
func (r rendering) render() (string, error) {
	t, err := jinja.Compile(strings.TrimSuffix(r.Template, "\n"))
	if err != nil {
		return "", err
	}
	return r.with(t)
}

// with renders the chat with a compiled template.
func (r rendering) with(t *jinja.Template) (text string, err error) {
	defer func() {
		if x := recover(); x != nil {
			text = ""
			err = fmt.Errorf("it fails: %v", x)
		}
	}()
	values, err := r.values()
	if err != nil {
		return "", err
	}
	text, err = t.RenderValues(values)
	if err == nil && len(text) > templateOutput {
		return "", fmt.Errorf("its output has %d bytes, at most %d are taken", len(text), templateOutput)
	}
	return text, err
}

// values are the variables of the template.
func (r rendering) values() (map[string]jinja.Value, error) {
	values := map[string]jinja.Value{}
	for name, token := range r.Specials {
		values[name] = jinja.NewString(token)
	}
	if isSet(r.Chat.Variables) {
		v, err := decodeJSON(r.Chat.Variables)
		if err != nil {
			return nil, err
		}
		for _, name := range v.AsDict().Keys {
			values[name] = v.AsDict().Data[name]
		}
	}
	for name, raw := range map[string]json.RawMessage{
		"messages": r.Chat.Messages, "tools": r.Chat.Tools, "documents": r.Chat.Documents,
	} {
		values[name] = jinja.None()
		if isSet(raw) {
			v, err := decodeJSON(raw)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			values[name] = v
		}
	}
	values["add_generation_prompt"] = jinja.NewBool(r.Chat.AddGenerationPrompt)
	return values, nil
}

// decodeJSON decodes a value and keeps the order of keys.
func decodeJSON(raw json.RawMessage) (jinja.Value, error) {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	return decodeValue(d)
}

func decodeValue(d *json.Decoder) (jinja.Value, error) {
	tok, err := d.Token()
	if err != nil {
		return jinja.Undefined(), err
	}
	switch tok {
	case json.Delim('['):
		var list []jinja.Value
		for d.More() {
			v, err := decodeValue(d)
			if err != nil {
				return v, err
			}
			list = append(list, v)
		}
		_, err = d.Token()
		return jinja.NewList(list), err
	case json.Delim('{'):
		dict := jinja.NewDict()
		for d.More() {
			key, err := d.Token()
			if err != nil {
				return dict, err
			}
			v, err := decodeValue(d)
			if err != nil {
				return v, err
			}
			dict.AsDict().Set(key.(string), v)
		}
		_, err = d.Token()
		return dict, err
	}
	return jinja.FromGoValue(tok), nil
}
