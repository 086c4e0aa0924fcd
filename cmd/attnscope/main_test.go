package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// call runs a command line in this process.
func call(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), args, strings.NewReader(""), &out, &errs)
	return code, out.String(), errs.String()
}

// must runs a command line that has to succeed.
func must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := call(t, args...)
	if code != 0 {
		t.Fatalf("attnscope %s: exit %d: %s", strings.Join(args, " "), code, errs)
	}
	return out
}

// fixture is a small model with a prompt, and what transformers computes of it.
type fixture struct {
	t   *testing.T
	dir string
	f   *checkpoint.File
}

// twin is a fixture in the repository, for clones without the shared test data.
const twin = "../../engine/model/testdata/qwen3"

// openFixture opens a fixture of the shared test data, or the twin. Without the
// shared data the twin takes the place of llama; other fixtures skip the test.
func openFixture(t *testing.T, name string) fixture {
	t.Helper()
	if name == "twin" || name == "llama" && !sharedtest.Has("fixtures/models/llama") {
		return openFolder(t, twin)
	}
	return openShared(t, name)
}

// openShared opens a model that is not in the repository, for tests that rely on its
// layers, its heads or the size of its weights. Without it, the test is skipped.
func openShared(t *testing.T, name string) fixture {
	t.Helper()
	return openFolder(t, sharedtest.Dir(t, "fixtures/models/"+name))
}

func openFolder(t *testing.T, dir string) fixture {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	f, err := checkpoint.ReadSafetensors(filepath.Join(dir, "expected.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return fixture{t, dir, f}
}

func (f fixture) ints(name string) []int32 {
	x, _ := f.f.Tensor(name)
	v, err := x.Int32()
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

// tokens returns the first n tokens of the prompt, which begins again after its end.
func (f fixture) tokens(n int) []int32 {
	ids := f.ints("input_ids")
	for len(ids) < n {
		ids = append(slices.Clone(ids), ids...)
	}
	return ids[:n]
}

// shape returns the layers and query heads of the model.
func (f fixture) shape() (layers, heads int) {
	f.t.Helper()
	text, err := os.ReadFile(filepath.Join(f.dir, "config.json"))
	if err != nil {
		f.t.Fatal(err)
	}
	var config struct {
		Layers int `json:"num_hidden_layers"`
		Heads  int `json:"num_attention_heads"`
	}
	if err := json.Unmarshal(text, &config); err != nil {
		f.t.Fatal(err)
	}
	return config.Layers, config.Heads
}

// longPrompt is the length of the shared fixtures' prompts, in tokens.
const longPrompt = 168

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func jsonOf(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

// TestCaptureExportAgainstTransformers goes the way of a user: capture on
// input_ids, export, compare with the reference.
func TestCaptureExportAgainstTransformers(t *testing.T) {
	for _, name := range []string{"llama", "mistral", "twin"} {
		for _, store := range []string{"rows", "factors"} {
			for _, follow := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/follow=%v", name, store, follow), func(t *testing.T) {
					f := openFixture(t, name)
					reply := len(f.ints("gen_ids"))
					dir := t.TempDir()
					record := map[string]any{"id": "x", "input_ids": f.ints("input_ids")}
					if follow {
						record["response_ids"] = f.ints("gen_ids")
					}
					p := write(t, "p.jsonl", jsonOf(record))
					dump, out := filepath.Join(dir, "x.attn"), filepath.Join(dir, "x.safetensors")
					must(t, "capture", "-p", p, "-m", f.dir, "--store", store, "--precision", "exact", "--logits", "--ignore-eos", "--max-new-tokens", fmt.Sprint(reply), "-o", dump, "--prompt-windows", "3x16")
					must(t, "verify", dump)
					must(t, "export", dump, "-o", out)
					checkExport(t, f, out)
				})
			}
		}
	}
}

func checkExport(t *testing.T, f fixture, path string) {
	e, err := checkpoint.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	got := func(name string) ([]float32, []int) {
		x, ok := e.Tensor(name)
		if !ok {
			t.Fatalf("no %s in the export: %v", name, e.Names())
		}
		v, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		return v, x.Shape
	}
	// want returns a tensor of transformers, and the rounding of its dtype.
	want := func(name string) (v []float32, relative float64) {
		x, ok := f.f.Tensor(name)
		if !ok {
			return nil, 0
		}
		v, err := x.Float32()
		if err != nil {
			t.Fatal(err)
		}
		if x.DType == tensor.F16 {
			return v, 5e-4
		}
		return v, 0
	}
	ids, reply := f.ints("input_ids"), f.ints("gen_ids")
	tokens, _ := e.Tensor("tokens")
	if v, _ := tokens.Int32(); !slices.Equal(v, append(slices.Clone(ids), reply...)) {
		t.Errorf("tokens %v", v)
	}
	near := func(what string, got, want []float32, absolute, relative float64) {
		t.Helper()
		if len(got) != len(want) {
			t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
		}
		for i := range want {
			if math.Abs(float64(got[i])-float64(want[i])) > absolute+relative*math.Abs(float64(want[i])) {
				t.Fatalf("%s: element %d is %g, want %g", what, i, got[i], want[i])
			}
		}
	}
	logits, _ := got("logits")
	wantLogits, _ := want("gen_logits")
	near("logits", logits, wantLogits, 1e-4*10, 1e-4)
	colsum, _ := want("attn_colsum")
	layers, _ := f.shape()
	compared := 0
	for layer := range layers {
		tri, relative := want(fmt.Sprintf("attn_tri.%d", layer))
		if tri == nil {
			continue
		}
		compared++
		gen, _ := got(fmt.Sprintf("generation_rows.%d", layer))
		wantGen, rounding := want(fmt.Sprintf("gen_attn.%d", layer))
		near("generation_rows", gen, wantGen, 1e-5, rounding)
		rows, shape := got(fmt.Sprintf("prompt_rows.%d", layer))
		n := len(ids)
		windows, wshape := got(fmt.Sprintf("prompt_windows.%d", layer))
		sums, _ := got(fmt.Sprintf("prompt_sums.%d", layer))
		if !slices.Equal(wshape[1:], []int{3, n}) {
			t.Fatalf("prompt_windows has shape %v", wshape)
		}
		for h := range shape[0] {
			last := make([]float64, n)
			for i := range n {
				row := tri[h*n*(n+1)/2+i*(i+1)/2:][:i+1]
				if i >= n-shape[1] {
					at := (h*shape[1] + i - (n - shape[1])) * n
					near("prompt_rows", rows[at:at+i+1], row, 1e-5, relative)
				}
				if i >= n-16 {
					for j, v := range row {
						last[j] += float64(v)
					}
				}
			}
			for j, v := range last {
				if math.Abs(v-float64(windows[(h*3+2)*n+j])) > 1e-4+relative*v {
					t.Fatalf("layer %d, head %d: last window, key %d: %g, want %g", layer, h, j, windows[(h*3+2)*n+j], v)
				}
			}
			if colsum != nil {
				at := (layer*shape[0] + h) * n
				near("prompt_sums", sums[h*n:(h+1)*n], colsum[at:at+n], 1e-3, 1e-5)
			}
		}
	}
	if compared != 2 {
		t.Errorf("%d layers were compared, want 2", compared)
	}
}

// TestHitRateGoldens compares the table with counts made by PyTorch.
func TestHitRateGoldens(t *testing.T) {
	for _, name := range []string{"llama", "mistral"} {
		f := openFixture(t, name)
		text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t, "fixtures/hitrate"), name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		var g struct {
			Gen      int     `json:"gen"`
			InputIDs []int32 `json:"input_ids"`
			GenIDs   []int32 `json:"gen_ids"`
			Rows     [][]*float64
		}
		if err := json.Unmarshal(text, &g); err != nil {
			t.Fatal(err)
		}
		dump := filepath.Join(t.TempDir(), "x.attn")
		p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": g.InputIDs}))
		must(t, "capture", "-m", f.dir, "-p", p, "-o", dump, "--precision", "exact", "--ignore-eos", "--max-new-tokens", fmt.Sprint(g.Gen))
		seen := map[string]map[string]any{}
		for _, mode := range []string{"rows", "mean"} {
			args := []string{"hitrate", dump, "--by", "layer,head", "--generation", mode, "--format", "jsonl"}
			for _, list := range []struct{ flag, values string }{{"--window", "16 32 64 128"}, {"--top", "0.05 0.1 0.2 0.4"}, {"--theta", "0.01 0.05"}} {
				for _, v := range strings.Fields(list.values) {
					args = append(args, list.flag, v)
				}
			}
			for _, line := range strings.Split(strings.TrimSpace(must(t, args...)), "\n") {
				var row map[string]any
				if err := json.Unmarshal([]byte(line), &row); err != nil {
					t.Fatal(err)
				}
				seen[fmt.Sprint(mode, row["layer"], " ", row["head"], " ", row["window"], " ", row["top"], " ", row["theta"])] = row
			}
		}
		checked := 0
		for _, want := range g.Rows {
			v := func(i int) float64 { return *want[i] }
			key := fmt.Sprint(v(0), " ", v(1), " ", v(2), " ", v(3), " ", v(4))
			row, mean := seen["rows"+key], seen["mean"+key]
			if row == nil || mean == nil {
				continue
			}
			checked++
			for name, pair := range map[string][2]float64{
				"budget": {row["budget"].(float64), v(5)}, "rows": {row["rows"].(float64) - row["skipped"].(float64), v(6)},
				"hits": {row["hits"].(float64), v(7)}, "significant": {row["significant"].(float64), v(8)},
				"mean hits": {mean["hits"].(float64), v(10)}, "mean significant": {mean["significant"].(float64), v(11)},
			} {
				if pair[0] != pair[1] {
					t.Errorf("%s, %s: %s is %g, want %g", f.dir, key, name, pair[0], pair[1])
				}
			}
		}
		if checked < 32 {
			t.Errorf("only %d rows of %d were compared", checked, len(g.Rows))
		}
	}
}

func TestThreadsAndChunksGiveTheSameBytes(t *testing.T) {
	f := openFixture(t, "llama")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
	var tables []string
	for _, threads := range []string{"1", "2", "5"} {
		dump := filepath.Join(t.TempDir(), "x.attn")
		must(t, "capture", "-m", f.dir, "-p", p, "-o", dump, "--threads", threads, "--max-new-tokens", "8", "--ignore-eos")
		tables = append(tables, must(t, "hitrate", dump, "--by", "layer,head,span", "--span", "4"))
	}
	if tables[0] != tables[1] || tables[0] != tables[2] {
		t.Error("the table depends on the number of threads")
	}
}

func TestShardsAndMergeEqualOneRun(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 5 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("p", i), "input_ids": ids[:100+10*i]}))
	}
	p, dir := write(t, "p.jsonl", strings.Join(lines, "\n")), t.TempDir()
	common := []string{"-m", f.dir, "-p", p, "--max-new-tokens", "6", "--ignore-eos"}
	whole := filepath.Join(dir, "whole.attn")
	must(t, append([]string{"capture", "-o", whole}, common...)...)
	var parts []string
	for i := range 2 {
		part := filepath.Join(dir, fmt.Sprint(i, ".attn"))
		must(t, append([]string{"capture", "-o", part, "--shard", fmt.Sprintf("%d/2", i)}, common...)...)
		parts = append(parts, part)
	}
	all := filepath.Join(dir, "all.attn")
	must(t, append([]string{"merge", "-o", all}, parts...)...)
	must(t, "verify", all)
	if a, b := must(t, "hitrate", whole), must(t, "hitrate", all); a[:strings.Index(a, "\n")] != b[:strings.Index(b, "\n")] {
		t.Error("tables differ")
	}
	for _, by := range []string{"layer,prompt", "layer", "prompt,head"} {
		if must(t, "hitrate", whole, "--by", by) != must(t, "hitrate", all, "--by", by) {
			t.Errorf("the merged shards give another table by %s than one run", by)
		}
	}
}

// TestSamePromptInTwoDumps: prompts of two dumps are two, whatever their ids.
func TestSamePromptInTwoDumps(t *testing.T) {
	f := openFixture(t, "llama")
	var dumps []string
	var hits float64
	for i := range 2 {
		p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.tokens(120 + 20*i)}))
		dumps = append(dumps, filepath.Join(t.TempDir(), "x.attn"))
		must(t, "capture", "-m", f.dir, "-p", p, "-o", dumps[i], "--max-new-tokens", "8", "--ignore-eos")
		var row struct {
			Rate float64 `json:"hit_rate"`
		}
		if err := json.Unmarshal([]byte(must(t, "hitrate", dumps[i], "--by", "none", "--format", "jsonl")), &row); err != nil {
			t.Fatal(err)
		}
		hits += row.Rate / 2
	}
	for _, verb := range []string{"hitrate", "snapkv"} {
		var row struct {
			Prompts int
			Rate    float64 `json:"hit_rate"`
		}
		args := append([]string{verb, "--by", "none", "--window", "32", "--format", "jsonl"}, dumps...)
		if verb == "snapkv" {
			args = append(args, "--capacity", "48")
		}
		if err := json.Unmarshal([]byte(must(t, args...)), &row); err != nil {
			t.Fatal(err)
		}
		if row.Prompts != 2 || verb == "hitrate" && math.Abs(row.Rate-hits) > 1e-9 {
			t.Errorf("%s: %+v, want 2 prompts and the mean of theirs, %g", verb, row, hits)
		}
	}
}

// TestReplyEndsWithItsEndToken: an end-of-sequence token is the reply's last and
// has a row; generation_config.json names it before config.json does.
func TestReplyEndsWithItsEndToken(t *testing.T) {
	f := openFixture(t, "llama")
	gen := f.ints("gen_ids")
	end := gen[4]
	for name, c := range map[string][2]any{"config": {end, nil}, "generation_config": {int32(2), end}, "list": {int32(2), []int32{5, end}}} {
		dir := t.TempDir()
		text, err := os.ReadFile(filepath.Join(f.dir, "config.json"))
		if err != nil {
			t.Fatal(err)
		}
		var config map[string]any
		if err := json.Unmarshal(text, &config); err != nil {
			t.Fatal(err)
		}
		config["eos_token_id"] = c[0]
		os.WriteFile(filepath.Join(dir, "config.json"), []byte(jsonOf(config)), 0o644)
		if c[1] != nil {
			os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(jsonOf(map[string]any{"eos_token_id": c[1]})), 0o644)
		}
		if err := os.Symlink(filepath.Join(f.dir, "model.safetensors"), filepath.Join(dir, "model.safetensors")); err != nil {
			t.Fatal(err)
		}
		p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
		out := filepath.Join(t.TempDir(), "x.safetensors")
		dump := filepath.Join(t.TempDir(), "x.attn")
		must(t, "capture", "-m", dir, "-p", p, "-o", dump, "--max-new-tokens", "24", "--logits")
		must(t, "export", dump, "-o", out)
		tokens, _ := int32s(t, out, "tokens")
		want := gen[:1+slices.Index(gen, end)]
		if got := tokens[len(f.ints("input_ids")):]; !slices.Equal(got, want) {
			t.Errorf("%s: reply %v, want %v", name, got, want)
		}
		e, err := checkpoint.ReadSafetensors(out)
		if err != nil {
			t.Fatal(err)
		}
		defer e.Close()
		rows, _ := e.Tensor("generation_rows.1")
		logits, _ := e.Tensor("logits")
		if rows.Shape[1] != len(want) || logits.Shape[0] != len(want) {
			t.Errorf("%s: rows %v and logits %v, want %d", name, rows.Shape, logits.Shape, len(want))
		}
	}
}
