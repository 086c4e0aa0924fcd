package dumps_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
	"github.com/attnscope/attnscope/internal/filekind"
)

// TestNotADump opens files of other kinds: errors say what they are, and do not call them
// damaged.
func TestNotADump(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.jsonl")
	for _, c := range []struct{ content, want, hint string }{
		{`{"id": "a", "prompt": "b"}` + "\n", "but JSON lines", "attnscope capture -p " + path},
		{"\x1f\x8b\x08\x00\x00\x00", "but compressed by gzip", "gunzip"},
		{"\x10\x00\x00\x00\x00\x00\x00\x00{\"a\":1}          ", "but a safetensors file", "-m FOLDER"},
		{"GGUF\x03\x00\x00\x00", "but a GGUF model", "attnscope info -m"},
		{"<!doctype html><p>", "but an HTML page", "RUN.attn"},
		{strings.Repeat("\x00\x01", 100), "not an attnscope dump", "RUN.attn"},
	} {
		if err := os.WriteFile(path, []byte(c.content), 0o644); err != nil {
			t.Fatal(err)
		}
		_, err := dumps.Open(path)
		var not *dumps.NotDumpError
		if !errors.As(err, &not) || errors.Is(err, dumps.ErrCorrupt) {
			t.Errorf("%.10q: error %v, want a *NotDumpError", c.content, err)
			continue
		}
		if text := err.Error(); !strings.HasPrefix(text, path+": not an attnscope dump") || !strings.HasSuffix(text, c.want) {
			t.Errorf("%.10q: error %q, want one that ends with %q", c.content, text, c.want)
		}
		if !strings.Contains(not.Hint(), c.hint) {
			t.Errorf("%.10q: hint %q, want one with %q", c.content, not.Hint(), c.hint)
		}
	}
}

// TestEmptyFile: an empty file is called empty.
func TestEmptyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := dumps.Open(path); !errors.Is(err, dumps.ErrCorrupt) || err.Error() != path+": the file is empty: corrupt dump" {
		t.Errorf("error %v", err)
	}
}

// TestDamagedBeginning damages the first bytes of a dump and cuts off its index: it is
// still recognized as a damaged dump.
func TestDamagedBeginning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Everything(t, path, dumps.StoreRows, dumps.Fine, 1, "a")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if kind := filekind.Of(data); kind != filekind.Dump {
		t.Errorf("a dump is %q, want %q", kind, filekind.Dump)
	}
	bad := slices.Clone(data[:len(data)-1])
	clear(bad[:4])
	if err := os.WriteFile(path, bad, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := dumps.Open(path); !errors.Is(err, dumps.ErrCorrupt) {
		t.Errorf("error %v, want one that wraps ErrCorrupt", err)
	}
}
