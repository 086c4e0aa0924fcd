package prompts

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/attnscope/attnscope/internal/jinja"
	"github.com/attnscope/attnscope/internal/jsonerr"
)

// metadata are the fields of records that describe a prompt and are no part of it, in all
// forms. Programs that these sets are made for do not show them to the model either.
var metadata = strings.Fields(`
	_id id idx index uid uuid guid qid question_id prompt_id sample_id example_id conversation_id row_id
	source source_url url license language lang domain sub_domain category topic task task_name subset split
	difficulty length num_tokens token_size num_lines prompt_length context_length length_w_model_temp
	token_position_answer depth depth_percent random_idx correct_line all_classes evaluation
	created created_at timestamp date author version tags metadata model
	max_new_tokens tokens_to_generate`) // the command says how long replies are

// fields are the fields of a record or of an object in it.
type fields struct {
	names  []string // in the order of the record
	values map[string]json.RawMessage
	used   map[string]bool
}

// splitFields splits a JSON object into its fields.
func splitFields(text []byte) (*fields, error) {
	if text[0] != '{' {
		return nil, fmt.Errorf("starts with %q, want a JSON object", text[0])
	}
	if err := checkText(text); err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		var v json.RawMessage
		err := json.Unmarshal(text, &v)
		return nil, fmt.Errorf("%w: want one JSON object per line", jsonerr.Plain(text, err))
	}
	f := &fields{values: map[string]json.RawMessage{}, used: map[string]bool{}}
	at := 1
	space := func() {
		for at < len(text) && strings.IndexByte(" \t\r\n,:", text[at]) >= 0 {
			at++
		}
	}
	for space(); text[at] != '}'; space() {
		from := at
		at = skipValue(text, at)
		var name string
		if err := json.Unmarshal(text[from:at], &name); err != nil {
			return nil, err
		}
		if _, twice := f.values[name]; twice {
			return nil, fmt.Errorf("the field %q is there twice", name)
		}
		space()
		from = at
		at = skipValue(text, at)
		f.names = append(f.names, name)
		f.values[name] = text[from:at]
	}
	return f, nil
}

// skipValue returns the end of the value that begins at a position of valid JSON.
func skipValue(text []byte, at int) int {
	depth := 0
	for {
		switch text[at] {
		case '"':
			for at++; text[at] != '"'; at++ {
				if text[at] == '\\' {
					at++
				}
			}
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		default:
			if depth > 0 {
				break
			}
			for at < len(text) && strings.IndexByte(",}] \t\r\n", text[at]) < 0 {
				at++
			}
			return at
		}
		at++
		if depth == 0 {
			return at
		}
	}
}

// checkText refuses what a JSON reader of Go would replace: bytes that are not UTF-8, and
// halves of surrogate pairs.
func checkText(text []byte) error {
	if !utf8.Valid(text) {
		at := 0
		for at < len(text) {
			r, n := utf8.DecodeRune(text[at:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			at += n
		}
		return fmt.Errorf("byte %d, %#x, is not UTF-8: convert the file first, with iconv -f latin1 -t utf-8 or the like",
			at+1, text[at])
	}
	if !bytes.Contains(text, []byte(`\u`)) {
		return nil
	}
	for at := 0; at < len(text); at++ {
		if text[at] != '\\' {
			continue
		}
		unit, ok := escaped(text[at:])
		if !ok {
			at++
			continue
		}
		at += 5
		if unit < 0xd800 || unit > 0xdfff {
			continue
		}
		second, ok := escaped(text[at+1:])
		if unit > 0xdbff || !ok || second < 0xdc00 || second > 0xdfff {
			return fmt.Errorf(`byte %d: \u%04x is half of a surrogate pair, which is not a character`, at-4, unit)
		}
		at += 6
	}
	return nil
}

// escaped reads an escape such as \u00e9.
func escaped(text []byte) (uint64, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	unit, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return unit, err == nil
}

// has reports whether a field is there and not null.
func (f *fields) has(name string) bool {
	raw, ok := f.values[name]
	return ok && string(raw) != "null"
}

// empty reports whether a field says nothing: it is null, or an empty text, list or
// object.
func (f *fields) empty(name string) bool {
	raw := f.values[name]
	switch kindOf(raw) {
	case "null":
		return true
	case "string":
		return string(raw) == `""`
	case "list", "object":
		return len(bytes.TrimSpace(raw[1:len(raw)-1])) == 0
	}
	return false
}

// take returns the value of a field, which is used by that; nil if it is not there.
func (f *fields) take(name string) json.RawMessage {
	if !f.has(name) {
		return nil
	}
	f.used[name] = true
	return f.values[name]
}

// kindOf returns the JSON name of the type of a value.
func kindOf(raw json.RawMessage) string {
	switch raw[0] {
	case '{':
		return "object"
	case '[':
		return "list"
	case '"':
		return "string"
	case 't', 'f':
		return "bool"
	case 'n':
		return "null"
	}
	return "number"
}

// text returns a field that must be a string, or nil if it is not there.
func (f *fields) text(name string) (*string, error) {
	raw := f.take(name)
	if raw == nil {
		return nil, nil
	}
	if kindOf(raw) != "string" {
		return nil, fmt.Errorf("%s: %s, want a string", name, kindOf(raw))
	}
	var s string
	err := json.Unmarshal(raw, &s)
	return &s, err
}

// wanted is text for a field that must be there.
func (f *fields) wanted(name string) (string, error) {
	s, err := f.text(name)
	if err != nil {
		return "", err
	}
	if s == nil {
		return "", fmt.Errorf("no %s", name)
	}
	return *s, nil
}

// list returns the elements of a field that must be a list, or nil if it is not there.
// Errors say that each element is such a thing.
func (f *fields) list(name, element string) ([]json.RawMessage, error) {
	raw := f.take(name)
	if raw == nil {
		return nil, nil
	}
	if kindOf(raw) != "list" {
		return nil, fmt.Errorf("%s: %s, want a list of which each element is %s", name, kindOf(raw), element)
	}
	list := []json.RawMessage{}
	err := json.Unmarshal(raw, &list)
	return list, err
}

// objects returns a copy of a field that must be a list of objects.
func (f *fields) objects(name string) (json.RawMessage, error) {
	list, err := f.list(name, "an object")
	if err != nil || list == nil {
		return nil, err
	}
	for i, v := range list {
		if kindOf(v) != "object" {
			return nil, fmt.Errorf("%s: element %d is a %s, want an object", name, i+1, kindOf(v))
		}
	}
	return slices.Clone(f.values[name]), nil
}

// integers returns a field that must be a list of token ids, which are not negative.
func (f *fields) integers(name string) ([]int32, error) {
	list, err := f.list(name, "an integer")
	if err != nil || list == nil {
		return nil, err
	}
	ids := make([]int32, len(list))
	for i, raw := range list {
		n, err := strconv.ParseInt(string(raw), 10, 32)
		if err != nil && kindOf(raw) == "number" {
			return nil, fmt.Errorf("%s: number %s, want an integer", name, raw)
		} else if err != nil {
			return nil, fmt.Errorf("%s: element %d is a %s, want an integer", name, i+1, kindOf(raw))
		} else if n < 0 {
			return nil, fmt.Errorf("%s: element %d is %d, want a token id from 0", name, i+1, n)
		}
		ids[i] = int32(n)
	}
	return ids, nil
}

// texts returns a field that is a string, a list of strings, or numbers and booleans in
// their place, which are written as Python's str does.
func (f *fields) texts(name string) ([]string, error) {
	raw := f.take(name)
	if raw == nil {
		return nil, nil
	}
	var elements []json.RawMessage
	if kindOf(raw) != "list" {
		elements = append(elements, raw)
	} else if err := json.Unmarshal(raw, &elements); err != nil {
		return nil, err
	}
	list := make([]string, len(elements))
	for i, v := range elements {
		var err error
		if list[i], err = scalar(v); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return list, nil
}

// scalar returns the text of a string, a number or a boolean.
func scalar(raw json.RawMessage) (string, error) {
	switch kind := kindOf(raw); kind {
	case "object", "list", "null":
		return "", fmt.Errorf("%s, want a string or a number", kind)
	}
	return pythonText(raw)
}

// pythonText returns a value as Python's str writes it.
func pythonText(raw json.RawMessage) (string, error) {
	v, err := jinja.DecodeJSON(raw)
	if err != nil {
		return "", err
	}
	return jinja.Text(v), nil
}

// references returns the answers for scoring: the first of these fields that is there.
func (f *fields) references(names ...string) ([]string, error) {
	for _, name := range slices.Concat([]string{"outputs", "answers", "answer"}, names) {
		list, err := f.texts(name)
		if err != nil {
			return nil, err
		}
		if len(list) == 1 && list[0] == "" && kindOf(f.values[name]) == "string" {
			continue // no answer is known
		}
		if list != nil {
			return list, nil
		}
	}
	return nil, nil
}

// id returns the record's id, a string or a number, or its number in the file if it has
// none.
func (f *fields) id(number int) (string, error) {
	for _, name := range []string{"id", "_id", "index"} {
		raw := f.take(name)
		if raw == nil || string(raw) == `""` {
			continue
		}
		if kind := kindOf(raw); kind != "string" && kind != "number" {
			return "", fmt.Errorf("id %s: want a string or a number", raw)
		}
		if raw[0] != '"' {
			return string(raw), nil
		}
		var s string
		err := json.Unmarshal(raw, &s)
		return s, err
	}
	return strconv.Itoa(number), nil
}

// drop removes the fields that are ignored by their names, and notes them.
func (f *fields) drop(ignore []string, ignored map[string]bool) {
	for _, name := range ignore {
		if _, there := f.values[name]; there && name != "*" {
			delete(f.values, name)
			f.names = slices.DeleteFunc(f.names, func(n string) bool { return n == name })
			ignored[name] = true
		}
	}
}

// unused returns an error that names the fields that nothing used and that are neither
// empty nor metadata nor ignored. Errors say that they are in what.
func (f *fields) unused(what string, o ReadOptions, ignored map[string]bool, harmless ...string) error {
	var names []string
	for _, name := range f.names {
		if f.used[name] || f.empty(name) || slices.Contains(metadata, name) || slices.Contains(harmless, name) {
			continue
		}
		if slices.Contains(o.Ignore, "*") {
			ignored[name] = true
			continue
		}
		names = append(names, name)
	}
	if names == nil {
		return nil
	}
	words := make([]string, len(names))
	for i, name := range names {
		words[i] = strconv.Quote(name)
	}
	noun := "the field"
	verb := "is"
	if len(names) > 1 {
		noun = "the fields"
		verb = "are"
	}
	return fmt.Errorf("%s %s %s not understood in %s: use it with --template, or leave it out with --ignore-field %s",
		noun, strings.Join(words, ", "), verb, what, shellWord(strings.Join(names, ",")))
}

// shellWord quotes a text for a shell if it needs that.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return r < '+' || r == '`' || r == ';' || r == '<' || r == '>' || r == '?' || r == '\\' || r == '|' || r > '~'
	}) {
		return strconv.Quote(s)
	}
	return s
}
