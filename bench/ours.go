package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/checkpoint"
	"github.com/attnscope/attnscope/capture/model"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
)

// A task is one line that a worker reads.
type task struct {
	Op      string `json:"op"`      // prefill or decode
	Tokens  int    `json:"tokens"`  // of the prompt
	Reply   int    `json:"reply"`   // tokens decoded after it
	Record  bool   `json:"record"`  // false: the model alone
	Windows int    `json:"windows"` // older query windows of 128 rows, beside the last 128 rows
}

// An answer is the line that follows. Seconds are wall-clock, CPU is user and
// system time of the whole worker meanwhile.
type answer struct {
	Tokens  int     `json:"tokens"` // that Seconds are for
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpu"`
	Peak    int64   `json:"peak"` // bytes resident at most since the worker began
	Error   string  `json:"error,omitempty"`
	Skipped string  `json:"skipped,omitempty"`
}

// ours is the worker that runs this repository's engine: tasks in, answers out.
func ours(path string, threads int, compute string, in io.Reader, out io.Writer) error {
	ck, err := checkpoint.Open(path)
	if err != nil {
		return err
	}
	defer ck.Close()
	m, err := model.Load(ck, model.Options{Threads: threads, Compute: compute})
	if err != nil {
		return err
	}
	defer m.Close()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	enc := json.NewEncoder(out)
	fmt.Fprintf(out, "{\"ready\":true}\n")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var t task
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return err
		}
		a, err := measure(m, filepath.Join(dir, "run.attn"), t)
		if err != nil {
			a.Error = err.Error()
		}
		a.Peak = peakBytes()
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return lines.Err()
}

func measure(m *model.Model, path string, t task) (answer, error) {
	cfg := m.Config()
	r := rand.New(rand.NewPCG(7, uint64(t.Tokens)))
	ids := make([]int32, t.Tokens)
	for i := range ids {
		ids[i] = int32(r.IntN(cfg.Vocab))
	}
	if !t.Record {
		return bare(m, ids, t)
	}
	var from, to time.Time
	var cpuFrom, cpuTo float64
	c := capture.Config{
		Model: m, Out: path, Force: true,
		Prompts: []prompts.Prompt{{ID: "random", Tokens: ids}},
		Progress: func(p capture.Progress) {
			if t.Op != "decode" {
				return
			}
			switch p.Tokens {
			case int64(t.Tokens):
				if from.IsZero() {
					from, cpuFrom = time.Now(), cpuSeconds()
				}
			case int64(t.Tokens + t.Reply):
				if to.IsZero() {
					to, cpuTo = time.Now(), cpuSeconds()
				}
			}
		},
	}
	plan := &c.Header.Plan
	plan.WindowRows, plan.PromptWindows, plan.PromptWindowSize = 128, t.Windows, 128
	plan.MaxNewTokens, plan.IgnoreEOS = t.Reply, true
	plan.Store, plan.Precision = "auto", "fine"
	for l := range cfg.Layers {
		plan.Layers = append(plan.Layers, l)
	}
	for h := range cfg.Heads {
		plan.Heads = append(plan.Heads, h)
	}
	c.Header.Model = dumps.ModelInfo{Layers: cfg.Layers, Heads: cfg.Heads, KVHeads: cfg.KVHeads, HeadDim: cfg.HeadDim,
		ValueDim: cfg.ValueDim, Vocab: cfg.Vocab, Scale: float64(cfg.Scale), LayerWindows: cfg.LayerWindows}
	start, cpu := time.Now(), cpuSeconds()
	if _, err := capture.Run(context.Background(), c); err != nil {
		return answer{}, err
	}
	if t.Op == "decode" {
		return answer{Tokens: t.Reply, Seconds: to.Sub(from).Seconds(), CPU: cpuTo - cpuFrom}, nil
	}
	return answer{Tokens: t.Tokens, Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - cpu}, nil
}

// bare runs the model and records nothing.
func bare(m *model.Model, ids []int32, t task) (answer, error) {
	s, logits := m.NewSession(), make([]float32, m.Config().Vocab)
	s.Reserve(len(ids) + t.Reply)
	start, cpu := time.Now(), cpuSeconds()
	take := func(_ int, l []float32) { copy(logits, l) }
	if err := s.Forward(context.Background(), ids, model.Pass{LogitsFrom: len(ids) - 1, Logits: take}); err != nil {
		return answer{}, err
	}
	if t.Op != "decode" {
		return answer{Tokens: len(ids), Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - cpu}, nil
	}
	pick := model.NewSampler(0, 0)
	start, cpu = time.Now(), cpuSeconds()
	for range t.Reply {
		if err := s.Forward(context.Background(), []int32{pick.Next(logits)}, model.Pass{Logits: take}); err != nil {
			return answer{}, err
		}
	}
	return answer{Tokens: t.Reply, Seconds: time.Since(start).Seconds(), CPU: cpuSeconds() - cpu}, nil
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

func peakBytes() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return int64(u.Maxrss) << 10
}
