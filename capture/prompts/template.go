package prompts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxTemplate is the largest number of bytes of a template's file.
const maxTemplate = 1 << 20

// Template makes the user's message, or the prompt of a model without a chat template, from
// the fields of a record. It is text in which {field} stands for the value of a field,
// {field.name} for a field of an object, {field.0} for an element of a list, and {{ and }}
// for braces: as in Python's str.format, which benchmarks use for their prompts.
type Template struct {
	parts []templatePart
}

// templatePart is a text, or the path of a field if that is not empty.
type templatePart struct {
	text string
	path string
}

// ReadTemplate reads the template of a file. One line break at the end of the file is not
// part of it.
func ReadTemplate(path string) (*Template, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxTemplate+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTemplate {
		return nil, fmt.Errorf("%s: a template of more than %d bytes", path, maxTemplate)
	}
	t, err := ParseTemplate(strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r"))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTemplate reads a template.
func ParseTemplate(text string) (*Template, error) {
	if !utf8.ValidString(text) {
		return nil, errors.New("the template is not UTF-8")
	}
	t := &Template{}
	var literal strings.Builder
	line := 1
	named := false
	for at := 0; at < len(text); at++ {
		c := text[at]
		if c == '\n' {
			line++
		}
		if c != '{' && c != '}' {
			literal.WriteByte(c)
			continue
		}
		if at+1 < len(text) && text[at+1] == c {
			literal.WriteByte(c)
			at++
			continue
		}
		if c == '}' {
			return nil, fmt.Errorf("line %d: } without {: write }} for a brace", line)
		}
		end := strings.IndexAny(text[at+1:], "{}\n")
		if end <= 0 || text[at+1+end] != '}' {
			return nil, fmt.Errorf("line %d: { without the name of a field and }: write {{ for a brace", line)
		}
		t.parts = append(t.parts, templatePart{text: literal.String()}, templatePart{path: text[at+1 : at+1+end]})
		literal.Reset()
		named = true
		at += end + 1
	}
	t.parts = append(t.parts, templatePart{text: literal.String()})
	if !named {
		return nil, errors.New("the template names no field: write {field} where its value belongs")
	}
	return t, nil
}

// readTemplate makes the prompt of a record with a template.
func readTemplate(r *recordReader, f *fields, base Record) ([]Record, error) {
	var b strings.Builder
	for _, p := range r.options.Template.parts {
		b.WriteString(p.text)
		if p.path == "" {
			continue
		}
		value, err := f.at(p.path)
		if err != nil {
			return nil, err
		}
		b.WriteString(value)
		if b.Len() > maxText {
			return nil, fmt.Errorf("the template makes a prompt of more than %d bytes", maxText)
		}
	}
	var err error
	base.References, err = f.references()
	content := b.String()
	base.Plain = &content
	return []Record{ask(base, content)}, err
}

// at returns the text of the value that a path such as messages.0.content names.
func (f *fields) at(path string) (string, error) {
	fail := func(format string, args ...any) (string, error) {
		return "", fmt.Errorf("the template names {%s}: "+format, append([]any{path}, args...)...)
	}
	name, rest, below := strings.Cut(path, ".")
	if f.has(path) {
		name, rest, below = path, "", false
	}
	value := f.take(name)
	if value == nil {
		return fail("the record has no %q, only %s", name, quoted(f.names))
	}
	for below {
		var step string
		step, rest, below = strings.Cut(rest, ".")
		switch kindOf(value) {
		case "object":
			o, err := splitFields(value)
			if err != nil {
				return "", err
			}
			if value = o.take(step); value == nil {
				return fail("there is no %q, only %s", step, quoted(o.names))
			}
		case "list":
			var list []json.RawMessage
			if err := json.Unmarshal(value, &list); err != nil {
				return "", err
			}
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(list) {
				return fail("there is no %q in a list of %d elements, which count from 0", step, len(list))
			}
			value = list[i]
		default:
			return fail("before %q is a %s, want an object or a list", step, kindOf(value))
		}
	}
	text, err := scalar(value)
	if err != nil {
		return fail("%w; name what is in it, as in {%s.0}", err, path)
	}
	return text, nil
}

// quoted lists names in quotes, the first few of many.
func quoted(names []string) string {
	var list []string
	for i, name := range names {
		if i == 20 {
			list = append(list, "...")
			break
		}
		list = append(list, strconv.Quote(name))
	}
	return strings.Join(list, ", ")
}
