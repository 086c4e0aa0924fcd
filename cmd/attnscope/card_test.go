//go:build cuda

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cuda"
)

// What a program with the backend says where there is no driver.
const (
	wantNotes = 1
	wantWhy   = "no NVIDIA driver: /nowhere/libcuda.so.1"
)

func needCard(t *testing.T) {
	t.Helper()
	list, why := cuda.Devices()
	if why == "" {
		why = list[0].Why
	}
	if why != "" {
		t.Skipf("SKIPPED, no card: %s (ATTNSCOPE_LIBCUDA names an emulated driver)", why)
	}
}

// onlyEmulated skips what needs injected failures.
func onlyEmulated(t *testing.T) {
	t.Helper()
	needCard(t)
	if !strings.Contains(os.Getenv("ATTNSCOPE_LIBCUDA"), "emu") {
		t.Skip("SKIPPED on a real card: failures are injected by the emulated driver")
	}
}

// TestCaptureOnCardEqualsProcessor compares whole dumps of both devices over
// stores, windows, heads, followed replies and pictures.
func TestCaptureOnCardEqualsProcessor(t *testing.T) {
	needCard(t)
	for _, c := range []struct {
		name, model string
		follow      bool
		flags       string
	}{
		{"rows", "llama", false, "--store rows --prompt-windows 3x16 --logits --window-rows 40"},
		{"rows as halves", "qwen2", true, "--precision fine --store rows --prompt-windows 3x16 --window-rows 40"},
		{"rows as coarse halves", "mistral", false, "--precision coarse --store rows --prompt-windows 3x16 --heads 0,3 --window-rows 40"},
		{"factors", "llama", false, "--store factors --prompt-windows 3x16 --values --window-rows 40"},
		{"followed", "qwen2", true, "--store rows --prompt-windows 5x20 --logits --window-rows 7"},
		{"followed factors", "mistral", true, "--store factors --prompt-windows 2x64 --window-rows 16 --logits"},
		{"some layers and heads", "gemma2", false, "--store rows --layers 1,3 --heads 0,2-3 --prompt-windows 4x8 --window-rows 33"},
		{"some heads' factors", "llama", true, "--store factors --layers 0,2 --heads 1,6 --prompt-windows 4x8 --window-rows 33"},
		{"picture", "phi3", false, "--store rows --overview 16 --prompt-windows 0 --window-rows 5"},
		{"picture larger than the prompt", "llama", false, "--store rows --overview 300 --heads 1,4 --prompt-windows 1x8"},
		{"windows without sums", "gemma2", false, "--store rows --no-prompt-sums --prompt-windows 3x16 --window-rows 9"},
		{"windows without sums that reach back", "llama", true, "--no-prompt-sums --prompt-windows 2x70 --window-rows 9 --heads 1,3"},
		{"neither", "llama", false, "--store rows --no-prompt-sums --prompt-windows 0 --window-rows 20"},
		{"no rows", "phi3", false, "--window-rows 0 --max-new-tokens 0 --prompt-windows 6x16"},
	} {
		if testing.Short() && !strings.HasPrefix(c.name, "rows") && c.name != "some heads' factors" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			f, dir := openShared(t, c.model), t.TempDir()
			ids := f.ints("input_ids")
			record := func(id string, ids []int32) string {
				r := map[string]any{"id": id, "input_ids": ids}
				if c.follow {
					r["response_ids"] = f.ints("gen_ids")
				}
				return jsonOf(r)
			}
			p := write(t, "p.jsonl", record("long", ids)+"\n"+record("short", ids[:11])+"\n"+record("one", ids[:1]))
			bound := 1e-5
			run := func(device string) string {
				out := filepath.Join(dir, device+".attn")
				args := []string{"capture", "-m", f.dir, "-p", p, "-o", out, "--device", device, "--ignore-eos"}
				if !strings.Contains(c.flags, "--precision") {
					args = append(args, "--precision", "exact")
				} else if bound = 6e-3; strings.Contains(c.flags, "fine") { // a step: the rounding may fall either way
					bound = 1.2e-3
				}
				if !strings.Contains(c.flags, "--max-new-tokens") {
					args = append(args, "--max-new-tokens", "6")
				}
				must(t, append(args, strings.Fields(c.flags)...)...)
				must(t, "verify", out)
				return out
			}
			want, got := run("cpu"), run("cuda")
			compareDumps(t, want, got, bound, 2e-4)
		})
	}
}

// compareDumps compares everything that two dumps hold: weights by an absolute
// bound, all else by one relative to the largest.
func compareDumps(t *testing.T, want, got string, weights, rest float64) {
	t.Helper()
	a, err := dumps.Open(want)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := dumps.Open(got)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if len(a.Prompts()) != len(b.Prompts()) {
		t.Fatalf("%d prompts, want %d", len(b.Prompts()), len(a.Prompts()))
	}
	near := func(what string, want, got []float32, bound float64) {
		t.Helper()
		if len(want) != len(got) {
			t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
		}
		for i := range want {
			if d := math.Abs(float64(want[i]) - float64(got[i])); !(d <= bound) {
				t.Fatalf("%s: element %d is %g, want %g (%g apart, bound %g)", what, i, got[i], want[i], d, bound)
			}
		}
	}
	top := func(x []float32) float64 {
		m := 1e-30
		for _, v := range x {
			m = max(m, math.Abs(float64(v)))
		}
		return m
	}
	for i, p := range a.Prompts() {
		q := b.Prompts()[i]
		if !slices.Equal(p.Tokens, q.Tokens) || p.Store != q.Store || p.ReplyTokens != q.ReplyTokens {
			t.Fatalf("prompt %s: tokens or store differ: %v, want %v", p.ID, q.Tokens, p.Tokens)
		}
		x, err := a.Logits(i)
		y, err2 := b.Logits(i)
		if (err == nil) != (err2 == nil) {
			t.Fatalf("logits: %v, want %v", err2, err)
		}
		near("logits", x, y, rest*top(x))
		for _, l := range a.Header().Plan.Layers {
			what := fmt.Sprintf("prompt %s, layer %d: ", p.ID, l)
			for _, phase := range []dumps.Phase{dumps.Prefill, dumps.Decode} {
				x, err := a.Weights(i, l, phase)
				y, err2 := b.Weights(i, l, phase)
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				near(what+"weights", x.Data, y.Data, weights)
			}
			if p.Store == dumps.StoreFactors {
				x, err := a.States(i, l)
				y, err2 := b.States(i, l)
				if err != nil || err2 != nil {
					t.Fatal(err, err2)
				}
				near(what+"queries", x.Queries, y.Queries, rest*top(x.Queries))
				near(what+"reply's queries", x.Replies, y.Replies, rest*top(x.Replies))
				near(what+"keys", x.Keys, y.Keys, rest*top(x.Keys))
				near(what+"values", x.Values, y.Values, rest*top(x.Values))
				near(what+"log-sum-exps", x.LSE, y.LSE, 1e-4)
				near(what+"reply's log-sum-exps", x.ReplyLSE, y.ReplyLSE, 1e-4)
			}
			x, err := a.Sums(i, l)
			y, err2 := b.Sums(i, l)
			if errors.Is(err, dumps.ErrAbsent) != a.Header().Plan.NoPromptSums || (err == nil) != (err2 == nil) {
				t.Fatal(err, err2)
			}
			near(what+"sums", x, y, rest*top(x))
			x, nx, err := a.Windows(i, l)
			y, ny, err2 := b.Windows(i, l)
			if (err == nil) != (err2 == nil) || nx != ny {
				t.Fatalf("%swindows: %d (%v), want %d (%v)", what, ny, err2, nx, err)
			}
			near(what+"windows", x, y, rest*top(x))
			x, sx, err := a.Overview(i, l)
			y, sy, err2 := b.Overview(i, l)
			if (err == nil) != (err2 == nil) || sx != sy {
				t.Fatalf("%spicture: side %d (%v), want %d (%v)", what, sy, err2, sx, err)
			}
			near(what+"picture", x, y, 1e-3) // stored as halves
		}
	}
}

// TestGenerateOnCardEqualsProcessor decodes from compressed caches on both
// devices, by query head and by kv head.
func TestGenerateOnCardEqualsProcessor(t *testing.T) {
	needCard(t)
	for _, c := range []struct{ model, flags string }{
		{"llama", "--method snapkv,h2o,adakv --capacity 40,100 --window 8"},
		{"gemma2", "--method snapkv,recent --capacity 60 --window 16 --group mean"},
		{"mistral", "--method oracle,pyramidkv --capacity 30 --window 8"},
	} {
		if testing.Short() && c.model != "gemma2" {
			continue
		}
		t.Run(c.model, func(t *testing.T) {
			f := openFixture(t, c.model)
			p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
			type line struct {
				Method        string
				Capacity      int
				OutputIDs     []int32 `json:"output_ids"`
				PPL, KL       float64
				AnswerLogProb float64 `json:"answer_logprob"`
				CacheBytes    int64   `json:"cache_bytes"`
			}
			run := func(device string) (list []line) {
				args := append([]string{"generate", "-m", f.dir, "-p", p, "--max-new-tokens", "12", "--ignore-eos", "--device", device}, strings.Fields(c.flags)...)
				for text := range strings.Lines(must(t, args...)) {
					var l line
					if err := json.Unmarshal([]byte(text), &l); err != nil {
						t.Fatal(err)
					}
					list = append(list, l)
				}
				return list
			}
			want, got := run("cpu"), run("cuda")
			if len(want) != len(got) || len(got) < 3 {
				t.Fatalf("%d lines, want %d", len(got), len(want))
			}
			for i, w := range want {
				g := got[i]
				if g.Method != w.Method || !slices.Equal(g.OutputIDs, w.OutputIDs) || g.CacheBytes != w.CacheBytes ||
					math.Abs(g.PPL-w.PPL) > 1e-4*w.PPL || math.Abs(g.KL-w.KL) > 1e-5+1e-3*w.KL {
					t.Errorf("%+v, want %+v", g, w)
				}
			}
		})
	}
}

// threePrompts are short prompts of a fixture model.
func threePrompts(t *testing.T, f fixture) string {
	ids := f.ints("input_ids")
	var lines []string
	for i := range 3 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:30+7*i]}))
	}
	return write(t, "p.jsonl", strings.Join(lines, "\n"))
}

// TestFailuresOnCard injects failures of the driver: each ends with exit 1, one
// error line that names the call, and a partial dump that the same command
// takes up again.
func TestFailuresOnCard(t *testing.T) {
	onlyEmulated(t)
	f := openShared(t, "llama")
	p := threePrompts(t, f)
	clean := filepath.Join(t.TempDir(), "clean.attn")
	args := func(out string) []string {
		return []string{
			"capture", "-m", f.dir, "-p", p, "-o", out, "--device", "cuda", "--batch", "1",
			"--max-new-tokens", "3", "--ignore-eos", "--prompt-windows", "2x8", "--window-rows", "9",
		}
	}
	must(t, args(clean)...)
	for _, c := range []struct {
		fail    string
		partial bool // a dump has been begun when it happens
		says    string
	}{
		{"cuMemAlloc_v2:3", false, "memory is too small for weights"},
		{"cuMemcpyHtoD_v2:5", false, "cuMemcpyHtoD"},
		{"cuDevicePrimaryCtxRetain:2", false, "cuDevicePrimaryCtxRetain"},
		{"cuModuleLoadDataEx:2:222", false, "cuModuleLoadData: CUDA error"},
		{"cuStreamCreate:1", false, "cuStreamCreate"},
		{"cuMemHostAlloc:1", false, "cuMemHostAlloc"},
		{"cuMemHostAlloc:4", false, "pinned host memory"},
		{"cuLaunchKernel:150", true, "kernel"},
		{"cuMemcpyDtoHAsync_v2:30", true, "cuMemcpyDtoHAsync"},
		{"cuEventRecord:80", true, "cuEventRecord"},
		{"cuGraphLaunch:6", true, "cuGraphLaunch"},
		{"cuStreamSynchronize:6", true, "cuStreamSynchronize"},
	} {
		t.Run(c.fail, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "x.attn")
			code, _, stderr := programWith(t, []string{"ATTNSCOPE_EMU_FAIL=" + c.fail}, args(out)...)
			var errs []string
			for line := range strings.Lines(stderr) {
				if !strings.Contains(line, "tokens/s") && !strings.Contains(line, "hint:") && !strings.HasPrefix(line, "attnscope: capture") {
					errs = append(errs, strings.TrimSpace(line))
				}
			}
			if code != 1 || len(errs) != 1 || !strings.Contains(errs[0], c.says) {
				t.Fatalf("exit %d, errors %q; want 1 and one line that says %q", code, errs, c.says)
			}
			if _, err := os.Stat(out); err == nil {
				t.Error("a failed run left its output file")
			}
			_, err := os.Stat(out + ".partial")
			if c.partial != (err == nil) {
				t.Fatalf("a partial dump: %v, want %v", err == nil, c.partial)
			}
			must(t, append(args(out), "--resume")...)
			if got, want := must(t, "hitrate", out, "--window", "8"), must(t, "hitrate", clean, "--window", "8"); got != want {
				t.Errorf("resumed: %s, want %s", got, want)
			}
		})
	}
}

// TestSmallCard runs on cards with less and less memory: first the chunk is
// halved, then the run is refused with the numbers and the flag to change.
func TestSmallCard(t *testing.T) {
	onlyEmulated(t)
	f := openShared(t, "llama")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
	halved, refused := 0, 0
	for _, memory := range []int{1600 << 10, 1200 << 10, 1100 << 10, 900 << 10, 700 << 10, 400 << 10} {
		out := filepath.Join(t.TempDir(), "x.attn")
		code, _, stderr := programWith(t, []string{fmt.Sprint("ATTNSCOPE_EMU_MEM=", memory)},
			"capture", "-m", f.dir, "-p", p, "-o", out, "--device", "cuda", "--max-new-tokens", "2", "--ignore-eos")
		switch {
		case code == 0 && strings.Contains(stderr, "continuing with"):
			halved++
		case code == 0:
		case code == 1 && strings.Contains(stderr, "memory") && strings.Contains(stderr, "hint: ") && strings.Contains(stderr, "--"):
			refused++
		default:
			t.Errorf("%d bytes: exit %d: %s", memory, code, stderr)
		}
	}
	if halved == 0 || refused == 0 {
		t.Errorf("%d runs went on with a smaller chunk and %d were refused, want both to happen", halved, refused)
	}
}

// TestDryRunTellsCardMemory: the estimate is within a fifth of what a run takes.
func TestDryRunTellsCardMemory(t *testing.T) {
	needCard(t)
	f := openFixture(t, "llama")
	p := threePrompts(t, f)
	out := must(t, "capture", "-m", f.dir, "-p", p, "--dry-run", "--device", "cuda")
	if !strings.Contains(out, "vram") || !strings.Contains(out, "free on cuda:0") {
		t.Errorf("dry run says %s", out)
	}
}

// TestComputeOnCard: 16-bit arithmetic is near float32's, and is not it.
func TestComputeOnCard(t *testing.T) {
	needCard(t)
	if testing.Short() {
		t.Skip("-short")
	}
	f, dir := openShared(t, "llama"), t.TempDir()
	p := threePrompts(t, f)
	run := func(compute string) string {
		out := filepath.Join(dir, compute+".attn")
		code, _, stderr := call(t, "capture", "-m", f.dir, "-p", p, "-o", out, "--device", "cuda", "--compute", compute, "--precision", "exact", "--max-new-tokens", "1", "--ignore-eos")
		if says := strings.Contains(stderr, "compute "+compute+" against f32, last of the first 30 tokens of prompt \"p0\": attention weights differ by up to "); code != 0 || says == (compute == "f32") {
			t.Errorf("compute %s: exit %d, %s", compute, code, stderr)
		}
		return out
	}
	want := run("f32")
	for compute, bound := range map[string]float64{"bf16": 0.06, "f16": 0.01} {
		got := run(compute)
		a, err := dumps.Open(want)
		if err != nil {
			t.Fatal(err)
		}
		b, err := dumps.Open(got)
		if err != nil {
			t.Fatal(err)
		}
		worst := 0.0
		for l := range 4 {
			x, err := a.Weights(0, l, dumps.Prefill)
			y, err2 := b.Weights(0, l, dumps.Prefill)
			if err != nil || err2 != nil {
				t.Fatal(err, err2)
			}
			for i := range x.Data {
				worst = max(worst, math.Abs(float64(x.Data[i]-y.Data[i])))
			}
		}
		if worst > bound || worst == 0 {
			t.Errorf("%s: weights are up to %g off those of f32, want more than 0 and at most %g", compute, worst, bound)
		}
		a.Close()
		b.Close()
	}
}

// TestNoRoomToCompareOnCard: if the card has no room for float32 weights in addition to
// those of a rounded arithmetic, the run says so and continues.
func TestNoRoomToCompareOnCard(t *testing.T) {
	onlyEmulated(t)
	f := openFixture(t, "llama")
	p := threePrompts(t, f)
	said := 0
	for memory := 600 << 10; memory < 1600<<10; memory += 200 << 10 {
		out := filepath.Join(t.TempDir(), "x.attn")
		code, _, stderr := programWith(t, []string{fmt.Sprint("ATTNSCOPE_EMU_MEM=", memory)},
			"capture", "-m", f.dir, "-p", p, "-o", out, "--device", "cuda", "--compute", "f16", "--max-new-tokens", "2", "--ignore-eos")
		if none := strings.Contains(stderr, "compute f16 is not compared with f32: the card has no room for the f32 weights as well: "); none && code == 0 {
			said++
		} else if code != 0 && !strings.Contains(stderr, "hint: ") {
			t.Errorf("%d bytes: exit %d: %s", memory, code, stderr)
		}
	}
	if said == 0 {
		t.Error("no card was too small for the comparison alone")
	}
}
