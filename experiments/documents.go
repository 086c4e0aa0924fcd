package experiments

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/examples"
)

// document is a text with instructions on it and reference answers, or a dialogue.
type document struct {
	ID           string
	Text         string
	Instructions []string
	Outputs      []string
	Messages     []tokenizer.Message // of a dialogue, which has no Text
	set          string
	tokens       int  // of the text, after truncation
	truncated    bool // the text lost its middle
}

// documentForm is a line of a set. It has the fields of this project (document,
// instructions, outputs; L-Eval uses other names), of LongBench, of kvpress, or of a
// dialogue.
type documentForm struct {
	ID           string              `json:"id"`
	LongBenchID  string              `json:"_id"`
	Document     string              `json:"document"`
	Instructions []string            `json:"instructions"`
	Outputs      []string            `json:"outputs"`
	Context      string              `json:"context"`
	Input        string              `json:"input"`
	Answers      []string            `json:"answers"`
	Question     string              `json:"question"`
	Answer       string              `json:"answer"`
	Messages     []tokenizer.Message `json:"messages"`
}

// parseDocument reads a line of a set, which has a document or a dialogue. A missing
// id is made from the set and the line number.
func parseDocument(text []byte, set string, line int) (document, error) {
	var f documentForm
	fail := func(format string, args ...any) (document, error) {
		return document{}, fmt.Errorf("set %s: line %d: "+format, append([]any{set, line}, args...)...)
	}
	if err := json.Unmarshal(text, &f); err != nil {
		return fail("%w", err)
	}
	d := document{
		ID:           f.ID,
		Text:         f.Document,
		Instructions: f.Instructions,
		Outputs:      f.Outputs,
		Messages:     f.Messages,
		set:          set,
	}
	if d.ID == "" {
		d.ID = f.LongBenchID
	}
	if d.ID == "" {
		d.ID = fmt.Sprintf("%s-%d", set, line)
	}
	if f.Context != "" {
		d.Text = f.Context
		switch {
		case f.Question != "":
			d.Instructions = []string{f.Question}
			d.Outputs = nil
			if f.Answer != "" {
				d.Outputs = []string{f.Answer}
			}
		case f.Input != "":
			d.Instructions = []string{f.Input}
			d.Outputs = f.Answers[:min(1, len(f.Answers))]
		default: // a summary: the task follows from the data set's name, not from the line
			d.Instructions = []string{"Summarise the text above."}
			d.Outputs = f.Answers[:min(1, len(f.Answers))]
		}
	}
	if len(d.Messages) == 0 && (d.Text == "" || len(d.Instructions) == 0) {
		return fail("no document with instructions, no context with a question and no messages")
	}
	return d, nil
}

// records reads the given sets, or the shipped documents if none are given. A set
// without a document or dialogue is an error.
func (l *Lab) records() ([]document, error) {
	var list []document
	read := func(set string, text []byte) error {
		s := bufio.NewScanner(bytes.NewReader(text))
		s.Buffer(make([]byte, 1<<20), 256<<20)
		for line := 1; s.Scan(); line++ {
			if len(bytes.TrimSpace(s.Bytes())) == 0 {
				continue
			}
			d, err := parseDocument(s.Bytes(), set, line)
			if err != nil {
				return err
			}
			list = append(list, d)
		}
		return s.Err()
	}
	for _, set := range l.SetOrder {
		if set == "haystack" {
			continue
		}
		text, err := os.ReadFile(l.Sets[set])
		if err != nil {
			return nil, err
		}
		before := len(list)
		if err := read(set, text); err != nil {
			return nil, err
		}
		if len(list) == before {
			return nil, fmt.Errorf("set %s: %s has no document and no dialogue: name another file, or leave the set out",
				set, l.Sets[set])
		}
	}
	if len(list) > 0 {
		return list, nil
	}
	err := read("examples", examples.Prompts)
	return list, err
}

// templateTokens is the number of tokens reserved for what a chat template adds to a
// message.
const templateTokens = 64

// documents returns the records with a text, whole ones first. A text loses its
// middle if it leaves no room in the model for its longest instruction and the reply,
// or is longer than MaxTokens; the name of its set then ends in truncatedGroup.
func (l *Lab) documents(reply int) ([]document, error) {
	records, err := l.records()
	if err != nil {
		return nil, err
	}
	var list []document
	cut := 0
	for _, d := range records {
		if d.Text == "" {
			continue
		}
		l.truncate(&d, reply)
		if d.truncated {
			cut++
		}
		list = append(list, d)
	}
	// Experiments that use only some documents take whole ones.
	slices.SortStableFunc(list, compareWhole)
	n := len(list)
	l.notes.Documents = &n
	l.notes.DocumentsTruncated = &cut
	return list, nil
}

// truncate counts the tokens of a document and cuts the middle out of a long one.
func (l *Lab) truncate(d *document, reply int) {
	limit := 1 << 30
	if n := l.Config.MaxPositions; n > 0 {
		ask := 0
		for _, text := range d.Instructions {
			ask = max(ask, len(l.Tokenizer.Encode(text, false)))
		}
		limit = max(256, n-reply-templateTokens-ask)
	}
	if l.MaxTokens > 0 {
		limit = min(limit, l.MaxTokens)
	}
	ids := l.Tokenizer.Encode(d.Text, false)
	d.tokens = len(ids)
	if len(ids) <= limit {
		return
	}
	ends := l.Tokenizer.Ends(d.Text, ids)
	front := ends[limit/2-1]
	back := ends[len(ids)-(limit-limit/2)-1]
	d.Text = d.Text[:front] + d.Text[back:]
	d.set += truncatedGroup
	d.tokens = limit
	d.truncated = true
}

// compareWhole puts whole documents before truncated ones.
func compareWhole(a, b document) int {
	switch {
	case a.truncated == b.truncated:
		return 0
	case b.truncated:
		return -1
	}
	return 1
}
