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
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/forecast"
	"github.com/attnscope/attnscope/internal/simd"
)

// A task is a line that a worker reads.
type task struct {
	Op      string      `json:"op"`      // prefill, decode, set, gemm; our worker also takes peak, read, sweep
	Tokens  int         `json:"tokens"`  // of the prompt
	Reply   int         `json:"reply"`   // tokens decoded after it
	Record  bool        `json:"record"`  // false: the model alone
	Windows int         `json:"windows"` // older query windows of 128 rows, in addition to the last 128 rows
	Keep    int         `json:"keep"`    // slots of a compressed cache; 0: the full cache
	ByHead  bool        `json:"by_head"` // compressed by query head
	Batch   int         `json:"batch"`   // sequences that decode at once; set: at most
	Store   dumps.Store `json:"store"`   // of the dump; empty: auto
	N       int         `json:"n"`       // gemm: rows, outputs, inputs
	Out     int         `json:"out"`
	In      int         `json:"in"`
	Path    string      `json:"path"`    // read, sweep: the dump
	Prompts int         `json:"prompts"` // of that length; 0: one
}

// An answer is the line with which a worker answers a task. Seconds is the elapsed
// time, and CPU is the user and system time of the worker during it.
type answer struct {
	Tokens   int     `json:"tokens"` // that Seconds are for
	Seconds  float64 `json:"seconds"`
	CPU      float64 `json:"cpu"`
	Peak     int64   `json:"peak"`     // peak of the resident bytes since the worker began
	Need     int64   `json:"need"`     // estimated bytes of a recorded prefill
	Expect   float64 `json:"expect"`   // estimated seconds
	FLOPs    float64 `json:"flops"`    // of the recorded prefill
	Bytes    int64   `json:"bytes"`    // of the cache or of the dump
	GFLOPS   float64 `json:"gflops"`   // peak
	GBytesPS float64 `json:"gbytesps"` // peak: read from memory
	Error    string  `json:"error,omitempty"`
}

// ours is the worker that runs this repository's engine: tasks in, answers out.
func ours(path string, threads int, compute string, in io.Reader, out io.Writer) error {
	debug.SetGCPercent(50) // as the command does
	w := &engine{threads: threads, compute: compute}
	if path != "none" {
		src, err := capture.Open(context.Background(), path, capture.Options{Threads: threads, Compute: compute})
		if err != nil {
			return err
		}
		defer src.Close()
		if err := src.Load(context.Background()); err != nil {
			return err
		}
		w.m = src.Model
	}
	var err error
	if w.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	defer os.RemoveAll(w.dir)
	enc := json.NewEncoder(out)
	fmt.Fprintf(out, "{\"ready\":true}\n")
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var t task
		if err := json.Unmarshal(lines.Bytes(), &t); err != nil {
			return err
		}
		a, err := w.measure(t)
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

// shrunk returns the task with its numbers of tokens divided by n.
func (t task) shrunk(n int) task {
	t.Tokens /= n
	if t.Reply > 0 {
		t.Reply = max(2, t.Reply/n)
	}
	t.Keep /= n
	return t
}

// recorded returns the task with recording.
func (t task) recorded() task {
	t.Record = true
	return t
}

// clock measures a part of a task.
type clock struct {
	start time.Time
	used  float64
}

func startClock() clock { return clock{time.Now(), cpuSeconds()} }

// answer returns the time since the clock was started, for a number of tokens.
func (c clock) answer(tokens int) answer {
	return answer{Tokens: tokens, Seconds: time.Since(c.start).Seconds(), CPU: cpuSeconds() - c.used}
}

// engine is the worker that runs our engine.
type engine struct {
	m       *model.Model // nil for tasks that need none
	threads int
	compute string
	dir     string
	gemm    struct {
		t    task
		pool *cpu.Pool
		m    *cpu.Matrix
		x, y []float32
	}
}

func (w *engine) measure(t task) (answer, error) {
	switch {
	case t.Op == "gemm":
		return w.product(t)
	case t.Op == "peak":
		return w.peak(), nil
	case t.Op == "read" || t.Op == "sweep":
		return analyze(t)
	case t.Record:
		return w.record(t)
	}
	return w.bare(t)
}

// ids returns random tokens, others for each prompt.
func (w *engine) ids(n, prompt int) []int32 {
	r := rand.New(rand.NewPCG(7+uint64(prompt), uint64(n)))
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(r.IntN(w.m.Config().Vocab))
	}
	return ids
}

// plan returns a plan that records the last 128 rows of all heads, and t.Windows older
// windows.
func (t *task) plan(cfg *model.Config) dumps.Plan {
	p := dumps.Plan{
		WindowRows: 128, PromptWindows: t.Windows, PromptWindowSize: 128, MaxNewTokens: t.Reply, IgnoreEOS: true,
		Store: dumps.StoreAuto, Precision: dumps.Fine, Compute: "f32",
	}
	if t.Store != "" {
		p.Store = t.Store
	}
	for l := range cfg.Layers {
		p.Layers = append(p.Layers, l)
	}
	for h := range cfg.Heads {
		p.Heads = append(p.Heads, h)
	}
	return p
}

// header returns the header of a dump of the model.
func header(cfg *model.Config, plan dumps.Plan) dumps.Header {
	return dumps.Header{Plan: plan, Model: capture.ModelInfo("bench", cfg)}
}

// record captures prompts into a dump. The time of a prefill ends when the dump is
// closed and on disk.
func (w *engine) record(t task) (answer, error) {
	cfg := w.m.Config()
	var reply clock // started after the prompt
	var decoded answer
	c := capture.Config{
		Model: w.m, Out: filepath.Join(w.dir, "run.attn"), Force: true, Header: header(&cfg, t.plan(&cfg)),
		Prompts: make([]prompts.Prompt, max(1, t.Prompts)),
		Batch:   max(1, t.Batch),
		Progress: func(p capture.Progress) {
			switch {
			case t.Op == "decode" && p.Tokens == int64(t.Tokens) && reply.start.IsZero():
				reply = startClock()
			case t.Op == "decode" && p.Tokens == int64(t.Tokens+t.Reply) && decoded.Tokens == 0:
				decoded = reply.answer(t.Reply)
			}
		},
	}
	for i := range c.Prompts {
		c.Prompts[i] = prompts.Prompt{ID: fmt.Sprint("random-", i), Tokens: w.ids(t.Tokens, i)}
	}
	need := forecast.Capture(&c, cfg, w.threads)
	pace := need.Pace(cpu.Measure(w.threads), w.m.WeightBytes(), w.compute)
	all := startClock()
	if _, err := capture.Run(context.Background(), c); err != nil {
		return answer{}, err
	}
	a := all.answer(t.Tokens * len(c.Prompts))
	switch t.Op {
	case "decode":
		a = decoded
	case "set":
		a.Tokens += t.Reply * len(c.Prompts)
	}
	a.Need = need.Cache + need.Work + need.Recording + w.m.WeightBytes()
	a.Expect = pace.Seconds
	a.FLOPs = need.FLOPs
	if fi, err := os.Stat(c.Out); err == nil {
		a.Bytes = fi.Size()
	}
	return a, nil
}

// bare runs the model and records nothing.
func (w *engine) bare(t task) (answer, error) {
	ids := w.ids(t.Tokens, 0)
	logits := make([]float32, w.m.Config().Vocab)
	s := w.m.NewSession()
	if err := s.Reserve(len(ids) + t.Reply); err != nil {
		return answer{}, err
	}
	clock := startClock()
	take := func(_ int, l []float32) { copy(logits, l) }
	if err := s.Forward(context.Background(), ids, model.Pass{LogitsFrom: len(ids) - 1, Logits: take}); err != nil {
		return answer{}, err
	}
	if t.Op != "decode" {
		a := clock.answer(len(ids))
		a.Bytes = s.CacheBytes()
		return a, nil
	}
	if t.Keep > 0 {
		var err error
		if s, err = s.Compress(func(int) ([][]int32, error) { return w.evenly(t), nil }); err != nil {
			return answer{}, err
		}
		if err := s.Reserve(len(ids) + t.Reply); err != nil {
			return answer{}, err
		}
	}
	pick := model.NewSampler(0, 0)
	if t.Batch > 1 {
		return w.together(s, t, logits)
	}
	bytes := s.CacheBytes()
	clock = startClock()
	for range t.Reply {
		if err := s.Forward(context.Background(), []int32{pick.Next(logits)}, model.Pass{Logits: take}); err != nil {
			return answer{}, err
		}
	}
	a := clock.answer(t.Reply)
	a.Bytes = bytes
	return a, nil
}

// together decodes t.Batch copies of a sequence at once and counts the tokens of all.
func (w *engine) together(s *model.Session, t task, logits []float32) (answer, error) {
	list := []*model.Session{s}
	tokens := make([]int32, t.Batch)
	passes := make([]model.Pass, t.Batch)
	all := t
	all.Keep = s.Len()
	for len(list) < t.Batch {
		other, err := s.Compress(func(int) ([][]int32, error) { return w.evenly(all), nil })
		if err != nil {
			return answer{}, err
		}
		if err := other.Reserve(s.Len() + t.Reply); err != nil {
			return answer{}, err
		}
		list = append(list, other)
	}
	next := model.NewSampler(0, 0).Next(logits)
	for i := range tokens {
		tokens[i] = (next + int32(i)) % int32(len(logits))
		passes[i] = model.Pass{Logits: func(_ int, l []float32) { tokens[i] = model.NewSampler(0, 0).Next(l) }}
	}
	clock := startClock()
	for range t.Reply {
		if err := w.m.Step(context.Background(), list, tokens, passes); err != nil {
			return answer{}, err
		}
	}
	return clock.answer(t.Reply * t.Batch), nil
}

// evenly selects slots at equal distances: the cost of decoding does not depend on
// which slots are kept.
func (w *engine) evenly(t task) [][]int32 {
	cfg := w.m.Config()
	keep := make([][]int32, cfg.KVHeads)
	if t.ByHead {
		keep = make([][]int32, cfg.Heads)
	}
	for h := range keep {
		for i := range t.Keep {
			keep[h] = append(keep[h], int32(i*t.Tokens/t.Keep))
		}
	}
	return keep
}

// product measures x·Wᵀ with packed weights, as the median of several runs.
func (w *engine) product(t task) (answer, error) {
	g := &w.gemm
	if g.t != t {
		if g.pool == nil {
			g.pool = cpu.NewPool(w.threads)
		}
		r := rand.New(rand.NewPCG(1, 1))
		weights := make([]float32, t.Out*t.In)
		g.x = make([]float32, t.N*t.In)
		g.y = make([]float32, t.N*t.Out)
		for _, x := range [][]float32{weights, g.x} {
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
		}
		var err error
		if g.m, err = cpu.Pack(g.pool, cpu.F32, tensor.FromFloat32("w", weights, t.Out, t.In)); err != nil {
			return answer{}, err
		}
		g.t = t
		g.m.Mul(g.pool, cpu.Dense(g.y, t.N, t.Out), cpu.Dense(g.x, t.N, t.In))
	}
	var times []float64
	for begin := time.Now(); len(times) < 5 || time.Since(begin) < 300*time.Millisecond; {
		start := time.Now()
		g.m.Mul(g.pool, cpu.Dense(g.y, t.N, t.Out), cpu.Dense(g.x, t.N, t.In))
		times = append(times, time.Since(start).Seconds())
	}
	slices.Sort(times)
	return answer{Tokens: t.N, Seconds: times[len(times)/2]}, nil
}

// peak measures the limits of the machine, on all threads: multiply-adds in registers,
// and reading memory.
func (w *engine) peak() answer {
	var a answer
	for range 5 {
		start := time.Now()
		var total float64
		var mu sync.Mutex
		w.parallel(func(int) {
			n := simd.Peak(4_000_000)
			mu.Lock()
			total += n
			mu.Unlock()
		})
		a.GFLOPS = max(a.GFLOPS, total/time.Since(start).Seconds()/1e9)
	}
	const size = 64 << 20 // float32 per thread
	big := make([][]float32, w.threads)
	for i := range big {
		big[i] = make([]float32, size)
		for j := 0; j < size; j += 1024 {
			big[i][j] = 1
		}
	}
	for range 5 {
		start := time.Now()
		w.parallel(func(i int) { simd.Max(big[i]) })
		a.GBytesPS = max(a.GBytesPS, float64(4*size*w.threads)/time.Since(start).Seconds()/1e9)
	}
	return a
}

func (w *engine) parallel(f func(i int)) {
	var wg sync.WaitGroup
	for i := range w.threads {
		wg.Add(1)
		go func() { defer wg.Done(); f(i) }()
	}
	wg.Wait()
}
