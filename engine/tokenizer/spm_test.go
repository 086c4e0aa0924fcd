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

// TestSentencePiece compares ids with those of the package sentencepiece, for small
// committed models of every kind. ATTNSCOPE_SPM names a folder with more strings, which
// testdata/make_spm.py writes.
func TestSentencePiece(t *testing.T) {
	dir := os.Getenv("ATTNSCOPE_SPM")
	if dir == "" {
		dir = "testdata/spm"
	}
	list, err := filepath.Glob(filepath.Join(dir, "*", "expected.jsonl.gz"))
	if err != nil || len(list) == 0 {
		t.Fatalf("%s holds nothing (%v)", dir, err)
	}
	for _, path := range list {
		name := filepath.Base(filepath.Dir(path))
		t.Run(name, func(t *testing.T) {
			tok, err := Load(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			f, err := os.Open(filepath.Join(dir, name, "expected.jsonl.gz"))
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
			for s.Scan() && wrong < 5 {
				var text, decoded string
				var want, ends []int32
				if err := json.Unmarshal(s.Bytes(), &[]any{&text, &want, &decoded, &ends}); err != nil {
					t.Fatal(err)
				}
				count++
				got := tok.Encode(text, false)
				if !slices.Equal(got, want) {
					wrong++
					t.Errorf("%q: %v, want %v", text, got, want)
					continue
				}
				if d := tok.Decode(got, false); d != decoded && !slices.Contains(got, tok.unk) { // the package shows the unknown as " ⁇ "
					wrong++
					t.Errorf("%q decodes to %q, want %q", text, d, decoded)
				}
				mine := tok.Ends(text, got)
				for i := range ends {
					if strings.Contains(text, "▁") {
						break // beside user-defined runs of it the package counts otherwise
					}
					// Bytes of one character end where they end; the package lets
					// the last have them all.
					if _, one := tok.isByte[got[i]]; !one && (mine == nil && !slices.Contains(got, tok.unk) || mine != nil && mine[i] != ends[i]) {
						wrong++
						t.Errorf("%q: ends %v, want %v", text, mine, ends)
						break
					}
				}
			}
			if s.Err() != nil || count < 200 && wrong == 0 {
				t.Fatalf("%d strings (%v)", count, s.Err())
			}
		})
	}
}

// TestModelFileAsJSON checks that Mistral 0.2's tokenizer.model gives the same ids as its
// tokenizer.json.
func TestModelFileAsJSON(t *testing.T) {
	dir := sharedtest.Dir(t, "data/tokenizers/mistral-7b-instruct-v0.2")
	want, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := loadSPM(dir, Options{})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open("testdata/expected/mistral-7b-instruct-v0.2.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	count, wrong := 0, 0
	for s := bufio.NewScanner(z); s.Scan(); {
		var text string
		if err := json.Unmarshal(s.Bytes(), &[]any{&text}); err != nil {
			t.Fatal(err)
		}
		count++
		for _, special := range []bool{false, true} {
			if a, b := got.Encode(text, special), want.Encode(text, special); !slices.Equal(a, b) {
				if wrong++; wrong < 5 {
					t.Errorf("%q: %v, want %v", text, a, b)
				}
			}
		}
	}
	if count < 200 {
		t.Errorf("%d strings", count)
	}
}

// TestDamagedModelFiles checks that truncated files and files with flipped bits are errors
// or tokenizers, never a panic.
func TestDamagedModelFiles(t *testing.T) {
	for _, name := range []string{"bpe-rules", "unigram-rules"} {
		data, err := os.ReadFile("testdata/spm/" + name + "/tokenizer.model")
		if err != nil {
			t.Fatal(err)
		}
		cut := 0
		for n := 0; n < len(data); n += 37 {
			if tok, err := fromSPM(data[:n]); err != nil {
				cut++
			} else {
				tok.Encode("the word on the bus \xff ① now", true)
			}
		}
		if cut < len(data)/37/2 {
			t.Errorf("%s: only %d of %d cuts are errors", name, cut, len(data)/37)
		}
		for i := 0; i < len(data); i += 11 {
			bad := slices.Clone(data)
			bad[i] ^= 0x55
			if tok, err := fromSPM(bad); err == nil {
				tok.Encode("the word on the bus \xff ① now", true)
			}
		}
	}
}

// fromSPM makes a tokenizer from a tokenizer.model that segments as SentencePiece does, and
// that matches control pieces in the text before.
func fromSPM(data []byte) (tok *Tokenizer, err error) {
	defer recoverPattern("tokenizer.model", &err)
	m := defaultSPM()
	if err := m.parse(data); err != nil {
		return nil, err
	}
	tok, list, err := m.tokenizer()
	if err != nil {
		return nil, err
	}
	for i, p := range m.pieces {
		if m.types[i] == pieceControl {
			if err := list.add(added{Content: p, Special: true}); err != nil {
				return nil, err
			}
		}
	}
	if err := tok.setAdded(list, false); err != nil {
		return nil, err
	}
	m.matchUserDefined(tok)
	return tok, nil
}
