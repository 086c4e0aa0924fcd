package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestComparedIgnoresWordsAndTimesOnly(t *testing.T) {
	for _, c := range []struct {
		name, before, after string
		same                bool
	}{
		{"a.tsv", "layer\tdecode_tok_s\n1\t20\n", "layer\tdecode_tok_s\n1\t30\n", true},
		{"a.tsv", "layer\thits\n1\t20\n", "layer\thits\n1\t30\n", false},
		{"a.json", `{"error":"want a number","hits":3}`, `{"error":"a number is wanted","hits":3}`, true},
		{"a.json", `{"error":"want a number","hits":3}`, `{"error":"want a number","hits":4}`, false},
		{"a.json", `{"method":"h2o"}`, `{"method":"tova"}`, false},
		{"a.md", "Of 20 rows 3 hit.", "3 rows of 20 hit.", true},
		{"a.md", "Of 20 rows 3 hit.", "Of 20 rows 4 hit.", false},
		{"a.svg", "<text x='1'>old</text><path d='1'/>", "<text x='2'>new</text><path d='1'/>", true},
		{"a.svg", "<text>one\ntwo</text>\n<path d='1'/>", "<text>one</text>\n<text>two</text>\n<path d='1'/>", true},
		{"a.svg", "<path d='1'/>", "<path d='2'/>", false},
		{"a.npz", "old", "new", false},
	} {
		got := difference(compared(c.name, []byte(c.before)), compared(c.name, []byte(c.after))) == ""
		if got != c.same {
			t.Errorf("%s: %q and %q compare as same: %v, want %v", c.name, c.before, c.after, got, c.same)
		}
	}
}

func TestCompareFoldersNamesLostAndNewFiles(t *testing.T) {
	before := t.TempDir()
	after := t.TempDir()
	for path, text := range map[string]string{
		filepath.Join(before, "lost.tsv"): "a\n", filepath.Join(after, "new.tsv"): "a\n",
		filepath.Join(before, "kept.tsv"): "a\n", filepath.Join(after, "kept.tsv"): "a\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := compareFolders(before, after)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(list, "; ")
	if want := "lost.tsv: is not written any more; new.tsv: was not written before"; text != want {
		t.Errorf("differences %q, want %q", text, want)
	}
}
