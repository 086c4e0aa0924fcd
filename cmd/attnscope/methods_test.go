package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/tensor"
)

// captured records a fixture's prompt with everything that methods look at.
func captured(t *testing.T, name string, args ...string) (fixture, string) {
	t.Helper()
	f := openFixture(t, name)
	dump := filepath.Join(t.TempDir(), "x.attn")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.tokens(longPrompt)}))
	must(t, append([]string{"capture", "-m", f.dir, "-p", p, "-o", dump, "--max-new-tokens", "8", "--ignore-eos", "--precision", "exact"}, args...)...)
	return f, dump
}

func int32s(t *testing.T, path, name string) ([]int32, []int) {
	t.Helper()
	f, err := checkpoint.ReadSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	x, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("%s: no %s, only %v", path, name, f.Names())
	}
	v, err := x.Int32()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(v), x.Shape
}

// TestSameSelectionFromDumpAndTensors exports the states of a capture and
// compresses them: the positions are those that --indices names.
func TestSameSelectionFromDumpAndTensors(t *testing.T) {
	_, dump := captured(t, "llama", "--store", "factors", "--values")
	sameSelection(t, dump, longPrompt, "head", "mean", "max")
}

// TestSameSelectionOfLatents: with one latent for all heads, scores have a scale of their
// own, which the export names.
func TestSameSelectionOfLatents(t *testing.T) {
	f := openFolder(t, "../../engine/model/testdata/deepseek_v3")
	dump := filepath.Join(t.TempDir(), "x.attn")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "input_ids": f.ints("input_ids")}))
	must(t, "capture", "-m", f.dir, "-p", p, "-o", dump, "--max-new-tokens", "8", "--ignore-eos", "--precision", "exact", "--store", "factors", "--values")
	sameSelection(t, dump, len(f.ints("input_ids")), "mean", "max")
}

// sameSelection compares the selections of two layers, for some groups.
func sameSelection(t *testing.T, dump string, prompt int, groups ...string) {
	t.Helper()
	dir := t.TempDir()
	for _, group := range groups {
		flags := []string{"--window", "16", "--capacity", "60", "--kernel", "7", "--pooling", "maxpool", "--group", group}
		indices := filepath.Join(dir, group+"-indices.safetensors")
		must(t, append([]string{"snapkv", dump, "--indices", indices}, flags...)...)
		for _, layer := range []string{"0", "1"} {
			export, states, out := filepath.Join(dir, group+layer+"e.safetensors"), filepath.Join(dir, group+layer+"s.safetensors"), filepath.Join(dir, group+layer+"o.safetensors")
			must(t, "export", dump, "--layer", layer, "-o", export)
			e, err := checkpoint.ReadSafetensors(export)
			if err != nil {
				t.Fatal(err)
			}
			var list []tensor.Tensor
			for _, name := range []string{"query_states", "key_states", "value_states"} {
				x, ok := e.Tensor(name)
				if !ok {
					t.Fatalf("no %s in the export", name)
				}
				v, err := x.Float32()
				if err != nil {
					t.Fatal(err)
				}
				if n := x.Shape[1]; name != "query_states" { // without the reply
					var cut []float32
					for h := range x.Shape[0] {
						cut = append(cut, v[h*n*x.Shape[2]:(h*n+prompt)*x.Shape[2]]...)
					}
					v, x.Shape[1] = cut, prompt
				}
				list = append(list, tensor.FromFloat32(name, v, x.Shape...))
			}
			if x, ok := e.Tensor("scale"); ok {
				v, err := x.Float32()
				if err != nil {
					t.Fatal(err)
				}
				list = append(list, tensor.FromFloat32("scale", v, 1))
			}
			e.Close()
			if err := checkpoint.WriteSafetensors(states, list, nil); err != nil {
				t.Fatal(err)
			}
			must(t, append([]string{"snapkv", "--states", states, "-o", out}, flags...)...)
			got, shape := int32s(t, indices, "indices."+layer)
			want, wantShape := int32s(t, out, "indices")
			if !slices.Equal(got, want) || !slices.Equal(shape, wantShape) {
				t.Errorf("group %s, layer %s: %v from the dump, %v from the tensors", group, layer, got, want)
			}
		}
	}
}

// TestIndicesOfRaggedBudgets: adakv's heads keep different numbers of
// positions, the same in all.
func TestIndicesOfRaggedBudgets(t *testing.T) {
	f, dump := captured(t, "llama")
	layers, _ := f.shape()
	out := filepath.Join(t.TempDir(), "i.safetensors")
	must(t, "snapkv", dump, "--method", "adakv", "--window", "16", "--capacity", "40", "--indices", out)
	flat, shape := int32s(t, out, "indices.1")
	counts, _ := int32s(t, out, "counts.1")
	total := 0
	for h, n := range counts {
		total += int(n)
		row := flat[h*shape[1] : (h+1)*shape[1]]
		for i, j := range row {
			if (i < int(n)) != (j >= 0) || i > 0 && i < int(n) && j <= row[i-1] {
				t.Fatalf("head %d keeps %d: %v is not ascending and padded with -1", h, n, row)
			}
		}
	}
	if total != 24*len(counts) {
		t.Errorf("%d positions in all, want %d", total, 24*len(counts))
	}
	must(t, "snapkv", dump, "--method", "pyramidkv", "--window", "16", "--capacity", "40", "--indices", out, "--force")
	// Linear from 2 b - b/20 to b/20, b = 24.
	for layer, want := range map[int][]int32{2: {47, 1}, 4: {47, 32, 16, 1}}[layers] {
		if counts, _ := int32s(t, out, fmt.Sprint("counts.", layer)); counts[0] != want {
			t.Errorf("pyramidkv, layer %d: counts %v, want %d", layer, counts, want)
		}
	}
}

// TestKeptPositionsOfAFile: the positions that --indices writes have with --kept the
// measures of the method that selected them, by query head and by kv head, with even and
// uneven budgets.
func TestKeptPositionsOfAFile(t *testing.T) {
	_, dump := captured(t, "llama")
	for _, method := range []string{"snapkv", "adakv"} {
		for _, group := range []string{"head", "mean"} {
			file := filepath.Join(t.TempDir(), "i.safetensors")
			must(t, "snapkv", dump, "--method", method, "--group", group, "--window", "16", "--capacity", "40", "--indices", file)
			out := must(t, "snapkv", dump, "--kept", file, "--method", method, "--group", group, "--by", "layer,head")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			rows := map[string][]string{} // without the column of the method
			for _, line := range lines[1:] {
				cells := strings.Split(line, "\t")
				at := slices.Index(strings.Split(lines[0], "\t"), "method")
				rows[cells[at]] = append(rows[cells[at]], strings.Join(slices.Delete(cells, at, at+1), "\t"))
			}
			if len(rows["given"]) < 4 || !slices.Equal(rows["given"], rows[method]) {
				t.Errorf("%s, group %s: given\n%s\nwant\n%s",
					method, group, strings.Join(rows["given"], "\n"), strings.Join(rows[method], "\n"))
			}
		}
	}
}

// TestKeptPositionsThatDoNotFit: files of --kept that are of another model or prompt.
func TestKeptPositionsThatDoNotFit(t *testing.T) {
	f, dump := captured(t, "llama")
	layers, _ := f.shape()
	file := filepath.Join(t.TempDir(), "i.safetensors")
	for _, c := range []struct {
		heads, position int
		layers          int
		want            string
	}{
		{3, 0, layers, "positions of 3 heads are given"},
		{2, 100000, layers, "position 100000 is given: want 0 to"},
		{2, -2, layers, "position -2 is given"},
		{2, 0, 1, "no indices.1: it has indices.0"},
	} {
		var list []tensor.Tensor
		for l := range c.layers {
			x := make([]int32, c.heads)
			for i := range x {
				x[i] = int32(c.position)
			}
			list = append(list, tensor.FromInt32(fmt.Sprint("indices.", l), x, c.heads, 1))
		}
		if err := checkpoint.WriteSafetensors(file, list, nil); err != nil {
			t.Fatal(err)
		}
		if code, _, errs := call(t, "snapkv", dump, "--kept", file, "--window", "8"); code != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("exit %d, %s, want %q", code, errs, c.want)
		}
	}
}

// TestGenerateLines reads the JSON lines of generate and its summary.
func TestGenerateLines(t *testing.T) {
	f := openFixture(t, "llama")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "a", "input_ids": f.ints("input_ids")})+"\n"+jsonOf(map[string]any{"id": "b", "input_ids": f.tokens(60)}))
	args := []string{"generate", "-m", f.dir, "-p", p, "--method", "snapkv,random", "--window", "8", "--capacity", "24,4096", "--max-new-tokens", "6", "--ignore-eos"}
	out := must(t, args...)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2*(1+4) {
		t.Fatalf("%d lines, want full and four caches for each of two prompts", len(lines))
	}
	var full struct {
		IDs []int32 `json:"output_ids"`
	}
	for i, line := range lines {
		var r map[string]any
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"id", "method", "capacity", "text", "output_ids", "ppl", "kl", "agreement", "answer_logprob", "answer_rank", "score", "prefill_tok_s", "decode_tok_s", "cache_bytes", "peak_bytes"} {
			if _, ok := r[key]; !ok {
				t.Errorf("line %d has no %s", i+1, key)
			}
		}
		if r["answer_logprob"] != nil || r["score"] != nil {
			t.Errorf("line %d scores an answer that was not given: %s", i+1, line)
		}
		if i%5 == 0 {
			if r["method"] != "full" || r["kl"] != 0.0 {
				t.Errorf("line %d is %s, want the full cache's", i+1, line)
			}
			if err := json.Unmarshal([]byte(line), &full); err != nil {
				t.Fatal(err)
			}
		} else if ids := jsonOf(r["output_ids"]); r["capacity"] == 4096.0 && (ids != jsonOf(full.IDs) || r["kl"] != 0.0) {
			t.Errorf("line %d: a capacity above the prompt changes the reply: %s", i+1, line)
		}
	}
	gen := f.ints("gen_ids")
	if !slices.Equal(gen[:6], firstIDs(t, lines[0])) {
		t.Errorf("the full cache writes %s, transformers %v", lines[0], gen[:6])
	}
	table := must(t, append(args, "--summary", "--format", "tsv")...)
	if rows := strings.Split(strings.TrimSpace(table), "\n"); len(rows) != 6 || !strings.HasPrefix(rows[1], "full\t-1\t") {
		t.Errorf("the summary is %q", table)
	}
}

func firstIDs(t *testing.T, line string) []int32 {
	var r struct {
		IDs []int32 `json:"output_ids"`
	}
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	return r.IDs
}

// TestAdvise: the smallest capacity under the bound, by method and by head; exit
// 1 where none keeps it; no capacity up to the window is tried.
func TestAdvise(t *testing.T) {
	f, dump := captured(t, "llama")
	layers, heads := f.shape()
	type advice struct {
		Method, Evidence string
		Capacity, Budget int
		Predicted        *float64
	}
	read := func(text string) (list []advice) {
		for line := range strings.Lines(text) {
			var a advice
			if err := json.Unmarshal([]byte(line), &a); err != nil {
				t.Fatal(err)
			}
			list = append(list, a)
		}
		return list
	}
	args := []string{"advise", dump, "--method", "snapkv,random", "--window", "64", "--format", "jsonl", "--loss"}
	before := 1 << 20
	for _, loss := range []string{"0.001", "1", "2"} {
		list := read(must(t, append(args, loss)...))
		if len(list) != 2 || list[0].Capacity > before || list[0].Budget != list[0].Capacity-64 || list[0].Evidence == "" {
			t.Errorf("--loss %s: %+v, want snapkv and random, no more than %d", loss, list, before)
		}
		before = list[0].Capacity
	}
	code, out, errs := call(t, "advise", dump, "--method", "random", "--capacity", "80", "--format", "jsonl", "--loss", "1e-9")
	if list := read(out); code != 1 || len(list) != 1 || list[0].Capacity != -1 || list[0].Predicted != nil || !strings.Contains(errs, "no method keeps") {
		t.Errorf("exit %d, %s, %s: want exit 1 and a row without a capacity", code, out, errs)
	}
	if list := read(must(t, append(args, "1", "--by", "head")...)); len(list) != 2*layers*heads {
		t.Errorf("%d rows by head, want %d", len(list), 2*layers*heads)
	}
}

// TestOverviewIsThePooledMap records every row and the picture: the picture's
// cells are the largest weights of the rows, to the ten bits it is kept in.
func TestOverviewIsThePooledMap(t *testing.T) {
	const side = 12
	for _, name := range []string{"llama", "mistral"} {
		t.Run(name, func(t *testing.T) {
			_, dump := captured(t, name, "--overview", "12", "--window-rows", "4096", "--store", "rows")
			out := filepath.Join(t.TempDir(), "x.safetensors")
			must(t, "export", dump, "--layer", "1", "-o", out)
			e, err := checkpoint.ReadSafetensors(out)
			if err != nil {
				t.Fatal(err)
			}
			defer e.Close()
			rows, _ := e.Tensor("prompt_rows")
			w, _ := rows.Float32()
			x, ok := e.Tensor("overview")
			if !ok {
				t.Fatalf("no overview in %v", e.Names())
			}
			got, _ := x.Float32()
			n := longPrompt
			if rows.Shape[1] != n {
				t.Fatalf("%d rows of %d tokens", rows.Shape[1], n)
			}
			want := make([]float32, len(got))
			for i, v := range w {
				head, query, key := i/(n*n), i/n%n, i%n
				at := (head*side+query*side/n)*side + key*side/n
				want[at] = max(want[at], v)
			}
			for i := range want {
				if d := got[i] - want[i]; d > want[i]/1000 || d < -want[i]/1000 {
					t.Fatalf("%s: cell %d is %g, want %g", name, i, got[i], want[i])
				}
			}
			dir := t.TempDir()
			must(t, "heatmap", dump, "-o", dir, "--layers", "1", "--window", "16", "--format", "png")
			if _, err := os.Stat(filepath.Join(dir, "x", "overview-01.png")); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestNoPromptSums leaves the sums over all prompt queries out: all else is there
// and the same, also where prompts share a document, and h2o says what it lacks.
func TestNoPromptSums(t *testing.T) {
	f := openFixture(t, "llama")
	ids := f.tokens(longPrompt)
	var lines []string
	for i := range 2 {
		lines = append(lines, jsonOf(map[string]any{"id": fmt.Sprint("x", i), "input_ids": ids[:len(ids)-i]}))
	}
	p := write(t, "p.jsonl", strings.Join(lines, "\n"))
	run := func(flags ...string) string {
		dump := filepath.Join(t.TempDir(), "x.attn")
		must(t, append([]string{"capture", "-m", f.dir, "-p", p, "-o", dump, "--max-new-tokens", "3", "--ignore-eos", "--prompt-windows", "3x16", "--device", "cpu"}, flags...)...)
		must(t, "verify", dump)
		return dump
	}
	with, without := run(), run("--no-prompt-sums")
	arrays := func(dump string) *checkpoint.File {
		out := filepath.Join(t.TempDir(), "x.safetensors")
		must(t, "export", dump, "--prompt", "x1", "-o", out)
		e, err := checkpoint.ReadSafetensors(out)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { e.Close() })
		return e
	}
	a, b := arrays(with), arrays(without)
	for _, name := range a.Names() {
		x, _ := a.Tensor(name)
		y, ok := b.Tensor(name)
		if sums := strings.HasPrefix(name, "prompt_sums"); sums == ok || !sums && !bytes.Equal(x.Data, y.Data) {
			t.Errorf("%s: there %v, want the others alone, unchanged", name, ok)
		}
	}
	if len(a.Names()) <= len(b.Names()) {
		t.Errorf("%v beside %v", b.Names(), a.Names())
	}
	code, _, errs := call(t, "snapkv", without, "--method", "h2o", "--capacity", "40", "--window", "8")
	if code != 1 || !strings.Contains(errs, "capture without --no-prompt-sums") {
		t.Errorf("h2o: exit %d, %s", code, errs)
	}
	must(t, "snapkv", without, "--method", "all", "--capacity", "40", "--window", "8")
	if code, _, errs := call(t, "merge", with, without, "-o", filepath.Join(t.TempDir(), "m.attn")); code != 1 || !strings.Contains(errs, "no_prompt_sums") {
		t.Errorf("merged: exit %d, %s", code, errs)
	}
}
