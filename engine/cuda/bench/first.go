//go:build cuda

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

// first is a first run on a card.
type first struct {
	judge.Findings
	*options
	self string // this program
	temp string
	ends time.Time
	said []string // by the child of the running step
}

// firstStep is a part of the run.
type firstStep struct {
	name        string
	least, most time.Duration // it is left out if there is less time, and ended if it takes more
	run         func(ctx context.Context) error
}

// firstCard runs everything that fits into the time limit. It writes the JSON file and the
// page after each step, so that a run that is interrupted leaves what it has found.
func firstCard(o *options) error {
	begin := time.Now()
	devices, why := cuda.Devices()
	if why == "" {
		why = devices[0].Why
	}
	if why != "" {
		return fmt.Errorf("no card: %s", why)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "attnscope-first-card")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	f := &first{options: o, self: self, temp: temp, ends: begin.Add(o.limit - 5*time.Second)}
	f.Started = begin.UTC().Format(time.RFC3339)
	f.Host, _ = os.Hostname()
	f.CPUs = runtime.NumCPU()
	f.Card, err = describe(&devices[0])
	if err != nil {
		return err
	}
	if f.Card.Emulated() {
		o.quick = true
		say("the card is emulated: tiny sizes, and no times are judged")
	}
	predictions, err := judge.Predictions()
	if err != nil {
		return err
	}
	for _, s := range f.steps() {
		f.step(s)
		f.Seconds = time.Since(begin).Seconds()
		f.Predictions = f.Compare(predictions)
		f.Sentences = f.Judge()
		if err := f.write(); err != nil {
			return err
		}
	}
	return f.end()
}

// say prints a line for the user.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "first-card: "+format+"\n", args...)
}

// describe returns what the findings say about a card.
func describe(d *cuda.Device) (judge.Card, error) {
	r, err := cuda.RatesOf(d.Index)
	return judge.Card{
		Name: d.Name, Capability: d.Capability, Driver: d.Driver, Memory: d.Memory,
		Multiprocessors: r.Multiprocessors, ClockKHz: r.ClockKHz,
		MemoryClockKHz: r.MemoryClockKHz, MemoryBits: r.MemoryBits,
	}, err
}

// steps lists the steps, those first whose answers matter most.
func (f *first) steps() []firstStep {
	tests := filepath.Join(f.dir, "cuda.test")
	alone := []string{"ATTNSCOPE_LIBCUBLAS=none", "ATTNSCOPE_CUDA_IMAGE=ptx", "CUDA_CACHE_DISABLE=1"}
	single := []string{graphSetting + "=off"}
	const second = time.Second
	sanitizer := func(tool string) func(context.Context) error {
		return func(ctx context.Context) error { return sanitize(ctx, tool, tests) }
	}
	return []firstStep{
		{"start", 5 * second, 60 * second, f.child("start")},
		{"start with PTX, without cuBLAS", 10 * second, 60 * second, f.childWith(alone, "start")},
		{"models", 10 * second, 60 * second, f.child("models")},
		{"tests", 20 * second, 150 * second, f.child("test")},
		{
			"speed of 7b", 20 * second, 90 * second,
			f.child("speed", "-shape", "7b", "-tokens", "4096,16384", "-capture", "4096"),
		},
		{"PyTorch", 20 * second, 60 * second, f.child("torch", "-shape", "7b", "-tokens", "4096,16384")},
		{"speed of 7b with Triton's kernels", 20 * second, 60 * second, f.speedOfTriton},
		{"speed of gemma-2b", 15 * second, 40 * second, f.speedOf("gemma-2b", "4096,16384", 3)},
		{"speed of smollm2-135m", 15 * second, 40 * second, f.speedOf("smollm2-135m", "4096,16384", 3)},
		{
			"decoding without graphs", 10 * second, 20 * second,
			f.childWith(single, "speed", "-shape", "smollm2-135m", "-tokens", "4096", "-rounds", "1"),
		},
		{"memcheck", 20 * second, 60 * second, sanitizer("memcheck")},
		{"racecheck", 20 * second, 60 * second, sanitizer("racecheck")},
		{"speed of 7b at 64k", 40 * second, 120 * second, f.speedOf("7b", "65536", 1)},
		{"counters", 20 * second, 60 * second, f.readCounters},
	}
}

// speedOfTriton measures the shape 7b once more with the kernels that Triton has compiled.
func (f *first) speedOfTriton(ctx context.Context) error {
	if c := f.Card.Capability; !cuda.HasTriton(c) {
		return fmt.Errorf("%w: there are none for compute capability %d.%d", errLeftOut, c[0], c[1])
	}
	on := []string{tritonSetting + "=on"}
	return f.childWith(on, "speed", "-shape", "7b", "-tokens", "4096,16384")(ctx)
}

func (f *first) readCounters(ctx context.Context) (err error) {
	f.Counters, err = readCounters(ctx, f.self, f.quick)
	return err
}

// speedOf returns a step that measures a shape, without a dump. With tiny sizes there is
// only one shape, which the step of 7b has measured.
func (f *first) speedOf(shape, tokens string, rounds int) func(context.Context) error {
	if f.quick {
		return func(context.Context) error { return fmt.Errorf("%w: tiny sizes", errLeftOut) }
	}
	return f.child("speed", "-shape", shape, "-tokens", tokens, "-rounds", fmt.Sprint(rounds), "-capture", "0")
}

// step runs a step and keeps its outcome.
func (f *first) step(s firstStep) {
	out := judge.Step{Name: s.name, Outcome: judge.Done}
	left := time.Until(f.ends)
	if left < s.least {
		out.Outcome = judge.LeftOut
		out.Why = fmt.Sprintf("%.0f s are left", left.Seconds())
	} else {
		most := min(left, s.most)
		say("%s, at most %.0f s", s.name, most.Seconds())
		ctx, stop := context.WithTimeout(context.Background(), most)
		start := time.Now()
		err := s.run(ctx)
		stop()
		out.Seconds = time.Since(start).Seconds()
		out.Why = strings.Join(f.said, "; ")
		f.said = nil
		switch {
		case errors.Is(err, errLeftOut):
			out.Outcome = judge.LeftOut
			out.Why = strings.TrimPrefix(err.Error(), errLeftOut.Error()+": ")
		case err != nil:
			out.Outcome = judge.Failed
			out.Why = err.Error()
		}
	}
	if out.Outcome != judge.Done {
		say("%s: %s: %s", s.name, out.Outcome, out.Why)
	}
	f.Steps = append(f.Steps, out)
}

// child returns a step that runs another mode of this program.
func (f *first) child(mode string, args ...string) func(context.Context) error {
	return f.childWith(nil, mode, args...)
}

// childWith is child with additional variables in its environment.
func (f *first) childWith(env []string, mode string, args ...string) func(context.Context) error {
	return func(ctx context.Context) error {
		at, _ := ctx.Deadline()
		out := filepath.Join(f.temp, mode+".json")
		_ = os.Remove(out)
		// The child ends by itself a little earlier, so that its results are not lost.
		limit := max(time.Until(at)-3*time.Second, time.Second)
		all := append([]string{mode, "-o", out, "-dir", f.dir, "-limit", limit.String()}, args...)
		if f.quick {
			all = append(all, "-quick", "-rounds", "1", "-tokens", "64")
		}
		cmd := exec.CommandContext(ctx, f.self, all...)
		cmd.Env = append(os.Environ(), env...)
		cmd.WaitDelay = 3 * time.Second
		var said strings.Builder
		cmd.Stderr = &said
		err := cmd.Run()
		var r report
		text, readErr := os.ReadFile(out)
		if readErr == nil {
			readErr = json.Unmarshal(text, &r)
		}
		f.take(&r)
		if mode == "start" && env == nil {
			f.Image = r.Image
			f.Cublas = r.Cublas
		}
		switch {
		case err == nil:
			return readErr
		case ctx.Err() != nil:
			return errors.New("it took too long and was ended")
		case mode == "torch":
			return fmt.Errorf("%w: %s", errLeftOut, failure(said.String()))
		}
		return errors.New(failure(said.String()))
	}
}

// take keeps what a child has found.
func (f *first) take(r *report) {
	f.Tests = append(f.Tests, r.Tests...)
	f.Models = append(f.Models, r.Models...)
	f.Values = append(f.Values, r.Values...)
	f.Kernels = append(f.Kernels, r.Kernels...)
	f.said = r.Notes
}

// failure returns why a child has failed: its last message or, if others follow that one,
// the first of these, which names the reason of a crash.
func failure(text string) string {
	why := "it ended without a message"
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		message, ours := strings.CutPrefix(line, "bench: ")
		if !ours && line != "" {
			return line
		}
		if ours {
			why = message
		}
	}
	return why
}

// page returns the name of the page.
func (f *first) page() string { return strings.TrimSuffix(f.out, filepath.Ext(f.out)) + ".md" }

func (f *first) write() error {
	if err := writeJSON(f.out, &f.Findings); err != nil {
		return err
	}
	var page strings.Builder
	if err := f.WritePage(&page); err != nil {
		return err
	}
	return os.WriteFile(f.page(), []byte(page.String()), 0o644)
}

// end prints the summary. It returns an error if a step failed.
func (f *first) end() error {
	words := map[judge.Word]int{}
	for _, v := range f.Sentences {
		words[v.Word]++
	}
	compared := map[string]int{}
	for _, c := range f.Predictions {
		compared[c.Word]++
	}
	say("sentences of docs/CUDA.md: %d true, %d false, %d open",
		words[judge.True], words[judge.False], words[judge.Open])
	say("predictions: %d as predicted, %d better, %d worse, %d not measured",
		compared["as predicted"], compared["better"], compared["worse"], compared["not measured"])
	say("%s and %s after %.0f s", f.page(), f.out, f.Seconds)
	var failed []string
	for _, s := range f.Steps {
		if s.Outcome == judge.Failed {
			failed = append(failed, s.Name)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("failed: %s", strings.Join(failed, ", "))
	}
	return nil
}
