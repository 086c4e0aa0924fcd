package tokenizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
)

// benchText is some megabytes of English text: documents of L-Eval.
func benchText(b *testing.B) string {
	list, err := filepath.Glob(filepath.Join(sharedtest.Dir(b, "data/leval"), "*.jsonl"))
	if err != nil || len(list) == 0 {
		b.Skip("SKIPPED, no documents of L-Eval here")
	}
	var text strings.Builder
	for _, path := range list {
		f, err := os.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		s := bufio.NewScanner(f)
		s.Buffer(make([]byte, 1<<20), 1<<26)
		for s.Scan() && text.Len() < 8<<20 {
			var row struct{ Document, Input string }
			if json.Unmarshal(s.Bytes(), &row) == nil {
				text.WriteString(row.Document)
			}
		}
		f.Close()
	}
	return text.String()
}

// BenchmarkEncode encodes a text with an empty cache of words.
func BenchmarkEncode(b *testing.B) {
	text := benchText(b)
	for _, name := range []string{"gpt2", "smollm2", "qwen2", "llama3", "phi-3-mini"} {
		dir := llama3Kind(b)
		if name != "llama3" {
			dir = sharedtest.Dir(b, "data/tokenizers/"+name)
		}
		b.Run(name, func(b *testing.B) {
			tok, err := Load(dir)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(text)))
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			start := threadTime()
			for b.Loop() {
				tok.caches = sync.Pool{}
				tok.Encode(text, false)
			}
			if used := threadTime() - start; used > 0 {
				b.ReportMetric(float64(b.N)*float64(len(text))/1e6/used.Seconds(), "MB/cpu-s")
			}
		})
	}
}

// llama3Kind is Qwen2's vocabulary with the two options that differ in Llama 3's file:
// numbers of up to three digits, and words of the vocabulary as one token.
func llama3Kind(b *testing.B) string {
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(b, "data/tokenizers/qwen2"), "tokenizer.json"))
	if err != nil {
		b.Fatal(err)
	}
	for _, change := range [][2]string{{`|\\p{N}| ?[`, `|\\p{N}{1,3}| ?[`}, {`"model":{"type":"BPE",`, `"model":{"type":"BPE","ignore_merges":true,`}} {
		if !bytes.Contains(text, []byte(change[0])) {
			b.Fatalf("the file has no %s", change[0])
		}
		text = bytes.Replace(text, []byte(change[0]), []byte(change[1]), 1)
	}
	dir := b.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "tokenizer.json"), text, 0o644); err != nil {
		b.Fatal(err)
	}
	return dir
}
