package prompts

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// table reads CSV (RFC 4180), or TSV with the same quotes. Values are kept as they are:
// line breaks in quotes are not changed. A cell that is empty and not quoted is null.
type table struct {
	in    *bufio.Reader
	comma byte
	names []string
	keys  []json.RawMessage
	line  int // of the row that was read last
	at    int // lines that were read
}

// structured are the fields that are lists or objects. Their cells are JSON if they begin
// with a bracket.
var structured = []string{
	"messages", "conversations", "multi_turns", "tools", "documents", "chat_template_kwargs",
	"instructions", "outputs", "answers", "input_ids", "response_ids",
}

// cell is a cell of a table.
type cell struct {
	text   string
	quoted bool
}

// header reads the line of names.
func (t *table) header() ([]string, error) {
	cells, err := t.row(1 << 16)
	if err != nil {
		return nil, fmt.Errorf("line 1: %w", err)
	}
	for i, c := range cells {
		switch {
		case c.text == "" && i == 0: // the index of a data frame
			c.text = "index"
		case c.text == "":
			return nil, fmt.Errorf("line 1: column %d has no name", i+1)
		}
		if slices.Contains(t.names, c.text) {
			return nil, fmt.Errorf("line 1: two columns are named %q", c.text)
		}
		key, err := json.Marshal(c.text)
		if err != nil {
			return nil, err
		}
		t.names = append(t.names, c.text)
		t.keys = append(t.keys, key)
	}
	return t.names, nil
}

// next returns a row as a JSON object.
func (t *table) next() (json.RawMessage, error) {
	t.line = t.at + 1
	cells, err := t.row(maxLine)
	if errors.Is(err, io.EOF) {
		return nil, io.EOF
	}
	if err == nil && len(cells) != len(t.names) {
		err = fmt.Errorf("%d cells, want %d as in line 1", len(cells), len(t.names))
	}
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", t.line, err)
	}
	var b bytes.Buffer
	b.WriteByte('{')
	for i, c := range cells {
		if i > 0 {
			b.WriteByte(',')
		}
		b.Write(t.keys[i])
		b.WriteByte(':')
		switch {
		case c.text == "" && !c.quoted:
			b.WriteString("null")
		case slices.Contains(structured, t.names[i]) && isJSON(c.text):
			b.WriteString(c.text)
		default:
			if err := checkText([]byte(strings.ReplaceAll(c.text, `\`, ""))); err != nil {
				return nil, fmt.Errorf("line %d: column %q: %w", t.line, t.names[i], err)
			}
			value, err := json.Marshal(c.text)
			if err != nil {
				return nil, err
			}
			b.Write(value)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// isJSON reports whether a cell is a list or an object.
func isJSON(cell string) bool {
	return cell != "" && strings.IndexByte("[{", cell[0]) >= 0 && json.Valid([]byte(cell))
}

// row reads the cells of a row of at most limit bytes.
func (t *table) row(limit int) ([]cell, error) {
	var cells []cell
	var text []byte
	size := 0
	quoted := false // the cell is in quotes
	open := false   // and they are not closed yet
	finish := func() {
		cells = append(cells, cell{string(text), quoted})
		text = text[:0]
		quoted = false
	}
	for {
		c, err := t.in.ReadByte()
		if errors.Is(err, io.EOF) && open {
			return nil, errors.New("a quote is not closed")
		}
		if errors.Is(err, io.EOF) && size > 0 {
			finish()
			t.at++
			return cells, nil
		}
		if err != nil {
			return nil, err
		}
		if size++; size > limit {
			return nil, fmt.Errorf("longer than %d bytes", limit)
		}
		if c == '\n' {
			t.at++
		}
		switch {
		case open && c == '"':
			if next, _ := t.in.Peek(1); len(next) == 1 && next[0] == '"' {
				t.in.Discard(1)
				text = append(text, c)
			} else {
				open = false
			}
		case open:
			text = append(text, c)
		case c == t.comma:
			finish()
		case c == '\n':
			finish()
			return cells, nil
		case c == '\r' && t.endsLine():
		case c == '"' && len(text) == 0 && !quoted:
			open = true
			quoted = true
		case quoted:
			return nil, fmt.Errorf("%s after a closed quote: a quote in a cell is written twice", strconv.Quote(string(rune(c))))
		case c == '"' && t.comma == ',':
			return nil, errors.New("a quote in a cell that does not begin with one: put the cell in quotes")
		default:
			text = append(text, c)
		}
	}
}

// endsLine reports whether the next byte ends the line.
func (t *table) endsLine() bool {
	next, _ := t.in.Peek(1)
	return len(next) == 0 || next[0] == '\n'
}
