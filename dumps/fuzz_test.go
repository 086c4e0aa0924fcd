package dumps_test

import (
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// readWhatever reads everything from a file: errors are of the right kind, nothing
// panics, and arrays have the shapes that the prompts say.
func readWhatever(t *testing.T, path string) {
	check := func(err error) bool {
		if err == nil {
			return true
		}
		var not *dumps.NotDumpError
		if text := err.Error(); !errors.Is(err, dumps.ErrCorrupt) && !errors.Is(err, dumps.ErrAbsent) && !errors.As(err, &not) &&
			!strings.Contains(text, "too many to hold") && !strings.Contains(text, "format version") {
			t.Errorf("%v", err)
		}
		return false
	}
	r, err := dumps.Open(path)
	if !check(err) {
		return
	}
	defer r.Close()
	h := r.Header()
	for i, p := range r.Prompts() {
		if i == 4 || (p.WindowRows+p.ReplyTokens)*(p.PromptTokens+p.ReplyTokens) > 1<<18 || len(h.Plan.Layers)*len(h.Plan.Heads) > 64 {
			return // it may be sound, but reading it takes too long
		}
		for _, layer := range h.Plan.Layers[:min(3, len(h.Plan.Layers))] {
			for _, ph := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
				if a, err := r.Weights(i, layer, ph); check(err) && len(a.Data) != a.Heads*a.Rows*a.Keys {
					t.Errorf("%d weights, want %d x %d x %d", len(a.Data), a.Heads, a.Rows, a.Keys)
				}
			}
			s, err := r.States(i, layer)
			if check(err) && len(s.Keys) != (p.PromptTokens+p.ReplyTokens)*h.Model.KVHeads*h.Model.HeadDim {
				t.Errorf("%d values of keys", len(s.Keys))
			}
			if x, err := r.Sums(i, layer); check(err) && len(x) != len(h.Plan.Heads)*p.PromptTokens {
				t.Errorf("%d sums", len(x))
			}
			x, n, err := r.Windows(i, layer)
			if check(err) && len(x) != len(h.Plan.Heads)*n*p.PromptTokens {
				t.Errorf("%d sums of %d windows", len(x), n)
			}
			x, n, err = r.Overview(i, layer)
			if check(err) && len(x) != len(h.Plan.Heads)*n*n {
				t.Errorf("%d cells of side %d", len(x), n)
			}
			if x, err := r.Values(i, layer); check(err) && x != nil && len(x) != (p.PromptTokens+p.ReplyTokens)*h.Model.KVHeads*h.Model.ValueDim {
				t.Errorf("%d values", len(x))
			}
		}
		if x, err := r.Logits(i); check(err) && len(x) != p.ReplyTokens*h.Model.Vocab {
			t.Errorf("%d logits", len(x))
		}
	}
	ok, err := dumps.Verify(t.Context(), path, nil, func(dumps.Problem) {})
	if check(err) && ok && !r.Complete() {
		t.Error("an unfinished dump is verified")
	}
	data, err := os.ReadFile(path)
	if err != nil || crc32.ChecksumIEEE(data)%16 > 0 { // repairing is slow: it waits for the disk
		return
	}
	if _, err := dumps.Repair(t.Context(), path, nil); check(err) {
		again, err := dumps.Open(path)
		if err != nil || !again.Complete() {
			t.Fatalf("repaired, and then: %v", err)
		}
		again.Close()
	}
}

// FuzzOpen reads files of any bytes.
func FuzzOpen(f *testing.F) {
	dumpstest.Seeds(f, func(data []byte) { f.Add(data) })
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) { readWhatever(t, fuzzed(t, dir, data)) })
}

// FuzzForged reads dumps whose checksums are correct, whatever else they hold.
func FuzzForged(f *testing.F) {
	dumpstest.Forged(f, func(data []byte) { f.Add(data) })
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) { readWhatever(t, fuzzed(t, dir, dumpstest.Reseal(data))) })
}

func fuzzed(t *testing.T, dir string, data []byte) string {
	path := filepath.Join(dir, "fuzz.attn")
	for _, old := range []string{path + ".damaged", path + ".damaged2"} {
		os.Remove(old)
	}
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
