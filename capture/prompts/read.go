// Package prompts reads sets of prompts and turns them into tokens. A set is a JSONL
// file: one object per line, in one of several common forms.
//
//	{"id": "a", "prompt": "raw text"}
//	{"messages": [{"role": "user", "content": "..."}, ...]}
//	{"id": "d", "document": "...", "instructions": ["...", "..."], "outputs": ["...", "..."]}
//	{"context": "...", "question": "...", "answers": ["..."]}    LongBench, kvpress
//	{"input": "...", "outputs": ["..."]}                         RULER
//	{"input_ids": [1, 2, 3], "response_ids": [4, 5]}
//
// ReadFile returns the records of a set, and Prepare returns the tokens of a record:
//
//	records, err := prompts.ReadFile("prompts.jsonl", os.Stdin)
//	...
//	p, err := prompts.Prepare(ctx, tok, records[0], prompts.Options{})
package prompts

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

// Record is one prompt of a file. Exactly one of Text, Messages and IDs is set, and at
// most one of Response and ResponseIDs.
type Record struct {
	ID, Dataset string
	Line        int // in the file, from 1
	Text        *string
	Messages    []tokenizer.Message
	IDs         []int32
	Document    string   // the same for records that begin with the same text; may be empty
	Response    *string  // a reply to follow instead of generating one
	ResponseIDs []int32  // the same, as tokens
	References  []string // answers for scoring, which Options.Follow follows
}

// maxLine is the largest number of bytes in a line.
const maxLine = 256 << 20

// ReadFile reads the records of a file: .jsonl, .jsonl.zst, or - for stdin. Errors name
// the file and the line.
func ReadFile(path string, stdin io.Reader) ([]Record, error) {
	if path == "-" {
		return Read(stdin, "stdin")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".zst") {
		fi, err := f.Stat()
		if err != nil {
			return nil, err
		}
		z, err := zstd.NewReader(f, zstd.WithDecoderMaxMemory(1<<40), zstd.WithDecoderMaxWindow(128<<20))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		defer z.Close()
		r = &bounded{z, maxExpanded + maxRatio*fi.Size()}
	}
	return Read(r, path)
}

// A compressed set may have maxExpanded bytes when decompressed, plus maxRatio bytes
// for each byte of the file.
const (
	maxExpanded = 1 << 30
	maxRatio    = 64
)

// bounded is a reader that fails after more than left bytes.
type bounded struct {
	r    io.Reader
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, fmt.Errorf("decompresses to more than a gigabyte and %d times its size: decompress the file first", maxRatio)
	}
	return n, err
}

// Read reads the records of JSONL text. Errors call the file name.
func Read(r io.Reader, name string) ([]Record, error) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 1<<20), maxLine)
	var list []Record
	seen := map[string]int{}
	line := 0
	for s.Scan() {
		line++
		text := bytes.TrimSpace(s.Bytes())
		if line == 1 {
			text = bytes.TrimPrefix(text, []byte("\ufeff"))
		}
		if len(text) == 0 {
			return nil, fmt.Errorf("%s: line %d is empty: want one JSON object per line", name, line)
		}
		records, err := parse(text, line)
		if err != nil {
			return nil, fmt.Errorf("%s: line %d: %w", name, line, err)
		}
		for _, rec := range records {
			if first, twice := seen[rec.ID]; twice {
				return nil, fmt.Errorf("%s: line %d: id %q is used in line %d already", name, line, rec.ID, first)
			}
			seen[rec.ID] = line
			list = append(list, rec)
		}
	}
	if err := s.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			err = fmt.Errorf("longer than %d bytes", maxLine)
		}
		return nil, fmt.Errorf("%s: line %d: %w", name, line+1, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: no prompts: want one JSON object per line", name)
	}
	return list, nil
}

// lineForm has the fields of all forms.
type lineForm struct {
	ID           json.RawMessage     `json:"id"`
	UnderID      json.RawMessage     `json:"_id"`
	Index        json.RawMessage     `json:"index"`
	Dataset      string              `json:"dataset"`
	Prompt       *string             `json:"prompt"`
	Messages     []tokenizer.Message `json:"messages"`
	Document     *string             `json:"document"`
	Instructions []string            `json:"instructions"`
	Outputs      []string            `json:"outputs"`
	InputIDs     []int32             `json:"input_ids"`
	DocumentID   string              `json:"document_id"` // prompts with the same one may share a prefill
	Input        *string             `json:"input"`
	Context      *string             `json:"context"`
	Question     *string             `json:"question"`
	Answers      []string            `json:"answers"`
	Answer       json.RawMessage     `json:"answer"`
	Response     *string             `json:"response"`
	ResponseIDs  []int32             `json:"response_ids"`
}

// parse returns the records of a line: one, or one per instruction on a document.
func parse(text []byte, line int) ([]Record, error) {
	var f lineForm
	if text[0] != '{' {
		return nil, fmt.Errorf("starts with %q, want a JSON object", text[0])
	}
	if err := json.Unmarshal(text, &f); err != nil {
		var misfit *json.UnmarshalTypeError
		if errors.As(err, &misfit) {
			return nil, fmt.Errorf("%s: %s, want %s", misfit.Field, misfit.Value, kindName(misfit.Type))
		}
		return nil, err
	}
	id, err := f.id(line)
	if err != nil {
		return nil, err
	}
	base := Record{
		ID: id, Dataset: f.Dataset, Line: line, Document: f.DocumentID,
		Response: f.Response, ResponseIDs: f.ResponseIDs,
	}
	if f.Response != nil && f.ResponseIDs != nil {
		return nil, errors.New("both response and response_ids: want one")
	}
	switch {
	case f.InputIDs != nil:
		base.IDs = f.InputIDs
		if len(f.InputIDs) == 0 {
			return nil, errors.New("input_ids is empty")
		}
	case f.Prompt != nil:
		base.Text = f.Prompt
		base.References = f.references()
	case f.Messages != nil:
		return f.chat(base)
	case f.Document != nil:
		return f.document(base)
	case f.Context != nil: // LongBench and kvpress
		question := f.Question
		if question == nil {
			question = f.Input
		}
		content := *f.Context
		if question != nil && *question != "" {
			content += "\n\n" + *question
		}
		base.Messages = []tokenizer.Message{{Role: "user", Content: content}}
		base.References = f.references()
		base.Document = hashOf(*f.Context)
	case f.Input != nil: // RULER
		base.Messages = []tokenizer.Message{{Role: "user", Content: *f.Input}}
		base.References = f.references()
	default:
		return nil, errors.New("no known fields: want prompt, messages, document with instructions, input_ids, context or input")
	}
	return []Record{base}, nil
}

// kindName returns the JSON name of the type that a field must have.
func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return kindName(t.Elem())
	case reflect.Slice:
		return "a list of which each element is " + kindName(t.Elem())
	case reflect.Int32:
		return "an integer"
	case reflect.String:
		return "a string"
	}
	return "an object"
}

// id returns the record's id, a string or a number, or its line number if it has none.
func (f *lineForm) id(line int) (string, error) {
	for _, raw := range []json.RawMessage{f.ID, f.UnderID, f.Index} {
		var s string
		if len(raw) == 0 || string(raw) == "null" || json.Unmarshal(raw, &s) == nil && s == "" {
			continue
		}
		if s != "" {
			return s, nil
		}
		var n json.Number
		if json.Unmarshal(raw, &n) != nil {
			return "", fmt.Errorf("id %s: want a string or a number", raw)
		}
		return n.String(), nil
	}
	return strconv.Itoa(line), nil
}

// references returns the answers for scoring.
func (f *lineForm) references() []string {
	if f.Outputs != nil {
		return f.Outputs
	}
	if f.Answers != nil {
		return f.Answers
	}
	var one string
	var many []string
	if json.Unmarshal(f.Answer, &one) == nil && one != "" {
		return []string{one}
	}
	_ = json.Unmarshal(f.Answer, &many)
	return many
}

// chat returns the record of a list of messages. If the last message is the
// assistant's, it is the reply to follow.
func (f *lineForm) chat(base Record) ([]Record, error) {
	msgs := f.Messages
	if len(msgs) == 0 {
		return nil, errors.New("messages is empty")
	}
	for i, m := range msgs {
		if m.Role == "" {
			return nil, fmt.Errorf("message %d has no role", i)
		}
	}
	if last := msgs[len(msgs)-1]; last.Role == "assistant" {
		if base.Response != nil || base.ResponseIDs != nil {
			return nil, errors.New("a last assistant message and a response: want one reply to follow")
		}
		base.Response = &last.Content
		msgs = msgs[:len(msgs)-1]
		if len(msgs) == 0 {
			return nil, errors.New("only an assistant message: nothing to answer")
		}
	}
	base.Messages = msgs
	base.References = f.references()
	return []Record{base}, nil
}

// document returns a record per instruction. Its user message is the document, a blank
// line and the instruction.
func (f *lineForm) document(base Record) ([]Record, error) {
	if len(f.Instructions) == 0 {
		return nil, errors.New("document without instructions")
	}
	if f.Outputs != nil && len(f.Outputs) != len(f.Instructions) {
		return nil, fmt.Errorf("%d outputs for %d instructions: want one output per instruction",
			len(f.Outputs), len(f.Instructions))
	}
	var list []Record
	for i, ask := range f.Instructions {
		r := base
		r.ID = fmt.Sprintf("%s/%d", base.ID, i)
		r.Document = base.ID
		r.Messages = []tokenizer.Message{{Role: "user", Content: *f.Document + "\n\n" + ask}}
		if f.Outputs != nil {
			r.References = []string{f.Outputs[i]}
		}
		list = append(list, r)
	}
	return list, nil
}
