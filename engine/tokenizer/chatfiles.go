package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// readTemplates reads the chat templates of a folder: from separate files, or else from
// ofConfig, the entry chat_template of tokenizer_config.json.
func (t *Tokenizer) readTemplates(dir string, ofConfig json.RawMessage) error {
	if err := t.readTemplate(dir); err != nil || t.HasChatTemplate() {
		return err
	}
	return t.templatesOfConfig(filepath.Join(dir, "tokenizer_config.json"), ofConfig)
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
