package tokenizer

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

// TestHardStrings compares ids with those of the package tokenizers, for a sample of
// strings and real vocabularies. ATTNSCOPE_TOKENS names a folder with more strings, which
// testdata/make_expected.py writes.
func TestHardStrings(t *testing.T) {
	from := os.Getenv("ATTNSCOPE_TOKENS")
	if from == "" {
		from = "testdata/expected"
	}
	list, err := filepath.Glob(filepath.Join(from, "*.jsonl.gz"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%s holds nothing (%v)", from, err)
	}
	dir := sharedtest.Dir(t, "data/tokenizers")
	for _, path := range list {
		name := strings.TrimSuffix(filepath.Base(path), ".jsonl.gz")
		t.Run(name, func(t *testing.T) {
			tok, err := Load(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			checkStrings(t, tok, path)
		})
	}
}

// TestEveryStep compares ids with those of the package tokenizers for small committed
// files, which together have every supported normalizer, pre-tokenizer, post-processor and
// decoder. ATTNSCOPE_JSON names a folder with more strings, which testdata/make_json.py
// writes.
func TestEveryStep(t *testing.T) {
	dir := os.Getenv("ATTNSCOPE_JSON")
	if dir == "" {
		dir = "testdata/json"
	}
	list, err := filepath.Glob(filepath.Join(dir, "*", "expected.jsonl.gz"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%s holds nothing (%v)", dir, err)
	}
	for _, path := range list {
		t.Run(filepath.Base(filepath.Dir(path)), func(t *testing.T) {
			tok, err := Load(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			checkStrings(t, tok, path)
		})
	}
}

func checkStrings(t *testing.T, tok *Tokenizer, path string) {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(z)
	s.Buffer(make([]byte, 1<<20), 1<<26)
	count, wrong := 0, 0
	for s.Scan() {
		var row [3]json.RawMessage
		var text string
		var plain, special []int32
		if err := json.Unmarshal(s.Bytes(), &row); err != nil {
			t.Fatal(err)
		}
		for i, dst := range []any{&text, &plain, &special} {
			if err := json.Unmarshal(row[i], dst); err != nil {
				t.Fatal(err)
			}
		}
		count++
		for i, want := range [][]int32{plain, special} {
			if got := tok.Encode(text, i == 1); !slices.Equal(got, want) {
				if wrong++; wrong <= 5 {
					t.Errorf("%q (special tokens: %v): %v, want %v", text, i == 1, got, want)
				}
			}
		}
	}
	if s.Err() != nil || count < 200 {
		t.Fatalf("%d strings (%v)", count, s.Err())
	}
	if wrong > 0 {
		t.Errorf("%d of %d encodings differ", wrong, 2*count)
	}
}
