package prompts

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Message is one message of a chat.
type Message struct {
	Role, Content string // Content: of several parts, their texts
	// JSON is the message as it was given, if it has more than a role and a text: templates
	// read tool calls, names and reasoning from it.
	JSON json.RawMessage
	// Beyond are the names of its fields besides role and content.
	Beyond []string
}

// object returns the message as JSON.
func (m *Message) object() (json.RawMessage, error) {
	if m.JSON != nil {
		return m.JSON, nil
	}
	return json.Marshal(struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}{m.Role, m.Content})
}

// readChat reads a list of messages, and what else apply_chat_template of transformers
// takes. If the last message is the assistant's, it is the reply to follow.
func readChat(r *recordReader, f *fields, base Record) ([]Record, error) {
	list, err := f.list("messages", "an object")
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("messages is empty")
	}
	msgs := make([]Message, len(list))
	for i, raw := range list {
		if msgs[i], err = r.message(raw); err != nil {
			return nil, fmt.Errorf("messages: message %d: %w", i+1, err)
		}
	}
	if base.Tools, err = f.objects("tools"); err != nil {
		return nil, err
	}
	if base.Documents, err = f.objects("documents"); err != nil {
		return nil, err
	}
	base.Variables = slices.Clone(f.take("chat_template_kwargs"))
	if base.Variables != nil && kindOf(base.Variables) != "object" {
		return nil, fmt.Errorf("chat_template_kwargs: %s, want an object", kindOf(base.Variables))
	}
	if msgs, err = withSystem(f, msgs); err != nil {
		return nil, err
	}
	// Some sets of chats repeat the first question.
	first := slices.IndexFunc(msgs, func(m Message) bool { return m.Role == "user" })
	if s, err := f.text("prompt"); err == nil && s != nil && (first < 0 || *s != msgs[first].Content) {
		delete(f.used, "prompt")
	}
	return chat(f, base, msgs)
}

// withSystem puts the system message of a field of that name before the others.
func withSystem(f *fields, msgs []Message) ([]Message, error) {
	system, err := f.text("system")
	if err != nil || system == nil || *system == "" {
		return msgs, err
	}
	if msgs[0].Role == "system" {
		if msgs[0].Content == *system {
			return msgs, nil
		}
		return nil, errors.New("both the field system and a system message: want one")
	}
	return slices.Insert(msgs, 0, Message{Role: "system", Content: *system}), nil
}

// chat returns the record of messages.
func chat(f *fields, base Record, msgs []Message) ([]Record, error) {
	if last := msgs[len(msgs)-1]; last.Role == "assistant" {
		if base.Response != nil || base.ResponseIDs != nil {
			return nil, errors.New("a last assistant message and a response: want one reply to follow")
		}
		if last.Beyond != nil {
			return nil, fmt.Errorf("the last message is the assistant's and has %s: only its text can be followed; "+
				"leave the message out, or give the reply as response", strings.Join(last.Beyond, ", "))
		}
		base.Response = &last.Content
		msgs = msgs[:len(msgs)-1]
		if len(msgs) == 0 {
			return nil, errors.New("only an assistant message: nothing to answer")
		}
	}
	base.Messages = msgs
	var err error
	base.References, err = f.references()
	return []Record{base}, err
}

// message reads one message. Its fields besides role and content are the template's to read.
func (r *recordReader) message(raw json.RawMessage) (Message, error) {
	if kindOf(raw) != "object" {
		return Message{}, fmt.Errorf("%s, want an object", kindOf(raw))
	}
	f, err := splitFields(raw)
	if err != nil {
		return Message{}, err
	}
	before := len(f.names)
	f.drop(r.options.Ignore, r.ignored)
	var m Message
	if m.Role, err = f.wanted("role"); err != nil {
		return Message{}, err
	}
	if m.Role == "" {
		return Message{}, errors.New("no role")
	}
	for _, name := range f.names {
		if name != "role" && name != "content" && f.has(name) {
			m.Beyond = append(m.Beyond, name)
		}
	}
	parts := false
	switch content := f.take("content"); {
	case content == nil:
		if m.Beyond == nil {
			return Message{}, errors.New("no content")
		}
	case kindOf(content) == "list":
		parts = true
		m.Content, err = textOfParts(content)
	default:
		m.Content, err = f.wanted("content")
	}
	if err != nil {
		return Message{}, err
	}
	switch {
	case len(f.names) < before:
		m.JSON, err = f.object()
	case parts || len(f.names) != 2 || !f.has("content"):
		m.JSON = raw
	}
	return m, err
}

// textOfParts returns the text of a content that is a list of parts.
func textOfParts(content json.RawMessage) (string, error) {
	var parts []json.RawMessage
	if err := json.Unmarshal(content, &parts); err != nil {
		return "", err
	}
	var text strings.Builder
	for i, raw := range parts {
		if kindOf(raw) != "object" {
			return "", fmt.Errorf("content: part %d is a %s, want an object with type and text", i+1, kindOf(raw))
		}
		part, err := splitFields(raw)
		if err != nil {
			return "", err
		}
		kind, err := part.text("type")
		if err != nil {
			return "", fmt.Errorf("content: part %d: %w", i+1, err)
		}
		if kind != nil && *kind != "text" {
			return "", fmt.Errorf("content: part %d is of type %q, want text: only text is read", i+1, *kind)
		}
		s, err := part.wanted("text")
		if err != nil {
			return "", fmt.Errorf("content: part %d: %w", i+1, err)
		}
		text.WriteString(s)
	}
	return text.String(), nil
}

// object returns the fields as JSON.
func (f *fields) object() (json.RawMessage, error) {
	var b strings.Builder
	for i, name := range f.names {
		key, err := json.Marshal(name)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(f.values[name])
	}
	return json.RawMessage("{" + b.String() + "}"), nil
}

// speakers are the roles that ShareGPT's names stand for.
var speakers = map[string]string{
	"human": "user", "user": "user",
	"gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant",
	"system": "system",
}

// readShareGPT reads chats whose messages have the fields from and value.
func readShareGPT(r *recordReader, f *fields, base Record) ([]Record, error) {
	list, err := f.list("conversations", "an object")
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("conversations is empty")
	}
	msgs := make([]Message, len(list))
	for i, raw := range list {
		if msgs[i], err = r.spoken(raw); err != nil {
			return nil, fmt.Errorf("conversations: message %d: %w", i+1, err)
		}
	}
	if msgs, err = withSystem(f, msgs); err != nil {
		return nil, err
	}
	return chat(f, base, msgs)
}

// spoken reads one message of ShareGPT.
func (r *recordReader) spoken(raw json.RawMessage) (Message, error) {
	if kindOf(raw) != "object" {
		return Message{}, fmt.Errorf("%s, want an object", kindOf(raw))
	}
	f, err := splitFields(raw)
	if err != nil {
		return Message{}, err
	}
	f.drop(r.options.Ignore, r.ignored)
	from, err := f.wanted("from")
	if err != nil {
		return Message{}, err
	}
	role := speakers[from]
	if role == "" {
		return Message{}, fmt.Errorf("from %q: want human, gpt or system; "+
			"write other messages as messages with role and content", from)
	}
	value, err := f.wanted("value")
	if err != nil {
		return Message{}, err
	}
	return Message{Role: role, Content: value}, f.unused("a message of ShareGPT (from, value)", r.options, r.ignored)
}
