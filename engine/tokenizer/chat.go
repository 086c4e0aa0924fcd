package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ardanlabs/jinja"
)

// Message is one turn of a chat.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// chatTemplate is a compiled chat template.
type chatTemplate struct {
	source string // the file that contains it
	text   string
	t      *jinja.Template
}

// setTemplate compiles the chat template of the file source.
func (t *Tokenizer) setTemplate(source, text string) error {
	if len(text) > templateSource {
		return fmt.Errorf("%s: chat template of %d bytes, at most %d are taken", source, len(text), templateSource)
	}
	c, err := jinja.Compile(strings.TrimSuffix(text, "\n"))
	if err != nil {
		return fmt.Errorf("%s: chat template: %w", source, err)
	}
	t.template = &chatTemplate{source, text, c}
	return nil
}

// HasChatTemplate reports whether the model has a chat template.
func (t *Tokenizer) HasChatTemplate() bool { return t.template != nil }

// ApplyChat renders messages with the model's chat template. The text must be encoded
// without special tokens, because the template writes them. With addGenerationPrompt
// the text ends with the beginning of the assistant's turn. It returns an error if the
// template fails or exceeds its limits on time, memory or output; see [Sandbox].
func (t *Tokenizer) ApplyChat(msgs []Message, addGenerationPrompt bool) (string, error) {
	if t.template == nil {
		return "", errors.New("the model has no chat template: --no-chat-template joins the messages")
	}
	r := rendering{t.template.text, t.bosToken, t.eosToken, msgs, addGenerationPrompt}
	var text string
	var err error
	if templates.on {
		text, err = templates.render(r)
	} else {
		text, err = renderHere(r, t.template.t)
	}
	if err != nil {
		return "", fmt.Errorf("%s: chat template: %w", t.template.source, err)
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

// with renders the messages with a compiled template.
func (r rendering) with(t *jinja.Template) (text string, err error) {
	defer func() {
		if x := recover(); x != nil {
			text = ""
			err = fmt.Errorf("it fails: %v", x)
		}
	}()
	var list []jinja.Value
	for _, m := range r.Messages {
		d := jinja.NewDict()
		d.AsDict().Set("role", jinja.NewString(m.Role))
		d.AsDict().Set("content", jinja.NewString(m.Content))
		list = append(list, d)
	}
	text, err = t.RenderValues(map[string]jinja.Value{
		"messages": jinja.NewList(list), "add_generation_prompt": jinja.NewBool(r.AddGenerationPrompt),
		"bos_token": jinja.NewString(r.BOS), "eos_token": jinja.NewString(r.EOS),
		"tools": jinja.None(), "documents": jinja.None(), // defined and empty, as in the reference
	})
	if err == nil && len(text) > templateOutput {
		return "", fmt.Errorf("its output has %d bytes, at most %d are taken", len(text), templateOutput)
	}
	return text, err
}

// readConfig reads the special tokens and the chat template of a folder with a
// tokenizer.json or tokenizer.model.
func (t *Tokenizer) readConfig(dir string) error {
	name := filepath.Join(dir, "tokenizer_config.json")
	text, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return t.readTemplate(dir)
	} else if err != nil {
		return err
	}
	var c struct {
		BOS      json.RawMessage `json:"bos_token"`
		EOS      json.RawMessage `json:"eos_token"`
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	t.bosToken, t.bos = t.token(c.BOS)
	t.eosToken, t.eos = t.token(c.EOS)
	if err := t.readTemplate(dir); err != nil || t.template != nil {
		return err
	}
	var one string
	var named []struct{ Name, Template string }
	switch {
	case len(c.Template) == 0 || string(c.Template) == "null":
		return nil
	case json.Unmarshal(c.Template, &one) == nil:
		return t.setTemplate(name, one)
	case json.Unmarshal(c.Template, &named) == nil:
		for _, n := range named {
			if n.Name == "default" {
				return t.setTemplate(name, n.Template)
			}
		}
	}
	return nil
}

// readTemplate reads a chat template from a separate file: chat_template.jinja or, in
// folders of older vision models, chat_template.json.
func (t *Tokenizer) readTemplate(dir string) error {
	name := filepath.Join(dir, "chat_template.jinja")
	text, err := os.ReadFile(name)
	if err == nil {
		return t.setTemplate(name, string(text))
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	name = filepath.Join(dir, "chat_template.json")
	if text, err = os.ReadFile(name); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var c struct {
		Template string `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return t.setTemplate(name, c.Template)
}

// token reads a special token, given as a string or an object with its content, and
// returns its text and its id, which is -1 if the token is not in the vocabulary.
func (t *Tokenizer) token(raw json.RawMessage) (string, int32) {
	var s string
	var o struct{ Content string }
	if json.Unmarshal(raw, &s) != nil && json.Unmarshal(raw, &o) == nil {
		s = o.Content
	}
	for _, m := range []map[byte][]added{t.addedRaw, t.addedNorm} {
		if s == "" {
			break
		}
		for _, a := range m[s[0]] {
			if a.Content == s {
				return s, a.ID
			}
		}
	}
	if id, ok := t.vocab[s]; ok && s != "" {
		return s, id
	}
	return s, -1
}
