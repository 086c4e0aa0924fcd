//go:build cuda

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/cuda/bench/judge"
)

// TestMain lets the test's own binary be the program that first-card runs for each step.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if _, ok := modes[os.Args[1]]; ok {
			main()
			return
		}
	}
	os.Exit(m.Run())
}

// The answers of tools that this machine does not have.
const (
	ncuSays = `bench: tiny bf16 prefill 64 tokens
==PROF== Connected to process 1
"ID","Process ID","Process Name","Kernel Name","Metric Name","Metric Unit","Metric Value"
"0","1","bench","gemv_bf16","gpu__time_duration.sum","us","12.5"
"0","1","bench","gemv_bf16","dram__throughput.avg.pct_of_peak_sustained_elapsed","%","71.0"
`
	torchSays = `{"version": "2.9", "device": "a card", "results": [
  {"shape": "tiny", "tokens": 64, "what": "flash", "seconds": 1e-6},
  {"shape": "tiny", "tokens": 64, "what": "eager", "failed": "out of memory"}]}
`
	testsSay = `=== RUN   TestSnapKV
--- PASS: TestSnapKV (0.10s)
=== RUN   TestNorms
    kernels_test.go:1: row 3: 1, want 2
--- FAIL: TestNorms (0.20s)
FAIL
`
	sanitizerSays = `========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at gemv_bf16+0x10
========= ERROR SUMMARY: 1 error
`
)

// script writes a program that prints a text and exits with a code.
func script(t *testing.T, path, text string, code string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\ncat <<'END'\n"+text+"END\nexit "+code+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestFirstCard runs all steps on the emulated card, with stand-ins for the test binary
// and for programs that only a machine with a card has.
func TestFirstCard(t *testing.T) {
	if _, why := cuda.Devices(); why != "" {
		t.Skipf("SKIPPED, no card: %s", why)
	}
	dir := t.TempDir()
	const name = "llama-biases"
	if err := os.CopyFS(filepath.Join(dir, "models", name), os.DirFS("../../model/testdata/"+name)); err != nil {
		t.Fatal(err)
	}
	script(t, filepath.Join(dir, "cuda.test"), testsSay, "1")
	script(t, filepath.Join(dir, "ncu"), ncuSays, "0")
	script(t, filepath.Join(dir, "python3"), torchSays, "0")
	script(t, filepath.Join(dir, "compute-sanitizer"), sanitizerSays, "9")
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	out := filepath.Join(dir, "first-card.json")
	err := firstCard(&options{out: out, dir: dir, limit: modes["test"].limit})
	if err == nil || err.Error() != "failed: tests, memcheck, racecheck" {
		t.Errorf("%v, want the names of the steps that fail", err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	var f judge.Findings
	if err := json.Unmarshal(text, &f); err != nil {
		t.Fatal(err)
	}
	want := []judge.Step{
		{Name: "start", Outcome: judge.Done},
		{Name: "start with PTX, without cuBLAS", Outcome: judge.Done, Why: "no cuBLAS: ATTNSCOPE_LIBCUBLAS=none"},
		{Name: "models", Outcome: judge.Done},
		{Name: "tests", Outcome: judge.Failed, Why: "1 tests failed"},
		{Name: "speed of 7b", Outcome: judge.Done},
		{Name: "PyTorch", Outcome: judge.Done},
		{Name: "speed of 7b with Triton's kernels", Outcome: judge.LeftOut, Why: "there are none for compute capability 8.6"},
		{Name: "speed of gemma-2b", Outcome: judge.LeftOut, Why: "tiny sizes"},
		{Name: "speed of smollm2-135m", Outcome: judge.LeftOut, Why: "tiny sizes"},
		{Name: "decoding without graphs", Outcome: judge.Done},
		{Name: "memcheck", Outcome: judge.Failed, Why: "Invalid __global__ read of size 4 bytes; at gemv_bf16+0x10"},
		{Name: "racecheck", Outcome: judge.Failed, Why: "Invalid __global__ read of size 4 bytes; at gemv_bf16+0x10"},
		{Name: "speed of 7b at 64k", Outcome: judge.LeftOut, Why: "tiny sizes"},
		{Name: "counters", Outcome: judge.Done},
	}
	for i, w := range want {
		got := f.Steps[i]
		same := got.Name == w.Name && got.Outcome == w.Outcome && (w.Why == "") == (got.Why == "")
		if !same || !strings.Contains(got.Why, w.Why) {
			t.Errorf("step %d: %+v, want %+v", i, got, w)
		}
	}
	if f.Image != "ptx" || !strings.HasSuffix(f.Cublas, "libcublas_emu.so") { // the emulated driver refuses cubins
		t.Errorf("kernels %s, cuBLAS %s; want those of the first step", f.Image, f.Cublas)
	}
	if len(f.Models) != 1 || !f.Models[0].Same() || f.Models[0].Weights == 0 {
		t.Errorf("models: %+v", f.Models)
	}
	counter := judge.Counter{Kernel: "gemv_bf16", Name: "gpu__time_duration.sum", Unit: "us", Value: "12.5"}
	if len(f.Counters) != 2*len(counted) || f.Counters[0] != counter {
		t.Errorf("counters: %+v", f.Counters)
	}
	for _, m := range []judge.Measure{
		judge.Start, judge.StartPTX, judge.ProductCublas, judge.ProductOwn, judge.ProductTerms, judge.ProductFloat32, judge.ProductQuantized,
		judge.Prefill, judge.Attention, judge.Products,
		judge.Sums, judge.Recording, judge.NoSums, judge.Capture, judge.Decode, judge.DecodeRate, judge.DecodeSingle,
		judge.Memory, judge.TorchFlash,
	} {
		if !slices.ContainsFunc(f.Values, func(v judge.Value) bool { return v.Measure == m && v.Number > 0 }) {
			t.Errorf("%s was not measured", m)
		}
	}
	// 2 layers of 4 heads of 16 channels: 2·4·32·64² operations in each layer and head.
	if at := slices.IndexFunc(f.Values, func(v judge.Value) bool { return v.Measure == judge.TorchFlash }); at >= 0 {
		if got, want := f.Values[at].Number, 4*32*64*64/1e-6/1e12; got < 0.999*want || got > 1.001*want {
			t.Errorf("flash attention at %g TFLOP/s, want %g", got, want)
		}
	}
	launches := map[string]int{}
	for _, k := range f.Kernels {
		if !k.Recording {
			launches[k.Kernel] += k.Launches
		}
	}
	if launches["attention_bf16_64"] != tiny.sizes.Layers || launches["cublasGemmEx"] == 0 {
		t.Errorf("launches: %v, want one of attention_bf16_64 per layer", launches)
	}
	page, err := os.ReadFile(strings.TrimSuffix(out, ".json") + ".md")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"**This card is emulated.", "Tests: 1 passed, 1 failed, 0 skipped.", "row 3: 1, want 2",
	} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestFirstCardWithoutTime: with little time, all that is left out is named.
func TestFirstCardWithoutTime(t *testing.T) {
	if _, why := cuda.Devices(); why != "" {
		t.Skipf("SKIPPED, no card: %s", why)
	}
	out := filepath.Join(t.TempDir(), "first-card.json")
	if err := firstCard(&options{out: out, dir: ".", limit: 1}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), `"outcome": "left out"`); n != 14 {
		t.Errorf("%d steps are left out, want 14", n)
	}
}

func TestFailure(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "it ended without a message",
		"bench: 7b: 3 s\nbench: no room\n": "no room",
		"bench: 7b: 3 s\npanic: a bug\n\ngoroutine 1\nbench.go:3\n": "panic: a bug",
	} {
		if got := failure(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestRunning(t *testing.T) {
	out := "=== RUN   TestA\n=== RUN   TestA/sub\n--- PASS: TestA (0.1s)\n=== RUN   TestB\n=== RUN   TestB/x\n"
	if got := running(out); got != "TestB" {
		t.Errorf("%s, want TestB", got)
	}
}

// TestNoCard: a machine without a driver is told so in one line, and no file is left.
func TestNoCard(t *testing.T) {
	if _, why := cuda.Devices(); why == "" {
		t.Skip("SKIPPED: there is a card")
	}
	out := filepath.Join(t.TempDir(), "first-card.json")
	err := firstCard(&options{out: out, dir: ".", limit: modes["test"].limit})
	if err == nil || !strings.HasPrefix(err.Error(), "no card: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v, want one line that says why there is no card", err)
	}
	if exists(out) {
		t.Error("a file is left")
	}
}
