package model

import (
	"cmp"
	"context"
	"math"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// TestCompareExact: with its exact weights a narrow model is the float32 one,
// and what it says it changes is of the size of its rounding.
func TestCompareExact(t *testing.T) {
	ck, err := checkpoint.Open(sharedtest.Dir(t, "fixtures/models/qwen2"))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	plain, err := Load(ck, Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	tokens := make([]int32, 60)
	for i := range tokens {
		tokens[i] = int32(i*7) % int32(plain.Config().Vocab)
	}
	want, err := plain.observe(context.Background(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	if e, err := plain.CompareExact(context.Background(), tokens); err != nil || e.Logits != 0 || e.Weights != 0 {
		t.Errorf("float32 against itself: %+v, %v", e, err)
	}
	m, err := Load(ck, Options{Threads: 2, Compute: "bf16"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.exact(true); err != nil {
		t.Fatal(err)
	}
	got, err := m.observe(context.Background(), tokens)
	if err := cmp.Or(m.exact(false), err); err != nil {
		t.Fatal(err)
	}
	for i, v := range want.logits {
		if math.Abs(float64(got.logits[i]-v)) > 1e-4 {
			t.Fatalf("exact weights: logit %d is %g, want %g", i, got.logits[i], v)
		}
	}
	e, err := m.CompareExact(context.Background(), tokens)
	if err != nil {
		t.Fatal(err)
	}
	if e.Logits < 1e-5 || e.Logits > 0.05 || e.Weights == 0 || e.Weights > 0.05 || e.Rows == 0 || e.Tokens != 60 {
		t.Errorf("bf16 changes %+v", e)
	}
	t.Logf("%+v", e)
	if _, err := Load(ck, Options{Compute: "fp8"}); err == nil {
		t.Error("compute fp8 was accepted")
	}
}
