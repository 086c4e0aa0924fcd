package model

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
)

// TestStepAgainstForward decodes sequences of different lengths together and
// one by one: logits and weights are the same, bit for bit.
func TestStepAgainstForward(t *testing.T) {
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
			m, err := Load(ck, Options{Threads: 2})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()
			stepsLikeForward(t, m)
		})
	}
}

// stepsLikeForward decodes ten sequences of a model together and one by one.
func stepsLikeForward(t *testing.T, m *Model) {
	t.Helper()
	ctx, vocab := context.Background(), int32(m.Config().Vocab)
	lengths := []int{3, 17, 9, 4, 5, 6, 7, 8, 10, 11}
	prompt := func(i int) (ids []int32) {
		for j := range lengths[i] {
			ids = append(ids, int32(j*13+i*5+1)%vocab)
		}
		return ids
	}
	var together, alone []*Session
	for i := range lengths {
		for _, list := range []*[]*Session{&together, &alone} {
			s := m.NewSession()
			if err := s.Forward(ctx, prompt(i), Pass{LogitsFrom: lengths[i]}); err != nil {
				t.Fatal(err)
			}
			*list = append(*list, s)
		}
	}
	for step := range 3 {
		tokens, passes := make([]int32, len(lengths)), make([]Pass, len(lengths))
		got, want := make([][]float32, len(lengths)), make([][]float32, len(lengths))
		seen, expected := make([]*watcher, len(lengths)), make([]*watcher, len(lengths))
		for i, s := range alone {
			tokens[i] = int32(step*11+i*3+2) % vocab
			seen[i], expected[i] = &watcher{rows: map[[3]int][]float32{}}, &watcher{rows: map[[3]int][]float32{}}
			passes[i] = Pass{Recorder: seen[i].recorder(), Logits: func(row int, l []float32) {
				if row != 0 {
					t.Errorf("row %d, want 0", row)
				}
				got[i] = slices.Clone(l)
			}}
			p := Pass{Recorder: expected[i].recorder(), Logits: func(_ int, l []float32) { want[i] = slices.Clone(l) }}
			if err := s.Forward(ctx, tokens[i:i+1], p); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.Step(ctx, together, tokens, passes); err != nil {
			t.Fatal(err)
		}
		for i := range lengths {
			if n := together[i].Len(); n != lengths[i]+step+1 {
				t.Fatalf("sequence %d has %d tokens, want %d", i, n, lengths[i]+step+1)
			}
			for j, v := range want[i] {
				if got[i][j] != v {
					t.Fatalf("step %d, sequence %d, logit %d: %g together, %g alone", step, i, j, got[i][j], v)
				}
			}
			if len(seen[i].rows) != len(expected[i].rows) {
				t.Fatalf("%d rows together, %d alone", len(seen[i].rows), len(expected[i].rows))
			}
			for at, row := range expected[i].rows {
				for j, v := range row {
					if seen[i].rows[at][j] != v {
						t.Fatalf("step %d, sequence %d, row %v, key %d: %g together, %g alone", step, i, at, j, seen[i].rows[at][j], v)
					}
				}
			}
		}
	}
	s := together[0]
	for _, err := range []error{
		m.Step(ctx, []*Session{s, s}, []int32{1, 1}, make([]Pass, 2)),
		m.Step(ctx, together, []int32{1}, make([]Pass, 3)),
		m.Step(ctx, together, []int32{1, -1, 1}, make([]Pass, 3)),
	} {
		if err == nil || !strings.ContainsAny(err.Error(), "0123456789") {
			t.Errorf("a step that cannot be: %v", err)
		}
	}
}
