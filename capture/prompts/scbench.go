package prompts

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// scbench says what a set of SCBench writes around its context and its questions
// (github.com/microsoft/MInference, scbench/eval_utils.py: multiturn_templates and those of
// the follow-ups in a chat template).
type scbench struct {
	before    string // the context, with a blank line
	ask       string // the question; %s stands for it
	asksValue bool   // before the context and each later question stands what is asked for
}

const (
	keyed   = "Extract the value corresponding to the specified key in the "
	options = "\nA. %s\nB. %s\nC. %s\nD. %s\n\nThe the correct answer is" // as published
	hidden  = "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. " +
		"I will quiz you about the important information.\n\n"
	described = "Based on the function description and code context, please retrieve and repeat the exact " +
		"described function from the code context in a code block wrapped by ```:\n\n"
	concise = "Read the book and answer the question. Be very concise in your answer.\n\n"
)

// scbenchSets are the sets of SCBench.
var scbenchSets = map[string]scbench{
	"scbench_choice_eng":           {before: "Read the book and answer the question.\n\n", ask: "Question: %s" + options},
	"scbench_qa_eng":               {before: concise, ask: "Question: %s\nAnswer:"},
	"scbench_qa_chn":               {before: "阅读以下书籍然后回答问题。\n\n", ask: "问题：%s\n答案："},
	"scbench_kv":                   {before: keyed + "JSON object below.\n\n", ask: "%s"},
	"scbench_kv_hard":              {before: keyed + "JSON object below.\n\n", ask: "%s"},
	"scbench_kv_compressible":      {before: keyed + "following passage.\n\n", ask: "%s"},
	"scbench_passkey":              {before: hidden, ask: "%s"},
	"scbench_repoqa":               {before: described, ask: "%s"},
	"scbench_mf":                   {ask: "%s", asksValue: true},
	"scbench_summary":              {ask: "%s"},
	"scbench_vt":                   {ask: "%s"},
	"scbench_many_shot":            {ask: "%s"},
	"scbench_summary_with_needles": {ask: "%s"},
	"scbench_repoqa_and_kv":        {ask: "%s"},
	"scbench_hashhop":              {ask: "%s"},
	"scbench_prefix_suffix":        {ask: "%s"},
}

// turnMetadata are the fields of a turn that only scoring reads.
var turnMetadata = []string{"task", "name", "func", "repo", "lang", "path"}

// turn is a question and its answers.
type turn struct {
	question string
	answers  []string
	answer   string // what the assistant said before a later turn
}

// readTurns reads records of SCBench. It returns a record per turn, which follows the
// answers of the turns before it. If neither the field dataset nor the file names the set,
// nothing is written around the context, and turns with options are asked as in
// scbench_choice_eng.
func readTurns(r *recordReader, f *fields, base Record) ([]Record, error) {
	name := r.benchmark
	if _, known := scbenchSets[base.Dataset]; known {
		name = base.Dataset
	}
	set, known := scbenchSets[name]
	if !known {
		set.ask = "%s"
	}
	source := "context"
	if !f.has(source) {
		source = "input"
	}
	context, err := f.wanted(source)
	if err != nil {
		return nil, err
	}
	list, err := f.list("multi_turns", "an object")
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errors.New("multi_turns is empty")
	}
	if err := onePrompt(base, len(list)); err != nil {
		return nil, err
	}
	if len(list) > 1000 {
		return nil, fmt.Errorf("multi_turns: %d turns, at most 1000 are taken", len(list))
	}
	var msgs []Message
	var plain strings.Builder // the prompt without a chat template: the turns as they are
	var records []Record
	for i, raw := range list {
		if kindOf(raw) != "object" {
			return nil, fmt.Errorf("multi_turns: turn %d is a %s, want an object", i+1, kindOf(raw))
		}
		one, err := splitFields(raw)
		if err != nil {
			return nil, err
		}
		if i == 0 && !known && one.has("options") {
			set.ask = scbenchSets["scbench_choice_eng"].ask
		}
		t, err := r.turn(one, set)
		if err != nil {
			return nil, fmt.Errorf("multi_turns: turn %d: %w", i+1, err)
		}
		content := t.question
		if i == 0 {
			content = set.before + context + "\n\n" + content
		}
		if set.asksValue {
			asked, err := askedValue(t.question)
			if err != nil {
				return nil, fmt.Errorf("multi_turns: turn %d: %w", i+1, err)
			}
			content = asked + "\n\n" + content
		}
		msgs = append(msgs, Message{Role: "user", Content: content})
		plain.WriteString(content)
		rec := base
		rec.ID = fmt.Sprintf("%s/%d", base.ID, i)
		rec.Document = base.ID
		rec.Context = context
		rec.Messages = slices.Clone(msgs)
		text := plain.String()
		rec.Plain = &text
		rec.References = t.answers
		records = append(records, rec)
		msgs = append(msgs, Message{Role: "assistant", Content: t.answer})
		plain.WriteString(t.answer)
		if name == "scbench_passkey" {
			plain.WriteByte('.')
		}
		plain.WriteString("\n\n")
		if i*(len(context)+plain.Len()) > maxText {
			return nil, fmt.Errorf("%d turns on a context of %d bytes: split the record", len(list), len(context))
		}
	}
	return records, nil
}

// turn reads a turn.
func (r *recordReader) turn(f *fields, set scbench) (turn, error) {
	f.drop(r.options.Ignore, r.ignored)
	input, err := f.wanted("input")
	if err != nil {
		return turn{}, err
	}
	var t turn
	answer := f.take("answer")
	if answer == nil {
		return turn{}, errors.New("no answer")
	}
	if t.answers, err = f.texts("answer"); err != nil {
		return turn{}, err
	}
	if t.answer, err = pythonText(answer); err != nil {
		return turn{}, err
	}
	values := []any{input}
	if strings.Count(set.ask, "%s") > 1 {
		choices, err := f.texts("options")
		if err != nil {
			return turn{}, err
		}
		if len(choices) != 4 {
			return turn{}, fmt.Errorf("options: %d, want 4", len(choices))
		}
		for _, c := range choices {
			values = append(values, c)
		}
	}
	t.question = fmt.Sprintf(set.ask, values...)
	return t, f.unused("a turn of SCBench (input, answer, options)", r.options, r.ignored, turnMetadata...)
}

var valueAsked = regexp.MustCompile(`The .+ is`)

// askedValue returns the question that scbench_mf puts before its list of numbers.
func askedValue(input string) (string, error) {
	found := valueAsked.FindString(input)
	if found == "" {
		return "", errors.New(`input: scbench_mf wants "The ... is" in it`)
	}
	found = strings.ToLower(found)
	return "What is " + found[:len(found)-len(" is")] + "?", nil
}
