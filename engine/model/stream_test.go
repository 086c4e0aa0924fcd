package model

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// seen holds what a run of some sequences has computed.
type seen struct {
	logits map[string][]float32
	rows   []*watcher
}

// runTogether reads prompts in small chunks, some of them in two passes, and then decodes
// three tokens of each.
func runTogether(t *testing.T, ck *checkpoint.Checkpoint, o Options) seen {
	t.Helper()
	m, err := Load(ck, o)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Streams() != (o.WeightMemory > 0) {
		t.Fatalf("streams: %v with a limit of %d bytes", m.Streams(), o.WeightMemory)
	}
	ctx, vocab := context.Background(), m.Config().Vocab
	out := seen{logits: map[string][]float32{}}
	var list []*Session
	var tokens [][]int32
	var passes []Pass
	pass := func(i int, name string, from int) Pass {
		return Pass{Recorder: out.rows[i].recorder(), LogitsFrom: from, Logits: func(row int, l []float32) {
			out.logits[fmt.Sprint(i, name, row)] = slices.Clone(l)
		}}
	}
	for i, n := range []int{23, 5, 40} {
		var ids []int32
		for j := range n {
			ids = append(ids, int32((j*13+i*5+1)%vocab))
		}
		out.rows = append(out.rows, &watcher{rows: map[[3]int][]float32{}})
		list = append(list, m.NewSession())
		tokens = append(tokens, ids)
		passes = append(passes, pass(i, "prompt", n-2))
	}
	if err := list[2].Forward(ctx, tokens[2][:9], pass(2, "first", 3)); err != nil {
		t.Fatal(err)
	}
	tokens[2] = tokens[2][9:]
	passes[2] = pass(2, "prompt", 29)
	if err := m.ForwardAll(ctx, list, tokens, passes); err != nil {
		t.Fatal(err)
	}
	for step := range 3 {
		next := make([]int32, len(list))
		for i := range list {
			next[i] = int32((step*11 + i*3 + 2) % vocab)
			passes[i] = pass(i, fmt.Sprint("step", step), 0)
		}
		if err := m.Step(ctx, list, next, passes); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range list {
		s.Close()
	}
	return out
}

func (s *seen) compare(t *testing.T, name string, want seen) {
	t.Helper()
	if len(s.logits) != len(want.logits) || len(want.logits) == 0 {
		t.Errorf("%s: logits of %d tokens, want %d", name, len(s.logits), len(want.logits))
	}
	for at, l := range want.logits {
		if !slices.Equal(s.logits[at], l) {
			t.Errorf("%s: the logits of %s differ", name, at)
		}
	}
	for i, w := range want.rows {
		if len(s.rows[i].rows) != len(w.rows) {
			t.Errorf("%s: sequence %d has %d rows, want %d", name, i, len(s.rows[i].rows), len(w.rows))
		}
		for at, row := range w.rows {
			if !slices.Equal(s.rows[i].rows[at], row) {
				t.Errorf("%s: row %v of sequence %d differs", name, at, i)
			}
		}
	}
}

// TestStreamedWeights runs each checkpoint with weights that are read from the file in
// each pass: logits and weights are those of the model in memory, bit for bit.
func TestStreamedWeights(t *testing.T) {
	dirs, err := filepath.Glob("testdata/*/model.safetensors")
	if err != nil || len(dirs) < 7 {
		t.Fatalf("%d checkpoints in testdata (%v)", len(dirs), err)
	}
	for _, dir := range dirs {
		dir = filepath.Dir(dir)
		t.Run(filepath.Base(dir), func(t *testing.T) {
			ck, err := checkpoint.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer ck.Close()
			c, err := ReadConfig(ck)
			if err != nil {
				t.Fatal(err)
			}
			want := runTogether(t, ck, Options{Threads: 2, Chunk: 7})
			all, err := c.Place(ck, "", 0)
			if err != nil {
				t.Fatal(err)
			}
			none, err := c.Place(ck, "", 1)
			if err != nil {
				t.Fatal(err)
			}
			if all.Streams() || all.Kept != c.Layers || none.Kept != 0 || none.HeadKept || none.Packed != all.Memory {
				t.Errorf("%+v without a limit, %+v with a limit of a byte", all, none)
			}
			for _, limit := range []int64{1, (all.Memory + none.Memory) / 2} {
				got := runTogether(t, ck, Options{Threads: 2, Chunk: 7, WeightMemory: limit})
				got.compare(t, fmt.Sprint("limit ", limit), want)
			}
			got := runTogether(t, ck, Options{Threads: 1, Chunk: 7, WeightMemory: 1, Compute: "bf16"})
			got.compare(t, "bf16", runTogether(t, ck, Options{Threads: 1, Chunk: 7, Compute: "bf16"}))
		})
	}
}

// TestPlacement checks how many layers stay in memory, and what a pass reads.
func TestPlacement(t *testing.T) {
	ck, err := checkpoint.Open("testdata/gemma3_text")
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	c, err := ReadConfig(ck)
	if err != nil {
		t.Fatal(err)
	}
	all, err := c.Place(ck, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if all.Memory > c.WeightBytes(ck, "") || all.Memory < c.WeightBytes(ck, "")*3/4 {
		t.Errorf("%d bytes of matrices, %d of weights", all.Memory, c.WeightBytes(ck, ""))
	}
	last := -1
	for limit := int64(1); limit <= all.Memory; limit += all.Memory / 50 {
		p, err := c.Place(ck, "", limit)
		if err != nil {
			t.Fatal(err)
		}
		if p.Kept < last || p.Kept > 0 && p.Memory > limit || p.Memory < 1 || !p.Streams() && p.Packed > 0 {
			t.Errorf("limit %d: %+v after %d layers", limit, p, last)
		}
		if p.Packed < all.Memory-p.Memory || p.Streams() && p.Read == 0 {
			t.Errorf("limit %d: %d bytes are packed in each pass and %d stay, of %d", limit, p.Packed, p.Memory, all.Memory)
		}
		last = p.Kept
	}
	if last < 1 {
		t.Errorf("%d layers stay at most", last)
	}
}

// TestStreamedWeightsThatChange reports a file that becomes shorter between two passes.
func TestStreamedWeightsThatChange(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("testdata/qwen3")); err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := Load(ck, Options{Threads: 1, WeightMemory: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	s := m.NewSession()
	defer s.Close()
	if err := s.Forward(context.Background(), []int32{1, 2, 3}, Pass{LogitsFrom: 3}); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "model.safetensors"), 4096); err != nil {
		t.Fatal(err)
	}
	if err := s.Forward(context.Background(), []int32{1, 2, 3}, Pass{LogitsFrom: 3}); err == nil {
		t.Error("a pass reads a file that has become shorter")
	}
}
