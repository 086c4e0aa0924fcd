package tokenizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/attnscope/attnscope/internal/jinja"
)

// rendering is a template with what it renders.
type rendering struct {
	Template string
	Specials map[string]string // special tokens by the names that templates use
	Chat     Chat
}

// here renders in this process.
func (r rendering) here(ctx context.Context, t *jinja.Template) (string, error) {
	var stop atomic.Bool
	alarm := time.AfterFunc(templateTime, func() { stop.Store(true) })
	defer alarm.Stop()
	defer context.AfterFunc(ctx, func() { stop.Store(true) })()
	text, err := r.with(t, &stop)
	if err != nil && stop.Load() {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("not done after %s", templateTime)
	}
	return text, err
}

// parameters of apply_chat_template, which are not variables of a template.
var parameters = strings.Fields(`conversation messages tools documents chat_template add_generation_prompt
	continue_final_message tokenize sanitize_control_tokens padding truncation max_length return_tensors
	return_dict return_assistant_tokens_mask tokenizer_kwargs`)

// with renders the chat with a compiled template.
func (r rendering) with(t *jinja.Template, stop *atomic.Bool) (string, error) {
	variables := map[string]any{}
	for name, token := range r.Specials {
		variables[name] = token
	}
	if isSet(r.Chat.Variables) {
		given, err := decoded("variables", r.Chat.Variables)
		if err != nil {
			return "", err
		}
		names, ok := jinja.Keys(given)
		if !ok {
			return "", errors.New("variables of the chat template: want an object with names and values")
		}
		for _, name := range names {
			if slices.Contains(parameters, name) {
				return "", fmt.Errorf("variables of the chat template: %q is a parameter of its own", name)
			}
			variables[name], _ = jinja.Get(given, name)
		}
	}
	var err error
	if variables["tools"], err = objects("tools", r.Chat.Tools); err != nil {
		return "", err
	}
	if variables["documents"], err = objects("documents", r.Chat.Documents); err != nil {
		return "", err
	}
	messages, err := r.messages()
	if err != nil {
		return "", err
	}
	final := ""
	if r.Chat.Continue != "" {
		if messages, final, err = r.tagged(messages); err != nil {
			return "", err
		}
	}
	variables["messages"] = jinja.List(messages)
	variables["add_generation_prompt"] = r.Chat.AddGenerationPrompt
	text, err := t.Render(variables, jinja.Options{Now: r.Chat.Now, Stop: stop})
	if err == nil && r.Chat.Continue != "" {
		text, err = untagged(text, final)
	}
	if err == nil && len(text) > templateOutput {
		return "", fmt.Errorf("its output has %d bytes, at most %d are taken", len(text), templateOutput)
	}
	return text, err
}

// decoded decodes a value for the template.
func decoded(what string, raw json.RawMessage) (any, error) {
	v, err := jinja.DecodeJSON(raw)
	if err != nil {
		return nil, fmt.Errorf("%s of the chat: %w", what, err)
	}
	return v, nil
}

// objects decodes a list of objects. If it is not set, the value is none.
func objects(what string, raw json.RawMessage) (any, error) {
	if !isSet(raw) {
		return nil, nil
	}
	v, err := decoded(what, raw)
	if err != nil {
		return nil, err
	}
	all, ok := jinja.Items(v)
	if !ok {
		return nil, fmt.Errorf("%s of the chat: want a list of objects", what)
	}
	for i, item := range all {
		if _, ok := jinja.Keys(item); !ok {
			return nil, fmt.Errorf("%s of the chat: entry %d is not an object", what, i+1)
		}
	}
	return v, nil
}

// reasoningFields are the names of a message's reasoning. The first is the one that
// templates read; templates of gpt-oss read the second.
var reasoningFields = []string{"reasoning_content", "thinking", "reasoning"}

// messages are the messages as the template sees them: fields that are null are left out,
// and the reasoning is there under the names that templates read.
func (r rendering) messages() ([]any, error) {
	v, err := objects("messages", r.Chat.Messages)
	if err != nil {
		return nil, err
	}
	all, _ := jinja.Items(v)
	if len(all) == 0 {
		return nil, errors.New("the chat has no messages")
	}
	out := make([]any, len(all))
	for i, m := range all {
		var fields []jinja.Field
		var reasoning any
		keys, _ := jinja.Keys(m)
		for _, k := range keys {
			if v, _ := jinja.Get(m, k); v != nil {
				fields = append(fields, jinja.Field{Name: k, Value: v})
			}
		}
		plain := jinja.Object(fields)
		for _, name := range reasoningFields {
			if v, ok := jinja.Get(plain, name); ok {
				reasoning = v
				break
			}
		}
		if reasoning != nil {
			fields = slices.Insert(fields, 0, jinja.Field{Name: "thinking", Value: reasoning})
			fields = append(fields, jinja.Field{Name: "reasoning_content", Value: reasoning})
			plain = jinja.Object(fields)
		}
		out[i] = plain
	}
	return out, nil
}

// continueTag marks the end of the message that the model continues.
const continueTag = "CONTINUE_FINAL_MESSAGE_TAG "

// tagged adds a tag to the field of the last message that is to be continued, and returns
// the text of the field.
func (r rendering) tagged(messages []any) ([]any, string, error) {
	field := r.Chat.Continue
	if r.Chat.AddGenerationPrompt {
		return nil, "", errors.New("a message is continued, or a new one begins with add_generation_prompt, not both")
	}
	last := messages[len(messages)-1]
	final, ok := jinja.Get(last, field)
	if !ok {
		return nil, "", fmt.Errorf("the final message has no %q to continue", field)
	}
	fields := []string{field}
	if slices.Contains(reasoningFields, field) {
		fields = nil
		for _, name := range reasoningFields {
			if v, ok := jinja.Get(last, name); ok && jinja.Equal(v, final) {
				fields = append(fields, name)
			}
		}
	}
	if !slices.ContainsFunc(fields, func(f string) bool { return strings.Contains(r.Template, f) }) {
		return nil, "", fmt.Errorf("the chat template does not read the field %q that is to be continued", field)
	}
	parts, isList := jinja.Items(final)
	text, isText := final.(string)
	switch {
	case isList:
		tagged := false
		parts = slices.Clone(parts)
		for i := len(parts) - 1; i >= 0 && !tagged; i-- {
			var v any
			if v, tagged = jinja.Get(parts[i], "text"); tagged {
				if text, isText = v.(string); !isText {
					return nil, "", fmt.Errorf("the text of part %d of the final message is not a string", i+1)
				}
				parts[i] = jinja.With(parts[i], "text", text+continueTag)
			}
		}
		if !tagged {
			return nil, "", errors.New("the final message has no text to continue")
		}
		last = jinja.With(last, field, jinja.List(parts))
	case isText:
		for _, name := range fields {
			last = jinja.With(last, name, text+continueTag)
		}
	default:
		return nil, "", fmt.Errorf("the field %q of the final message is not a text to continue", field)
	}
	messages = slices.Clone(messages)
	messages[len(messages)-1] = last
	return messages, text, nil
}

// untagged cuts a rendered text at the tag.
func untagged(text, final string) (string, error) {
	tag := strings.TrimSpace(continueTag)
	at := strings.LastIndex(text, tag)
	if at < 0 || !strings.Contains(text, jinja.Strip(final)) {
		return "", errors.New("the final message is not in the rendered chat as it is, so that it cannot be continued")
	}
	if strings.HasPrefix(text[at:], continueTag) {
		return text[:at], nil
	}
	return strings.TrimRightFunc(text[:at], unicode.IsSpace), nil
}
