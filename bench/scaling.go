package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/viz"
)

// axis is a quantity with which a capture grows.
type axis struct {
	name   string
	file   string // part of the name of its figure
	what   string // description of everything else
	values []int
	at     func(n int) (model string, t task, err error)
}

// scaling measures recorded prefills that grow along one axis at a time, and compares
// them with the predictions of --dry-run: floating-point operations over the current
// speed of products, and the sum of weights, cache, work and recording. It writes
// DATE-scaling.tsv and a figure for each axis.
func (b *bench) scaling() {
	if !strings.Contains("scaling", b.o.only) {
		return
	}
	prefill := func(tokens int) task { return task{Op: "prefill", Tokens: tokens, Record: true} }
	axes := []axis{
		{"prompt tokens", "tokens", "SmolLM2-135M", []int{512, 1024, 2048, 4096, 8000}, func(n int) (string, task, error) {
			return b.m.small, prefill(n), nil
		}},
		{"layers", "layers", "random weights, 9 heads, 2,048 tokens", []int{4, 8, 16, 32}, func(n int) (string, task, error) {
			s := narrow
			s.layers = n
			return b.shaped(s, prefill(2048))
		}},
		{"heads", "heads", "random weights, 8 layers of width 576, 3 kv heads, 2,048 tokens", []int{3, 9, 18, 36}, func(n int) (string, task, error) {
			s := narrow
			s.heads = n
			return b.shaped(s, prefill(2048))
		}},
		{"prompts", "prompts", "SmolLM2-135M, 1,024 tokens each", []int{1, 2, 4, 8}, func(n int) (string, task, error) {
			t := prefill(1024)
			t.Prompts = n
			return b.m.small, t, nil
		}},
	}
	t := table.New("axis", "value", "tokens", "tflop", "seconds", "expected_seconds", "time_ratio",
		"peak_gb", "expected_gb", "memory_ratio")
	for _, a := range axes {
		if b.o.quick {
			a.values = a.values[1:3]
		}
		if err := b.grow(a, t); err != nil {
			b.r.tell("SKIPPED: scaling with %s: %v", a.name, err)
		}
	}
	base := b.r.base(b.o.out) + "-scaling"
	if err := t.WriteFile(base+".tsv", "tsv"); err != nil {
		note(err.Error())
	}
}

// shaped returns a checkpoint of random weights, which it makes once.
func (b *bench) shaped(s shape, t task) (string, task, error) {
	path := filepath.Join(b.o.dir, "models", fmt.Sprintf("random-%dx%d-bf16", s.layers, s.heads))
	if _, err := os.Stat(filepath.Join(path, "model.safetensors")); err == nil {
		return path, t, nil
	}
	return path, t, s.random(path, tensor.BF16)
}

// grow measures an axis, adds its rows to the table and draws them.
func (b *bench) grow(a axis, t *table.Table) error {
	one := *b
	one.o.rounds = 2 // the first warms up
	seen := viz.Series{Name: "measured"}
	expected := viz.Series{Name: "predicted", Baseline: true}
	for _, n := range a.values {
		path, task, err := a.at(n)
		if err != nil {
			return err
		}
		_, got, err := one.single(b.our("recording", path, "f32", task), func(a answer) float64 { return a.Seconds })
		if err != nil {
			return err
		}
		t.Add(a.name, n, got.Tokens, got.FLOPs/1e12, got.Seconds, got.Expect, got.Expect/got.Seconds,
			float64(got.Peak)/1e9, float64(got.Need)/1e9, float64(got.Need)/float64(got.Peak))
		seen.X = append(seen.X, float64(n))
		seen.Y = append(seen.Y, got.Seconds)
		expected.X = append(expected.X, float64(n))
		expected.Y = append(expected.Y, got.Expect)
		b.r.tell("recorded prefill, %d %s (%s): %.2f s, predicted %.2f (x %.2f); %.2f GB, predicted %.2f (x %.2f); %.0f GFLOP/s",
			n, a.name, a.what, got.Seconds, got.Expect, got.Expect/got.Seconds,
			float64(got.Peak)/1e9, float64(got.Need)/1e9, float64(got.Need)/float64(got.Peak), got.FLOPs/got.Seconds/1e9)
	}
	hardware, _, _ := strings.Cut(b.r.machine, ", torch")
	f := viz.CurvesFigure(viz.Curves{
		Title:   "time of a recorded prefill against " + a.name,
		Caption: a.what + "; predicted: operations over the speed of products measured just before. " + hardware,
		XLabel:  a.name,
		YLabel:  "seconds",
		Hi:      1.05 * max(slices.Max(seen.Y), slices.Max(expected.Y)),
		Series:  []viz.Series{seen, expected},
		Meta:    viz.Meta{}.With("command", "make bench"),
	})
	return f.Save(fmt.Sprintf("%s-scaling-%s.png", b.r.base(b.o.out), a.file))
}
