//go:build cuda

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
	"github.com/attnscope/attnscope/engine/model"
)

// modelTokens is the length of the prompt with which checkpoints are compared.
const modelTokens = 100

// models runs each checkpoint of the folder models on the card and on the processor, in
// float32, and compares logits, all weights, and the sums over all queries.
func (r *report) models(ctx context.Context, o *options) error {
	list, err := filepath.Glob(filepath.Join(o.dir, "models", "*"))
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("%s has no checkpoints", filepath.Join(o.dir, "models"))
	}
	bad := 0
	for _, path := range list {
		m := judge.Model{Name: filepath.Base(path)}
		if err := compareDevices(ctx, path, &m); err != nil {
			m.Failed = err.Error()
		}
		if !m.Same() {
			bad++
		}
		fmt.Fprintf(os.Stderr, "bench: %s: logits differ by %.1e, weights by %.1e, sums by %.1e %s\n",
			m.Name, m.Logits, m.Weights, m.Sums, m.Failed)
		r.Models = append(r.Models, m)
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checkpoints give other numbers on the card", bad, len(list))
	}
	return nil
}

// seen is what a device computed.
type seen struct {
	logits []float32
	rows   map[[3]int][]float32 // weights by layer, head and query
}

// compareDevices fills in the differences of a checkpoint.
func compareDevices(ctx context.Context, path string, out *judge.Model) error {
	want, _, err := runOn(ctx, path, "cpu")
	if err != nil {
		return err
	}
	got, sums, err := runOn(ctx, path, "cuda:0")
	if err != nil {
		return err
	}
	largest := 0.0
	for i, v := range want.logits {
		largest = max(largest, math.Abs(float64(v)))
		out.Logits = max(out.Logits, math.Abs(float64(got.logits[i]-v)))
	}
	out.Logits /= max(largest, 1e-9)
	total := map[[2]int][]float64{} // by layer and head
	for place, row := range want.rows {
		at := [2]int{place[0], place[1]}
		if total[at] == nil {
			total[at] = make([]float64, modelTokens)
		}
		theirs := got.rows[place]
		if len(theirs) != len(row) {
			return fmt.Errorf("layer %d, head %d, query %d: the card has %d weights, want %d",
				place[0], place[1], place[2], len(theirs), len(row))
		}
		for j, v := range row {
			out.Weights = max(out.Weights, math.Abs(float64(theirs[j]-v)))
			total[at][j] += float64(v)
		}
	}
	for at, list := range total {
		if len(sums[at]) != len(list) {
			return fmt.Errorf("layer %d, head %d: the card has sums of %d keys, want %d",
				at[0], at[1], len(sums[at]), len(list))
		}
		for j, v := range list {
			out.Sums = max(out.Sums, math.Abs(sums[at][j]-v))
		}
	}
	return nil
}

// runOn runs a prompt through a checkpoint on a device. On a card, it also returns the sums
// over all queries, by layer and head.
func runOn(ctx context.Context, path, device string) (out seen, sums map[[2]int][]float64, err error) {
	ck, err := checkpoint.Open(path)
	if err != nil {
		return out, nil, err
	}
	defer ck.Close()
	m, err := model.Load(ck, model.Options{Device: device, Compute: "f32", Log: func(string) {}})
	if err != nil {
		return out, nil, err
	}
	defer m.Close()
	c := m.Config()
	tokens := make([]int32, modelTokens)
	for i := range tokens {
		tokens[i] = int32(i * i * 7 % c.Vocab)
	}
	out.rows = map[[3]int][]float32{}
	var lock sync.Mutex
	every := &model.Recorder{Tile: func(layer int, t *cpu.Tile) {
		lock.Lock()
		defer lock.Unlock()
		for i := range t.Rows {
			row := make([]float32, modelTokens)
			copy(row[t.Key0:], t.Weights[i*t.Stride:i*t.Stride+min(t.Keys, modelTokens-t.Key0)])
			out.rows[[3]int{layer, t.Head, t.Pos0 + i}] = row
		}
	}}
	run := func(pass model.Pass) error {
		s := m.NewSession()
		defer s.Close()
		return s.Forward(ctx, tokens, pass)
	}
	logits := func(_ int, l []float32) { out.logits = append(out.logits, l...) }
	if err := run(model.Pass{Recorder: every, Logits: logits}); err != nil || device == "cpu" {
		return out, nil, err
	}
	sums = map[[2]int][]float64{}
	added := &model.Recorder{
		Wants: func(_, pos0, n int) model.Wants {
			end := pos0 + n
			return model.Wants{Rows: end, LSE: end, States: end, Sums: true, Until: modelTokens}
		},
		Sums: func(layer, head, _ int, part []int64) {
			lock.Lock()
			defer lock.Unlock()
			list := make([]float64, modelTokens)
			for i, v := range part {
				list[i] = math.Ldexp(float64(v), -40)
			}
			sums[[2]int{layer, head}] = list
		},
	}
	err = run(model.Pass{Recorder: added, Logits: func(int, []float32) {}, LogitsFrom: modelTokens - 1})
	return out, sums, err
}
