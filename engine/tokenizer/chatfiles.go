package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// readConfig reads the special tokens and the chat template of a folder with a
// tokenizer.json or tokenizer.model.
func (t *Tokenizer) readConfig(dir string) error {
	name := filepath.Join(dir, "tokenizer_config.json")
	text, err := readFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return t.readTemplate(dir)
	} else if err != nil {
		return err
	}
	var c struct {
		BOS      json.RawMessage `json:"bos_token"`
		EOS      json.RawMessage `json:"eos_token"`
		Unk      json.RawMessage `json:"unk_token"`
		Sep      json.RawMessage `json:"sep_token"`
		Pad      json.RawMessage `json:"pad_token"`
		Cls      json.RawMessage `json:"cls_token"`
		Mask     json.RawMessage `json:"mask_token"`
		Template json.RawMessage `json:"chat_template"`
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var bos, eos string
	bos, t.bos = t.token(c.BOS)
	eos, t.eos = t.token(c.EOS)
	t.setSpecial("bos_token", bos)
	t.setSpecial("eos_token", eos)
	for key, raw := range map[string]json.RawMessage{
		"unk_token": c.Unk, "sep_token": c.Sep, "pad_token": c.Pad, "cls_token": c.Cls, "mask_token": c.Mask,
	} {
		text, _ := t.token(raw)
		t.setSpecial(key, text)
	}
	if err := t.readTemplate(dir); err != nil || t.HasChatTemplate() {
		return err
	}
	return t.templatesOfConfig(name, c.Template)
}

// templatesOfConfig reads the entry chat_template of tokenizer_config.json: one template
// or a list of named ones.
func (t *Tokenizer) templatesOfConfig(file string, raw json.RawMessage) error {
	var one string
	var named []struct{ Name, Template *string }
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return nil
	case json.Unmarshal(raw, &one) == nil:
		return t.setTemplate(file, one)
	case json.Unmarshal(raw, &named) != nil:
		return fmt.Errorf("%s: chat_template is neither a template nor a list of named templates", file)
	}
	for i, n := range named {
		if n.Name == nil || n.Template == nil {
			return fmt.Errorf("%s: chat_template: entry %d has no name or no template", file, i)
		}
		if err := t.addTemplate(file, *n.Name, *n.Template); err != nil {
			return err
		}
	}
	return nil
}

// readTemplate reads chat templates from separate files: chat_template.jinja and those in
// the folder additional_chat_templates or, in folders of older vision models,
// chat_template.json.
func (t *Tokenizer) readTemplate(dir string) error {
	name := filepath.Join(dir, "chat_template.jinja")
	text, err := readFile(name)
	if err == nil {
		err = t.setTemplate(name, string(text))
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	more, err := filepath.Glob(filepath.Join(dir, "additional_chat_templates", "*.jinja"))
	if err != nil {
		return err
	}
	for _, name := range more {
		text, err := readFile(name)
		if err != nil {
			return err
		}
		err = t.addTemplate(name, strings.TrimSuffix(filepath.Base(name), ".jinja"), string(text))
		if err != nil {
			return err
		}
	}
	if t.HasChatTemplate() {
		return nil
	}
	name = filepath.Join(dir, "chat_template.json")
	if text, err = readFile(name); errors.Is(err, fs.ErrNotExist) {
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
