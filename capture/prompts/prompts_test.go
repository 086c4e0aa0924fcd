package prompts

import (
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

func readRecords(t *testing.T, text string) []Record {
	t.Helper()
	set, err := Read(strings.NewReader(text), "f.jsonl", ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return set.Records
}

func TestForms(t *testing.T) {
	list := readRecords(t, strings.Join([]string{
		`{"id":"raw","prompt":"hello"}`,
		`{"messages":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}`,
		`{"id":"d","document":"D","instructions":["i","j"],"outputs":["o","p"]}`,
		`{"id":7,"input_ids":[1,2],"response_ids":[3]}`,
		`{"_id":"lb","context":"C","input":"Q","answers":["x","y"],"dataset":"qasper"}`,
		`{"index":3,"input":"ruler","outputs":["z"]}`,
	}, "\n"))
	want := []struct{ id, user, reply, reference, document string }{
		{"raw", "hello", "", "", ""},
		{"2", "q", "a", "", ""},
		{"d/0", "D\n\ni", "", "o", "d"},
		{"d/1", "D\n\nj", "", "p", "d"},
		{"7", "", "", "", ""},
		{"lb", "C\n\nQ", "", "x", "-"},
		{"3", "ruler", "", "z", ""},
	}
	if len(list) != len(want) {
		t.Fatalf("%d records, want %d", len(list), len(want))
	}
	for i, w := range want {
		r := list[i]
		user, reply, reference := "", "", ""
		if r.Text != nil {
			user = *r.Text
		} else if len(r.Messages) > 0 {
			user = r.Messages[len(r.Messages)-1].Content
		}
		if r.Response != nil {
			reply = *r.Response
		}
		if len(r.References) > 0 {
			reference = r.References[0]
		}
		if r.ID != w.id || user != w.user || reply != w.reply || reference != w.reference || (r.Document == "") != (w.document == "") {
			t.Errorf("record %d is %+v, want %+v", i, r, w)
		}
	}
	if list[5].Dataset != "qasper" || list[4].ResponseIDs[0] != 3 {
		t.Errorf("%+v %+v", list[5], list[4])
	}
}

func TestMistakesNameTheLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                           "no prompts",
		"{\"prompt\":\"a\"}\n\n":     "line 2 is empty",
		"{\"prompt\":\"a\"}\n{\"p\"": "line 2",
		"[1]":                        "record 1: starts with '1'",
		"1":                          `line 1: starts with "1"`,
		`{"id":"x"}`:                 "line 1: no known fields",
		`{"input_ids":[]}`:           "input_ids is empty",
		`{"document":"d"}`:           "without instructions",
		`{"input_ids":[1.5]}`:        "input_ids: number 1.5, want an integer",
		`{"input_ids":"1 2"}`:        "input_ids: string, want a list of which each element is an integer",
		`{"prompt":5}`:               "prompt: number, want a string",
		`{"messages":{"role":"x"}}`:  "messages: object, want a list of which each element is an object",
		`{"id":true,"prompt":"a"}`:   "id true: want a string or a number",
		`{"prompt":"a"} {}`:          "line 1: invalid character",
		`{"document":"d","instructions":["a"],"outputs":[]}`:             "0 outputs for 1",
		"{\"id\":\"a\",\"prompt\":\"\"}\n{\"id\":\"a\",\"prompt\":\"\"}": `id "a" is used in line 1`,
	} {
		if _, err := Read(strings.NewReader(text), "f.jsonl", ReadOptions{}); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "f.jsonl") {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// TestEmptyReplyIsFollowed: a reply that is given is never generated, however
// short.
func TestEmptyReplyIsFollowed(t *testing.T) {
	tok, err := tokenizer.Load(sharedtest.Dir(t, "data/tokenizers/smollm2"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{`{"prompt":"a","response":""}`, `{"prompt":"a","response_ids":[]}`, `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":""}]}`} {
		p, err := Prepare(t.Context(), tok, readRecords(t, line)[0], Options{})
		if err != nil || p.Reply == nil || len(p.Reply) != 0 {
			t.Errorf("%s: reply %v (%v), want an empty one", line, p.Reply, err)
		}
	}
}

func TestTruncateMiddleKeepsTextAndEnds(t *testing.T) {
	tok, err := tokenizer.Load(sharedtest.Dir(t, "data/tokenizers/smollm2"))
	if err != nil {
		t.Fatal(err)
	}
	text := "one two three four five six seven eight nine ten"
	p, err := Prepare(t.Context(), tok, Record{ID: "x", Text: &text}, Options{MaxPromptTokens: 5, Truncate: "middle"})
	if err != nil {
		t.Fatal(err)
	}
	if p.Text != "one two eight nine ten" || len(p.Tokens) != 5 || p.Truncated != 5 || int(p.Ends[4]) != len(p.Text) {
		t.Errorf("%q, tokens %v, ends %v, cut %d", p.Text, p.Tokens, p.Ends, p.Truncated)
	}
	if _, err := Prepare(t.Context(), nil, Record{ID: "x", Line: 3, Text: &text}, Options{}); err == nil || !strings.Contains(err.Error(), "line 3") || !strings.Contains(err.Error(), "input_ids") {
		t.Errorf("without a tokenizer: %v", err)
	}
}

// TestContextsEndWhereTheRecordSays checks the tokens up to the end of the context for the
// forms that give it by itself, and after the middle was cut out.
func TestContextsEndWhereTheRecordSays(t *testing.T) {
	tok, err := tokenizer.Load(sharedtest.Dir(t, "data/tokenizers/smollm2"))
	if err != nil {
		t.Fatal(err)
	}
	const context = "Many words are here. The key is 17."
	for _, line := range []string{
		`{"document":"Many words are here. The key is 17.","instructions":["Which key?","Why?"]}`,
		`{"context":"Many words are here. The key is 17.","input":"Which key?","answers":["17"]}`,
		`{"context":" Many words are here. The key is 17.\n","question":"Which key?","answer_prefix":"The key is","answer":["17"]}`,
		`{"context":"Many words are here. The key is 17.","multi_turns":[{"input":"Which key?","answer":"17"},{"input":"Why?","answer":"so"}]}`,
		`{"context":"Many words are here. The key is 17.","question":"Which?","choice_A":"a","choice_B":"b","choice_C":"c","choice_D":"d","answer":"B"}`,
	} {
		for _, record := range readRecords(t, line) {
			p, err := Prepare(t.Context(), tok, record, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if p.Context == 0 || p.Context >= len(p.Tokens) || !strings.HasSuffix(p.Text[:p.Ends[p.Context-1]], context) {
				t.Errorf("%s: the context ends after %d of %d tokens", line, p.Context, len(p.Tokens))
				continue
			}
			cut, err := Prepare(t.Context(), tok, record, Options{MaxPromptTokens: len(p.Tokens) - 2, Truncate: "middle"})
			if err != nil {
				t.Fatal(err)
			}
			rest := func(p Prompt) string { return p.Text[p.Ends[p.Context-1]:] }
			if head := (len(p.Tokens) - 2) / 2; p.Context >= head+2 && rest(cut) != rest(p) {
				t.Errorf("%s: cut, the text after the context is %q, want %q", line, rest(cut), rest(p))
			}
		}
	}
	if p, err := Prepare(t.Context(), tok, readRecords(t, `{"prompt":"no context"}`)[0], Options{}); err != nil || p.Context != 0 {
		t.Errorf("a text has a context of %d tokens (%v), want 0", p.Context, err)
	}
}
