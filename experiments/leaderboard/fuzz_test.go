package leaderboard

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead: what is read has rows and a page, and is the same after it was written and read
// again.
func FuzzRead(f *testing.F) {
	var file bytes.Buffer
	b := board("m", map[string]map[string][]float64{"a": {"full": {1, 1}, "snapkv": {1, 0}}})
	b.Runs[0].Format = formatVersion
	if err := b.Write(&file); err != nil {
		f.Fatal(err)
	}
	f.Add(file.Bytes())
	f.Add([]byte(`{"attnscope_leaderboard":1,"plan":[{"task":"a","samples":5}],"budgets":["10%","7"]}` + "\n"))
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(dir, "board.jsonl")
		read := func(data []byte) *Board {
			if err := os.WriteFile(path, data, 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := Read(path)
			if err != nil {
				return nil
			}
			return b
		}
		write := func(b *Board) []byte {
			var out bytes.Buffer
			if err := b.Write(&out); err != nil {
				t.Fatal(err)
			}
			return out.Bytes()
		}
		b := read(data)
		if b == nil {
			return
		}
		rows := b.Rows(RowOptions{Seed: 1})
		if err := WritePage(io.Discard, b, rows, RowOptions{}); err != nil {
			t.Fatal(err)
		}
		text := write(b)
		again := read(text)
		if again == nil || !bytes.Equal(write(again), text) {
			t.Errorf("%q is read in another way after it was written: %q", data, text)
		}
	})
}
