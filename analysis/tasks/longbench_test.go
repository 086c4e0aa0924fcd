package tasks

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestLongBench: prompts are the published ones, the first records of each set are taken,
// and replies are scored by the score of the set, of some only their first line.
func TestLongBench(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, lines ...string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Join(lines, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("qasper.jsonl",
		`{"_id":"1","dataset":"qasper","context":"`+strings.Repeat("word ", 400)+
			`","input":"Who?","answers":["Ada","Ada Lovelace"],"all_classes":null}`,
		`{"_id":"2","dataset":"qasper","context":"C","input":"{context}?","answers":["x"]}`)
	write("trec_e.jsonl", `{"context":"Question: a\nType: Date","input":"Question: b\nType:","answers":["Date"],"all_classes":["Date","Place"]}`)
	write("lcc.jsonl", `{"dataset":"lcc","context":"a = 1\n","input":"","answers":["b = 2"],"all_classes":null}`)
	list, err := Find([]string{"longbench"})
	if err != nil || len(list) != 18 {
		t.Fatalf("%d tasks, error %v", len(list), err)
	}
	samples, warnings, err := Make(t.Context(), Config{
		Tokenizer: bytesTokenizer(t), Tasks: list, Lengths: []int{1500}, Samples: 2,
		Files: map[string]string{"longbench": dir},
	})
	if err != nil || len(warnings) != 1 || len(samples) != 4 ||
		!strings.HasPrefix(warnings[0], "left out, because "+dir+" has no records of them: narrativeqa, multifieldqa_en, ") {
		t.Fatalf("%d samples, warnings %v, error %v", len(samples), warnings, err)
	}
	if p := samples[0].Prompt; p.ID != "qasper-1500-0" || len(p.Tokens) != 1500-128 || p.Truncated == 0 ||
		!strings.HasPrefix(p.Text, "You are given a scientific article") || !strings.HasSuffix(p.Text, "Question: Who?\n\nAnswer:") {
		t.Errorf("%s: %d tokens, %d cut, %q", p.ID, len(p.Tokens), p.Truncated, p.Text)
	}
	const rules = "Answer the question %sas concisely as you can, using a single phrase or sentence if possible. " +
		"If the question cannot be answered based on the information in the article, write \"unanswerable\". " +
		"If the question is a yes/no question, answer \"yes\", \"no\", or \"unanswerable\". Do not provide any explanation."
	want := "You are given a scientific article and a question. " + fmt.Sprintf(rules, "") +
		"\n\nArticle: C\n\n " + fmt.Sprintf(rules, "based on the above article ") + "\n\nQuestion: {context}?\n\nAnswer:"
	if got := samples[1].Prompt.Text; got != want {
		t.Errorf("prompt %q, want %q", got, want)
	}
	ending := "Here are some examples of questions.\n\nQuestion: a\nType: Date\nQuestion: b\nType:"
	if got := samples[2].Prompt.Text; !strings.HasSuffix(got, ending) {
		t.Errorf("prompt %q", got)
	}
	for i, c := range []struct {
		reply string
		score float64
	}{{"ada lovelace.", 1}, {"no", 0}, {"\nDate\nPlace", 1}, {"# next\nb = 2\nc", 1}} {
		if got := samples[i].Score(c.reply); got != c.score {
			t.Errorf("%s: %q scores %g, want %g", samples[i].Prompt.ID, c.reply, got, c.score)
		}
	}
	if got := samples[2].Score("Date, Place"); got != 0.5 {
		t.Errorf("two classes score %g", got)
	}
}

func TestLongBenchNamesTheLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "qasper.jsonl")
	if err := os.WriteFile(path, []byte("{}\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readLongBench(path); err == nil || !strings.HasPrefix(err.Error(), path+": line 2: ") {
		t.Errorf("error %v", err)
	}
}
