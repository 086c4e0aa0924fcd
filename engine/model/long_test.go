package model_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// levalPrompts are the shortest prompts of n documents, tokenised with the chat template.
func levalPrompts(t *testing.T, path string, n int) []prompts.Prompt {
	tok, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(sharedtest.Dir(t, "data/leval"), "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	shortest := map[string]prompts.Prompt{}
	for _, file := range files {
		set, err := prompts.ReadFile(file, nil, prompts.ReadOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range set.Records {
			p, err := prompts.Prepare(t.Context(), tok, r, prompts.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if best, ok := shortest[p.Document]; !ok || len(p.Tokens) < len(best.Tokens) {
				shortest[p.Document] = p
			}
		}
	}
	var list []prompts.Prompt
	for _, p := range shortest {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b prompts.Prompt) int { return len(a.Tokens) - len(b.Tokens) })
	if len(list) < n {
		t.Fatalf("%d documents of L-Eval, want %d", len(list), n)
	}
	return list[:n]
}

// TestGreedyTokensOfTransformers: the default model decodes ten prompts of L-Eval
// as transformers does from the same weights, up to the first step whose two best
// logits lie within 1e-3; those places are listed. ATTNSCOPE_PYTHON names a
// Python with torch, transformers and gguf.
func TestGreedyTokensOfTransformers(t *testing.T) {
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if os.Getenv("ATTNSCOPE_LONG") == "" || python == "" {
		t.Skip("SKIPPED, minutes on the default model, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	const reply, close = 48, 1e-3
	path, err := checkpoint.Resolve(context.Background(), checkpoint.DefaultModel, checkpoint.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list := levalPrompts(t, path, 10)
	ids := make([][]int32, len(list))
	for i := range list {
		ids[i] = list[i].Tokens
	}
	text, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "prompts.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/greedy.py", path, file, "48")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := model.Load(ck, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for i := range list {
		if !lines.Scan() {
			t.Fatalf("the script gave %d lines of %d", i, len(list))
		}
		var want struct {
			IDs  []int32
			Gaps []float64
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		got := greedy(t, m, ids[i], reply)
		at := slices.IndexFunc(want.Gaps, func(gap float64) bool { return gap < close })
		if at < 0 {
			at = reply
			t.Logf("%s, %d tokens: no step of %d has its two best logits within %g; smallest gap %.4f", list[i].ID, len(ids[i]), reply, close, slices.Min(want.Gaps))
		} else {
			t.Logf("%s, %d tokens: step %d has its two best logits within %.2g", list[i].ID, len(ids[i]), at, want.Gaps[at])
		}
		if !slices.Equal(got[:at], want.IDs[:at]) {
			t.Errorf("%s: greedy tokens %v, want %v", list[i].ID, got[:at], want.IDs[:at])
		}
	}
}

func greedy(t *testing.T, m *model.Model, ids []int32, n int) []int32 {
	s, pick := m.NewSession(), model.NewSampler(0, 0)
	var next int32
	pass := func(tokens []int32) {
		p := model.Pass{LogitsFrom: len(tokens) - 1, Logits: func(_ int, l []float32) { next = pick.Next(l) }}
		if err := s.Forward(context.Background(), tokens, p); err != nil {
			t.Fatal(err)
		}
	}
	pass(ids)
	var out []int32
	for range n {
		out = append(out, next)
		pass([]int32{next})
	}
	return out
}
