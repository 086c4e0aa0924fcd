package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAutoTokenizer compares the ids of hard strings with those of AutoTokenizer of
// transformers 5: tokenizers of many kinds, each with a setting of the configuration
// changed alone. What transformers refuses may be anything; what it tokenizes must have its
// ids, or be refused by the name of the setting.
//
// testdata/auto.jsonl.gz holds a part. The long test makes all, with ATTNSCOPE_PYTHON.
func TestAutoTokenizer(t *testing.T) {
	file := "testdata/auto.jsonl.gz"
	if python := os.Getenv("ATTNSCOPE_PYTHON"); os.Getenv("ATTNSCOPE_LONG") != "" && python != "" {
		file = filepath.Join(t.TempDir(), "auto.jsonl.gz")
		if out, err := exec.Command(python, "testdata/make_auto.py", file, "60").CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	if given := os.Getenv("ATTNSCOPE_AUTO"); given != "" {
		file = given
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	c := autoCounts{dir: t.TempDir(), refusals: map[string]int{}}
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<26)
	for lines.Scan() {
		var line autoLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if line.Case == "" {
			c.vocabulary = line
			c.kinds++
			continue
		}
		c.run(t, line)
	}
	if lines.Err() != nil || c.kinds < 15 || c.cases < 400 {
		t.Errorf("%d kinds, %d cases: %v", c.kinds, c.cases, lines.Err())
	}
	t.Logf("%d kinds of tokenizer, %d settings, %d texts: %d settings differ, %d are refused by transformers, %d by us: %v",
		c.kinds, c.cases, c.texts, c.differ, c.errors, c.refused, c.refusals)
}

// autoLine is a vocabulary, or a setting with the expected ids.
type autoLine struct {
	Kind, File string
	Text       []byte
	Case       string
	Files      map[string]string
	Strings    []json.RawMessage
	Error      string
}

type autoCounts struct {
	dir                                          string
	vocabulary                                   autoLine
	kinds, cases, texts, differ, errors, refused int
	refusals                                     map[string]int
}

func (c *autoCounts) run(t *testing.T, line autoLine) {
	c.cases++
	old, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range old {
		os.Remove(filepath.Join(c.dir, e.Name()))
	}
	line.Files[c.vocabulary.File] = string(c.vocabulary.Text)
	for name, text := range line.Files {
		if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tok, err := Load(c.dir)
	switch {
	case line.Error != "":
		c.errors++
		return
	case err != nil:
		c.refused++
		message := strings.ReplaceAll(err.Error(), c.dir, "")
		c.refusals[message]++
		if !strings.Contains(message, "--ignore-config") || strings.Contains(message, "\n") {
			t.Errorf("%s, %s: refused with %q, which does not say how to go on", line.Kind, line.Case, message)
		}
		return
	}
	wrong := 0
	for _, raw := range line.Strings {
		var text string
		var want [2][]int32
		if err := json.Unmarshal(raw, &[]any{&text, &want[0], &want[1]}); err != nil {
			t.Fatal(err)
		}
		c.texts++
		for i, special := range []bool{true, false} {
			if got := tok.Encode(text, special); !slices.Equal(got, want[i]) {
				if wrong++; wrong == 1 {
					t.Errorf("%s, %s: %q (special tokens: %v): %v, want %v", line.Kind, line.Case, text, special, got, want[i])
				}
			}
		}
	}
	if wrong > 0 {
		c.differ++
	}
}

// autoKind reads a kind of testdata/auto.jsonl.gz: its vocabulary and its settings.
func autoKind(t *testing.T, kind string) (vocabulary autoLine, cases []autoLine) {
	t.Helper()
	f, err := os.Open("testdata/auto.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(z); d.More(); {
		var line autoLine
		if err := d.Decode(&line); err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Kind != kind:
		case line.Case == "":
			vocabulary = line
		default:
			cases = append(cases, line)
		}
	}
	return vocabulary, cases
}
