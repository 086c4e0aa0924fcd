package capture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

// mixed is a capture of prompts of mixed lengths: some share a document, some have given
// replies, one has a reply of no token, and all others end where the model says.
func mixed(t *testing.T) Config {
	t.Helper()
	return mixedOf(t, "../engine/model/testdata/qwen3")
}

// mixedOf is mixed with the model of a folder.
func mixedOf(t *testing.T, dir string) Config {
	t.Helper()
	cfg := tinyOf(t, dir, 0)
	vocab := cfg.Header.Model.Vocab
	text := func(n, seed int) []int32 {
		var ids []int32
		for j := range n {
			ids = append(ids, int32((7*j+3*seed+j*j%5)%vocab))
		}
		return ids
	}
	document := text(100, 1)
	for i, n := range []int{40, 9, 23, 1, 60, 17, 30, 12, 8, 55} {
		p := prompts.Prompt{ID: fmt.Sprint("p", i), Tokens: text(n, i)}
		switch {
		case i >= 4 && i <= 6:
			p.Document = "d"
			p.Tokens = slices.Concat(document, p.Tokens)
		case i == 2:
			p.Reply = text(5, 9)
		case i == 7:
			p.Reply = []int32{}
		}
		cfg.Prompts = append(cfg.Prompts, p)
	}
	cfg.Header.Plan.MaxNewTokens = 24
	cfg.Header.Plan.IgnoreEOS = false
	cfg.Header.Plan.Temperature = 1
	cfg.Header.Plan.Values = true
	return cfg
}

// inOrder runs a capture and returns its dump with the prompts in the order of the set, as
// Merge copies them: every byte of every prompt.
func inOrder(t *testing.T, cfg Config) []byte {
	t.Helper()
	if _, err := Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	return merged(t, cfg.Out)
}

func merged(t *testing.T, paths ...string) []byte {
	t.Helper()
	out := filepath.Join(t.TempDir(), "merged.attn")
	if err := dumps.Merge(context.Background(), out, paths, dumps.MergeOptions{}); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPromptsDoNotDependOnTheBatch records a set with batches of several sizes, whole, in
// shards, and resumed after a write has failed: the bytes of each prompt are the same.
func TestPromptsDoNotDependOnTheBatch(t *testing.T) {
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		t.Run(string(store), func(t *testing.T) {
			cfg := mixed(t)
			cfg.Header.Plan.Store = store
			dir := t.TempDir()
			cfg.Out = filepath.Join(dir, "one.attn")
			want := inOrder(t, cfg)
			for _, n := range []int{2, 3, 8} {
				cfg.Batch = n
				cfg.Out = filepath.Join(dir, fmt.Sprint("batch", n, ".attn"))
				if got := inOrder(t, cfg); !bytes.Equal(got, want) {
					t.Errorf("batch %d: the prompts differ from those of batch 1", n)
				}
			}
			cfg.Batch = 3
			var shards []string
			for shard := range 2 {
				cfg.Mine = func(i int) bool { return i%2 == shard }
				cfg.Header.Plan.Shard = fmt.Sprint(shard, "/2")
				cfg.Out = filepath.Join(dir, fmt.Sprint("shard", shard, ".attn"))
				if _, err := Run(context.Background(), cfg); err != nil {
					t.Fatal(err)
				}
				shards = append(shards, cfg.Out)
			}
			if !bytes.Equal(merged(t, shards...), want) {
				t.Error("shards with batch 3: the prompts differ from those of batch 1")
			}
		})
	}
}

// TestReplyOrder lets replies end out of order: prompts are in the file in the order in
// which their replies end, and in the index in the order of the set.
func TestReplyOrder(t *testing.T) {
	cfg := tiny(t, 4)
	cfg.Header.Plan.MaxNewTokens = 400
	cfg.Header.Plan.IgnoreEOS = false
	cfg.Header.Plan.Temperature = 1
	cfg.Batch = 4
	cfg.Out = filepath.Join(t.TempDir(), "x.attn")
	var ended []string
	done := 0
	cfg.Progress = func(p Progress) {
		if p.ID != fmt.Sprint("p", p.Place-1) {
			t.Errorf("prompt %s has place %d", p.ID, p.Place)
		}
		if p.Prompt > done {
			done = p.Prompt
			ended = append(ended, p.ID)
		}
	}
	if _, err := Run(context.Background(), cfg); err != nil {
		t.Fatal(err)
	}
	if slices.IsSorted(ended) {
		t.Fatalf("the replies ended in the order %v, which tests nothing", ended)
	}
	whole, err := os.ReadFile(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	cut := filepath.Join(t.TempDir(), "cut.attn")
	if err := os.WriteFile(cut, whole[:len(whole)-100], 0o644); err != nil { // without its index
		t.Fatal(err)
	}
	for _, path := range []string{cfg.Out, cut} {
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var ids []string
		for _, p := range r.Prompts() {
			ids = append(ids, p.ID)
		}
		if !slices.Equal(ids, []string{"p0", "p1", "p2", "p3"}) {
			t.Errorf("%s lists %v", filepath.Base(path), ids)
		}
	}
	if done, err := dumps.Repair(context.Background(), cfg.Out, nil); err != nil || !done.Whole {
		t.Errorf("repair says %+v, %v, want that the dump is whole", done, err)
	}
}

// TestPromptFailsWhileOthersDecode lets the third prompt fail while the replies of the first
// two are decoded: both are recorded, as they are with a batch of 1.
func TestPromptFailsWhileOthersDecode(t *testing.T) {
	for _, batch := range []int{1, 4} {
		cfg := tiny(t, 4)
		cfg.Out = filepath.Join(t.TempDir(), "x.attn")
		cfg.Batch = batch
		cfg.Progress = func(p Progress) {
			if p.ID == "p1" { // the set has been checked
				cfg.Prompts[2].Tokens[3] = -1
			}
		}
		summary, err := Run(t.Context(), cfg)
		if err == nil || !strings.HasPrefix(err.Error(), `prompt "p2": token 3 is -1`) {
			t.Errorf("batch %d: %v, want the prompt that failed", batch, err)
		}
		r, err := dumps.Open(cfg.Out + ".partial")
		if err != nil {
			t.Fatalf("batch %d: %v", batch, err)
		}
		defer r.Close()
		if n := len(r.Prompts()); n != 2 || summary.Prompts != 2 {
			t.Errorf("batch %d: %d prompts are kept and %d were counted, want the two before it", batch, n, summary.Prompts)
		}
	}
}

// TestErrorNamesThePromptOfTheBatch breaks one reply of a batch: the error names its prompt
// and no other.
func TestErrorNamesThePromptOfTheBatch(t *testing.T) {
	cfg := tiny(t, 3)
	cfg.Out = filepath.Join(t.TempDir(), "x.attn")
	cfg.Batch = 3
	w, err := dumps.Create(cfg.Out, &cfg.Header, cfg.createOptions())
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{c: &cfg, w: w, replies: cfg.Model.NewReplies(cfg.Batch)}
	defer func() {
		r.abandon()
		if err := w.Abort(); err != nil {
			t.Error(err)
		}
	}()
	for i := range cfg.Prompts {
		if err := r.prompt(t.Context(), &cfg.Prompts[i], nil); err != nil {
			t.Fatal(err)
		}
	}
	r.replies.List()[1].(*promptRun).logits[5] = float32(math.NaN())
	err = r.decode(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), `prompt "p1": logit 5 at position`) {
		t.Errorf("%v, want the prompt whose reply failed", err)
	}
}

// TestBatchAfterAFailedWrite lets writes of a capture with a batch fail: no finished prompt
// is lost, at most a batch of prompts is run again, and the resumed dump has the same bytes
// for each prompt.
func TestBatchAfterAFailedWrite(t *testing.T) {
	cfg := mixed(t)
	dir := t.TempDir()
	cfg.Out = filepath.Join(dir, "whole.attn")
	want := inOrder(t, cfg)
	cfg.Batch = 3
	kept := 0
	for bad := int64(1); ; bad += 17 {
		cfg.Out = filepath.Join(dir, fmt.Sprint(bad, ".attn"))
		cfg.Resume = false
		var n atomic.Int64
		cfg.wrap = func(f *os.File) dumps.File { return failing{f, &n, bad, bad%2 == 1} }
		first, err := Run(context.Background(), cfg)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("write %d failed, but the capture says %v", bad, err)
		}
		cfg.Resume = true
		cfg.wrap = nil
		second, err := Run(context.Background(), cfg)
		if err != nil {
			t.Fatalf("write %d: resumed: %v", bad, err)
		}
		if second.Resumed != first.Prompts || second.Prompts != len(cfg.Prompts)-first.Prompts {
			t.Fatalf("write %d: %d prompts were finished, %d were kept and %d run again", bad, first.Prompts, second.Resumed, second.Prompts)
		}
		kept += first.Prompts
		if !bytes.Equal(merged(t, cfg.Out), want) {
			t.Fatalf("write %d: the prompts of the resumed dump differ", bad)
		}
	}
	if kept == 0 {
		t.Error("no failure left a finished prompt")
	}
}
