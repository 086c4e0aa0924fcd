package prompts

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// form is a form of records. A record is read as the first of forms whose fields are all
// present.
type form struct {
	name string
	has  []string
	read func(*recordReader, *fields, Record) ([]Record, error)
}

// forms are the forms of records. docs/PROMPTS.md has an example of each.
var forms = []form{
	{"a record of tokens (input_ids)", []string{"input_ids"}, readTokens},
	{"a chat (messages)", []string{"messages"}, readChat},
	{"a chat of ShareGPT (conversations)", []string{"conversations"}, readShareGPT},
	{"a record with a prompt", []string{"prompt"}, readText},
	{"a document with instructions", []string{"document"}, readDocument},
	{"a record of L-Eval (input, instructions)", []string{"input", "instructions"}, readDocument},
	{"a record of SCBench (context, multi_turns)", []string{"multi_turns"}, readTurns},
	{"a record of LongBench v2 (context, question, choice_A)", []string{"context", "choice_A"}, readChoices},
	{"a record with a context and a question", []string{"context"}, readContext},
	{"a record of Alpaca (instruction, input, output)", []string{"instruction"}, readAlpaca},
	{"a record of RULER (input, outputs)", []string{"input"}, readInput},
}

// recordReader turns the records of a file into prompts.
type recordReader struct {
	options   ReadOptions
	benchmark string          // the SCBench set after which the file is named
	ignored   map[string]bool // fields that were left out
}

// records returns the prompts of a record: one, or one per instruction or turn. The number
// of the record is its id, if it has none.
func (r *recordReader) records(text []byte, at Record, number int) ([]Record, error) {
	f, err := splitFields(text)
	if err != nil {
		return nil, err
	}
	f.drop(r.options.Ignore, r.ignored)
	base := at
	if base.ID, err = f.id(number); err != nil {
		return nil, err
	}
	if err := readCommon(f, &base); err != nil {
		return nil, err
	}
	what, read := "a record that a template reads", readTemplate
	if r.options.Template == nil {
		form := formOf(f)
		if form == nil {
			return nil, errors.New("no known fields: want prompt, messages, document with instructions, input_ids, " +
				"context or input, or a template for other fields with --template")
		}
		what, read = form.name, form.read
	}
	list, err := read(r, f, base)
	if err != nil {
		return nil, err
	}
	return list, f.unused(what, r.options, r.ignored)
}

// formOf returns the form of a record, or nil.
func formOf(f *fields) *form {
	for i := range forms {
		all := true
		for _, name := range forms[i].has {
			all = all && f.has(name)
		}
		if all {
			return &forms[i]
		}
	}
	return nil
}

// readCommon reads the fields that records of all forms may have.
func readCommon(f *fields, base *Record) error {
	for _, field := range []struct {
		name string
		set  func(*string)
	}{
		{"dataset", func(s *string) { base.Dataset = *s }},
		{"document_id", func(s *string) { base.Document = *s }},
		{"answer_prefix", func(s *string) { base.AnswerPrefix = *s }},
		{"response", func(s *string) { base.Response = s }},
	} {
		s, err := f.text(field.name)
		if err != nil {
			return err
		}
		if s != nil {
			field.set(s)
		}
	}
	var err error
	if base.ResponseIDs, err = f.integers("response_ids"); err != nil {
		return err
	}
	if base.Response != nil && base.ResponseIDs != nil {
		return errors.New("both response and response_ids: want one")
	}
	return nil
}

// ask makes the record of one user message.
func ask(base Record, content string) Record {
	base.Messages = []Message{{Role: "user", Content: content}}
	return base
}

func readTokens(_ *recordReader, f *fields, base Record) ([]Record, error) {
	var err error
	if base.IDs, err = f.integers("input_ids"); err != nil {
		return nil, err
	}
	if len(base.IDs) == 0 {
		return nil, errors.New("input_ids is empty")
	}
	if base.AnswerPrefix != "" {
		return nil, errors.New("answer_prefix: a text cannot follow input_ids")
	}
	base.References, err = f.references()
	return []Record{base}, err
}

func readText(_ *recordReader, f *fields, base Record) ([]Record, error) {
	var err error
	if base.Text, err = f.text("prompt"); err != nil {
		return nil, err
	}
	if err := checkNeedle(f, *base.Text); err != nil {
		return nil, err
	}
	base.References, err = f.references("expected_number") // the answer of LongEval's lines
	return []Record{base}, err
}

// checkNeedle refuses a record of a needle set whose needle is not in its text: some
// programs put it there when they run.
func checkNeedle(f *fields, text string) error {
	needle, err := f.text("needle")
	if err != nil || needle == nil || strings.Contains(text, *needle) {
		return err
	}
	return errors.New("the needle is not in the text: put it there, or leave it out with --ignore-field needle")
}

// readDocument returns a record per instruction. Its user message is the document, a blank
// line and the instruction. L-Eval (github.com/OpenLMLab/LEval) calls the document input.
func readDocument(_ *recordReader, f *fields, base Record) ([]Record, error) {
	name := "document"
	if !f.has(name) {
		name = "input"
	}
	document, err := f.wanted(name)
	if err != nil {
		return nil, err
	}
	instructions, err := f.list("instructions", "a string")
	if err != nil {
		return nil, err
	}
	if len(instructions) == 0 {
		return nil, errors.New("document without instructions")
	}
	for i, v := range instructions {
		if kindOf(v) != "string" {
			return nil, fmt.Errorf("instructions: element %d is a %s, want a string", i+1, kindOf(v))
		}
	}
	asked, err := f.texts("instructions")
	if err != nil {
		return nil, err
	}
	outputs, err := f.texts("outputs")
	if err != nil {
		return nil, err
	}
	if outputs != nil && len(outputs) != len(asked) {
		return nil, fmt.Errorf("%d outputs for %d instructions: want one output per instruction", len(outputs), len(asked))
	}
	if err := onePrompt(base, len(asked)); err != nil {
		return nil, err
	}
	var list []Record
	for i, question := range asked {
		if len(list)*len(document) > maxText+textRatio*len(document) {
			return nil, fmt.Errorf("%d instructions on a document of %d bytes: split the record", len(asked), len(document))
		}
		r := ask(base, document+"\n\n"+question)
		r.ID = fmt.Sprintf("%s/%d", base.ID, i)
		r.Document = base.ID
		r.Context = document
		if outputs != nil {
			r.References = []string{outputs[i]}
		}
		list = append(list, r)
	}
	return list, nil
}

// onePrompt refuses a reply for several prompts, and a document_id beside a document.
func onePrompt(base Record, prompts int) error {
	if base.Document != "" {
		return errors.New("document_id: the prompts of this record share its document already")
	}
	if prompts > 1 && (base.Response != nil || base.ResponseIDs != nil) {
		return fmt.Errorf("one response for %d prompts: give the answers as outputs, which --follow follows", prompts)
	}
	return nil
}

// readContext reads records of LongBench (input) and of kvpress (question).
//
// The prompt is the context, a blank line and the question. But where a record has an
// answer_prefix, its set is made for kvpress (github.com/NVIDIA/kvpress, kvpress/pipeline.py),
// which joins context and question as they are, and puts a line break behind the question
// if the model has no chat template.
func readContext(_ *recordReader, f *fields, base Record) ([]Record, error) {
	content, err := f.wanted("context")
	if err != nil {
		return nil, err
	}
	name := "question"
	if !f.has(name) {
		name = "input"
	}
	question, err := f.text(name)
	if err != nil {
		return nil, err
	}
	if err := checkNeedle(f, content); err != nil {
		return nil, err
	}
	if base.Document == "" {
		base.Document = hashOf(content)
	}
	base.Context = content
	_, kvpress := f.values["answer_prefix"]
	if question != nil && *question != "" && !kvpress {
		content += "\n\n"
	}
	if question != nil {
		content += *question
	}
	base.References, err = f.references()
	base = ask(base, content)
	if kvpress {
		plain := content + "\n"
		base.Plain = &plain
	}
	return []Record{base}, err
}

// choicesPrompt is the prompt of LongBench v2 (github.com/THUDM/LongBench,
// prompts/0shot.txt), whose values pred.py strips of white space.
const choicesPrompt = `Please read the following text and answer the question below.

<text>
%s
</text>

What is the correct answer to this question: %s
Choices:
(A) %s
(B) %s
(C) %s
(D) %s

Format your response as follows: "The correct answer is (insert answer here)".`

// readChoices reads records of LongBench v2.
func readChoices(_ *recordReader, f *fields, base Record) ([]Record, error) {
	var values []any
	for _, name := range []string{"context", "question", "choice_A", "choice_B", "choice_C", "choice_D"} {
		v, err := f.wanted(name)
		if err != nil {
			return nil, err
		}
		if name == "context" {
			base.Document = cmp.Or(base.Document, hashOf(v))
			base.Context = v
		}
		values = append(values, strings.TrimSpace(v))
	}
	var err error
	base.References, err = f.references()
	return []Record{ask(base, fmt.Sprintf(choicesPrompt, values...))}, err
}

// alpacaPrompt is the prompt of Alpaca (github.com/tatsu-lab/stanford_alpaca, train.py).
const alpacaPrompt = "Below is an instruction that describes a task%s. " +
	"Write a response that appropriately completes the request.\n\n### Instruction:\n%s\n\n%s### Response:"

// readAlpaca reads records of Alpaca. In a chat, the user's message is the instruction and,
// in the next line, the input. A model without a chat template gets Alpaca's own prompt.
func readAlpaca(_ *recordReader, f *fields, base Record) ([]Record, error) {
	instruction, err := f.wanted("instruction")
	if err != nil {
		return nil, err
	}
	input, err := f.text("input")
	if err != nil {
		return nil, err
	}
	content := instruction
	plain := fmt.Sprintf(alpacaPrompt, "", instruction, "")
	if input != nil && *input != "" {
		content += "\n" + *input
		plain = fmt.Sprintf(alpacaPrompt,
			", paired with an input that provides further context", instruction, "### Input:\n"+*input+"\n\n")
	}
	base.Plain = &plain
	base.References, err = f.references("output")
	return []Record{ask(base, content)}, err
}

// readInput reads records of RULER (github.com/NVIDIA/RULER, scripts/data).
func readInput(_ *recordReader, f *fields, base Record) ([]Record, error) {
	input, err := f.wanted("input")
	if err != nil {
		return nil, err
	}
	base.References, err = f.references()
	return []Record{ask(base, input)}, err
}

// hashOf returns a short hash that identifies a text.
func hashOf(text string) string {
	h := sha256.Sum256([]byte(text))
	return hex.EncodeToString(h[:8])
}
