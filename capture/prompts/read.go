// Package prompts reads sets of prompts and turns them into tokens. A set is a file of
// records: JSON lines, a JSON array, CSV, TSV or Parquet, which may be compressed by gzip or
// zstd. A record has one of several common forms, which docs/PROMPTS.md lists:
//
//	{"id": "a", "prompt": "raw text"}
//	{"messages": [{"role": "user", "content": "..."}, ...], "tools": [...]}
//	{"id": "d", "document": "...", "instructions": ["...", "..."], "outputs": ["...", "..."]}
//	{"context": "...", "input": "...", "answers": ["..."]}       LongBench
//	{"context": "...", "question": "...", "answer_prefix": "..."} kvpress
//	{"context": "...", "multi_turns": [{"input": "...", "answer": "..."}]} SCBench
//	{"input": "...", "outputs": ["..."], "answer_prefix": "..."} RULER
//	{"instruction": "...", "input": "...", "output": "..."}      Alpaca
//	{"conversations": [{"from": "human", "value": "..."}]}       ShareGPT
//	{"input_ids": [1, 2, 3], "response_ids": [4, 5]}
//
// Every field of a record is used, or known not to change the prompt, or an error, unless
// ReadOptions ignore it. ReadFile returns the records of a set, and Prepare returns the
// tokens of a record:
//
//	set, err := prompts.ReadFile("prompts.jsonl", os.Stdin, prompts.ReadOptions{})
//	...
//	p, err := prompts.Prepare(ctx, tok, set.Records[0], prompts.Options{})
package prompts

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Record is one prompt of a set. Exactly one of Text, Messages and IDs is set, and at
// most one of Response and ResponseIDs.
type Record struct {
	ID, Dataset string
	Line        int // in the file, from 1; of a file without lines, the number of its record
	unit        string
	Text        *string
	Messages    []Message
	IDs         []int32
	Document    string   // the same for records that begin with the same text; may be empty
	Context     string   // the text that is asked about, if the record gives it by itself; a part of Text or Messages
	Response    *string  // a reply to follow instead of generating one
	ResponseIDs []int32  // the same, as tokens
	References  []string // answers for scoring, which Options.Follow follows

	AnswerPrefix string // with which the reply begins; part of the prompt
	// Plain is the prompt of a model without a chat template. Nil: Messages, joined by
	// blank lines.
	Plain *string
	// Tools, Documents and Variables are what the chat template is given besides the
	// messages: two lists of objects, and an object.
	Tools, Documents, Variables json.RawMessage
}

// place says where in its file the record is.
func (r *Record) place() string {
	if r.unit == "" {
		return fmt.Sprintf("line %d", r.Line)
	}
	return fmt.Sprintf("%s %d", r.unit, r.Line)
}

// Set is a set of prompts.
type Set struct {
	Records []Record
	Ignored []string // fields that records have and ReadOptions.Ignore named, sorted
}

// ReadOptions say how records are understood.
type ReadOptions struct {
	Ignore   []string  // names of fields that are left out; "*": all that are not understood
	Template *Template // makes the prompt from the fields of a record; nil: by its form
}

// ReadFile reads the set of a file, or of stdin if its name is -. The content of a file
// determines its kind. Errors name the file and the line.
func ReadFile(path string, stdin io.Reader, o ReadOptions) (Set, error) {
	if path == "-" {
		return Read(stdin, "stdin", o)
	}
	f, err := os.Open(path)
	if err != nil {
		return Set{}, err
	}
	defer f.Close()
	return Read(f, path, o)
}

// Limits of a set.
const (
	maxPrompts = 500_000   // prompts of a set
	maxLine    = 256 << 20 // bytes of a record

	// The texts of all prompts may have maxText bytes, plus textRatio for each byte that was
	// read: a document is repeated in the prompt of each of its instructions or turns.
	maxText   = 256 << 20
	textRatio = 8
)

// Read reads a set. Errors call it name.
func Read(r io.Reader, name string, o ReadOptions) (Set, error) {
	set, err := read(r, name, o)
	if err != nil {
		return Set{}, fmt.Errorf("%s: %w", name, err)
	}
	return set, nil
}

func read(r io.Reader, name string, o ReadOptions) (Set, error) {
	rows, err := rowsOf(r, name, o.Template != nil)
	if err != nil {
		return Set{}, err
	}
	defer rows.close()
	reader := recordReader{options: o, benchmark: benchmarkOf(name), ignored: map[string]bool{}}
	var set Set
	seen := map[string]int{}
	bytesRead, text := 0, 0
	for number := 1; ; number++ {
		row, err := rows.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return Set{}, err
		}
		bytesRead += len(row)
		at := Record{Line: number, unit: rows.unit}
		if rows.line != nil {
			at.Line = rows.line()
		}
		fail := func(err error) (Set, error) { return Set{}, fmt.Errorf("%s: %w", at.place(), err) }
		records, err := reader.records(row, at, number)
		if err != nil {
			return fail(err)
		}
		for i := range records {
			rec := &records[i]
			if first, twice := seen[rec.ID]; twice {
				before := Record{Line: first, unit: rows.unit}
				return fail(fmt.Errorf("id %q is used in %s already", rec.ID, before.place()))
			}
			seen[rec.ID] = at.Line
			if text += rec.size(); text > maxText+textRatio*bytesRead {
				return fail(fmt.Errorf("the prompts up to here have more than %d MB of text, made of %d MB in the file: "+
					"split the file", maxText>>20, bytesRead>>20))
			}
		}
		if len(set.Records)+len(records) > maxPrompts {
			return fail(fmt.Errorf("more than %d prompts: split the file", maxPrompts))
		}
		set.Records = append(set.Records, records...)
	}
	if len(set.Records) == 0 && rows.line != nil {
		return Set{}, errors.New("no prompts: there is only the line of names")
	}
	if len(set.Records) == 0 {
		return Set{}, errors.New("no prompts: want one JSON object per line")
	}
	for name := range reader.ignored {
		set.Ignored = append(set.Ignored, name)
	}
	slices.Sort(set.Ignored)
	return set, nil
}

// size returns the number of bytes of a prompt's text.
func (r *Record) size() int {
	n := len(r.AnswerPrefix) + 4*len(r.IDs)
	if r.Text != nil {
		n += len(*r.Text)
	}
	for i := range r.Messages {
		n += len(r.Messages[i].Content) + len(r.Messages[i].JSON)
	}
	return n
}

// benchmarkOf returns the name of a SCBench set if the file or its folder is named after
// it, as those of its authors are.
func benchmarkOf(path string) string {
	base := filepath.Base(path)
	stem, _, _ := strings.Cut(base, ".")
	for _, name := range []string{stem, filepath.Base(filepath.Dir(path))} {
		if _, known := scbenchSets[name]; known {
			return name
		}
	}
	return ""
}
