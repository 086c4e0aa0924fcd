package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

// tiny is a capture of n short prompts on a tiny model.
func tiny(t *testing.T, n int) Config {
	t.Helper()
	return tinyOf(t, "../engine/model/testdata/qwen3", n)
}

// tinyOf is tiny with the model of a folder.
func tinyOf(t *testing.T, dir string, n int) Config {
	t.Helper()
	src, err := Open(t.Context(), dir, Options{Threads: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	if err := src.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	c := src.Config
	cfg := Config{Model: src.Model, Header: dumps.Header{
		Model: ModelInfo("tiny", &c),
		Plan: dumps.Plan{
			WindowRows: 8, PromptWindows: 2, PromptWindowSize: 8, MaxNewTokens: 3,
			Store: dumps.StoreRows, Precision: dumps.Fine, IgnoreEOS: true, Logits: true,
		},
	}}
	cfg.Header.Plan.Layers = c.AttentionLayers()
	for i := range c.Heads {
		cfg.Header.Plan.Heads = append(cfg.Header.Plan.Heads, i)
	}
	for i := range n {
		p := prompts.Prompt{ID: fmt.Sprint("p", i)}
		for j := range 20 + i%7 {
			p.Tokens = append(p.Tokens, int32((7*j+3*i)%c.Vocab))
		}
		cfg.Prompts = append(cfg.Prompts, p)
	}
	return cfg
}

// failing lets writes through until one of them fails, and all after it do.
type failing struct {
	f     *os.File
	n     *atomic.Int64 // writes so far
	bad   int64
	short bool // the failing write is done in part
}

func (w failing) WriteAt(b []byte, at int64) (int, error) {
	if w.n.Add(1)-1 < w.bad {
		return w.f.WriteAt(b, at)
	}
	n := 0
	if w.short {
		n, _ = w.f.WriteAt(b[:len(b)/2], at)
	}
	return n, syscall.ENOSPC
}

func (w failing) Sync() error { return nil }

// TestEveryWriteOfACaptureMayFail lets each of the first 500 writes of a capture
// fail, as on a full disk: the error names the file and the cause; what was
// finished before stands in the file of the resumed run as it was, which ends
// byte for byte as the undisturbed one.
func TestEveryWriteOfACaptureMayFail(t *testing.T) {
	const all = 500
	cfg, dir := tiny(t, 24), t.TempDir()
	var writes atomic.Int64
	cfg.Out = filepath.Join(dir, "whole.attn")
	cfg.wrap = func(f *os.File) dumps.File { return failing{f, &writes, 1 << 40, false} }
	if _, err := Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	if writes.Load() < all {
		t.Fatalf("a capture has %d writes, want %d to fail", writes.Load(), all)
	}
	kept := 0
	for bad := range int64(all) {
		cfg.Out, cfg.Resume = filepath.Join(dir, fmt.Sprint(bad, ".attn")), false
		var n atomic.Int64
		cfg.wrap = func(f *os.File) dumps.File { return failing{f, &n, bad, bad%2 == 1} }
		_, err := Run(context.Background(), cfg)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), cfg.Out) {
			t.Fatalf("write %d failed, but the capture says %v", bad, err)
		}
		finished := 0
		if r, err := dumps.Open(cfg.Out); err == nil {
			finished = len(r.Prompts())
			r.Close()
		}
		var run int
		cfg.Resume = true
		cfg.wrap = func(f *os.File) dumps.File { return failing{f, &n, 1 << 40, false} }
		s, err := Run(context.Background(), cfg)
		if err != nil {
			t.Fatalf("write %d: resumed: %v", bad, err)
		}
		if run = s.Prompts; run != len(cfg.Prompts)-finished {
			t.Fatalf("write %d: %d prompts were finished, but %d of %d are run again", bad, finished, run, len(cfg.Prompts))
		}
		kept += finished
		got, err := os.ReadFile(cfg.Out)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("write %d: the resumed dump is another one (%v)", bad, err)
		}
		os.Remove(cfg.Out)
	}
	if kept < all {
		t.Errorf("only %d prompts were kept over all failures", kept)
	}
}

// TestMemoryStaysFlat: what a capture holds does not grow from prompt to prompt
// but for the index it will write, under 100 bytes a block.
func TestMemoryStaysFlat(t *testing.T) {
	cfg := tiny(t, 600)
	cfg.Out = filepath.Join(t.TempDir(), "x.attn")
	held := map[int]uint64{}
	cfg.Progress = func(p Progress) {
		if p.Prompt != 100 && p.Prompt != 600 || held[p.Prompt] > 0 {
			return
		}
		runtime.GC()
		runtime.GC() // what pools held
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		held[p.Prompt] = m.HeapAlloc
	}
	if _, err := Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	r, err := dumps.Open(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	blocks := 0
	for _, p := range r.Prompts()[100:] {
		blocks += p.Blocks + 1
	}
	grown := int64(held[600]) - int64(held[100])
	t.Logf("%d bytes held after 100 prompts, %d after 600; %d blocks", held[100], held[600], blocks)
	if most := int64(2 * 100 * blocks); held[100] == 0 || grown > most { // a slice may have twice the room it needs
		t.Errorf("500 prompts and %d blocks made %d bytes stay, want at most %d", blocks, grown, most)
	}
}
