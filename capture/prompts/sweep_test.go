package prompts

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/tokenizer"
)

// change is a record of testdata/make_sweep.py with what the reference makes of it.
type change struct {
	Kind, Change string
	Record       json.RawMessage
	IDs          [][]int32 // of each of its prompts; nil: the reference refuses it
}

// TestSweep changes each field of 15 kinds of records alone: the ids are those of
// apply_chat_template and of the published prompts, or the record is refused.
func TestSweep(t *testing.T) {
	text, err := os.ReadFile("testdata/sweep.json")
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, text)
}

// TestWholeSweep is TestSweep with all changes.
func TestWholeSweep(t *testing.T) {
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if os.Getenv("ATTNSCOPE_LONG") == "" || python == "" {
		t.Skip("SKIPPED: make test-long runs this, with transformers 5")
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/make_sweep.py", "--all")
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	sweep(t, text)
}

func sweep(t *testing.T, text []byte) {
	tok, err := tokenizer.Load("testdata/model")
	if err != nil {
		t.Fatal(err)
	}
	var list []*change
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	base := map[string][][]int32{}
	matter, same, refused, answers := 0, 0, 0, 0
	for _, c := range list {
		if c == nil {
			continue
		}
		if c.Change == "as it is" {
			base[c.Kind] = c.IDs
		}
		got, err := idsOf(t, tok, c.Record)
		equal := slices.EqualFunc(got, c.IDs, slices.Equal)
		switch {
		case err != nil && c.Change == "as it is":
			t.Errorf("%s: %v", c.Kind, err)
		case err != nil:
			refused++
		case c.IDs == nil:
			t.Errorf("%s, %s: read as %v, and the reference refuses it: %s", c.Kind, c.Change, got, c.Record)
		case !equal:
			t.Errorf("%s, %s: %v, want %v: %s", c.Kind, c.Change, got, c.IDs, c.Record)
		case slices.EqualFunc(got, base[c.Kind], slices.Equal):
			same++
		default:
			matter++
		}
		answers++
	}
	t.Logf("%d records of %d kinds: %d change the ids as the reference does, %d do not change them, %d are refused",
		answers, len(base), matter, same, refused)
	if len(base) != 15 || matter < answers/6 {
		t.Errorf("%d kinds, %d changes that matter: the table is too small", len(base), matter)
	}
}

// idsOf returns the tokens of each prompt of a record.
func idsOf(t *testing.T, tok *tokenizer.Tokenizer, record []byte) ([][]int32, error) {
	set, err := Read(bytes.NewReader(record), "sweep", ReadOptions{})
	if err != nil {
		return nil, err
	}
	var ids [][]int32
	for _, r := range set.Records {
		p, err := Prepare(t.Context(), tok, r, Options{})
		if err != nil {
			return nil, err
		}
		ids = append(ids, p.Tokens)
	}
	return ids, nil
}
