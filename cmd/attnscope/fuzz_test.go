package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// FuzzVerbs gives dumps whose checksums are right, but nothing else need be, to
// the verbs that read dumps: exit 0 or 1 and lines for a human, never a panic, and
// no output of a verb that failed.
func FuzzVerbs(f *testing.F) {
	dumpstest.Forged(f, func(data []byte) { f.Add(data) })
	dir := f.TempDir()
	dump, out := filepath.Join(dir, "x.attn"), filepath.Join(dir, "out")
	f.Fuzz(func(t *testing.T, data []byte) {
		data = dumpstest.Reseal(data)
		if err := os.WriteFile(dump, data, 0o644); err != nil {
			t.Fatal(err)
		}
		r, err := dumps.Open(dump)
		if err != nil {
			return
		}
		h, work := r.Header(), 0
		for _, p := range r.Prompts() {
			work += (p.WindowRows + p.ReplyTokens) * (p.PromptTokens + p.ReplyTokens) * len(h.Plan.Layers) * len(h.Plan.Heads)
		}
		r.Close()
		if work > 1<<18 || h.Model.HeadDim > 256 || h.Model.Heads > 64 || h.Model.Vocab > 1<<16 {
			return // it may be right, and would only take its time
		}
		for _, verb := range [][]string{
			{"info", "--json", dump},
			{"info", dump},
			{"hitrate", dump, "--window", "1", "--window", "2", "--by", "layer,head,prompt,span", "--span", "1", "--skip-first", "1"},
			{"snapkv", dump, "--method", "all", "--window", "1", "--capacity", "3", "--by", "layer,head"},
			{"snapkv", dump, "--window", "1", "--capacity", "3", "--group", "mean", "--indices", out + ".safetensors"},
			{"export", dump, "-o", out + ".npz"},
			{"export", dump, "-o", out + ".csv"},
			{"merge", dump, "-o", out + ".attn"},
		} {
			for _, old := range []string{".safetensors", ".npz", ".csv", ".attn"} {
				os.Remove(out + old)
			}
			var stdout, stderr bytes.Buffer
			code := run(context.Background(), verb, strings.NewReader(""), &stdout, &stderr)
			if code != 0 && code != 1 && code != 2 || code != 0 && stderr.Len() == 0 {
				t.Errorf("%v: exit %d, %q", verb, code, stderr.String())
			}
			if left, _ := filepath.Glob(out + "*"); code != 0 && len(left) > 0 {
				t.Errorf("%v: exit %d, and %v is left: %q", verb, code, left, stderr.String())
			}
		}
	})
}
