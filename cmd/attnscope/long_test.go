package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/snapkv"
)

// TestReadmeTable makes README's table again, on the default model.
func TestReadmeTable(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, a minute on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := must(t, "demo", "-o", filepath.Join(t.TempDir(), "demo"))
	rows := 0
	for line := range strings.Lines(guide) {
		if strings.Contains(line, "| counted |") || strings.Contains(line, "| left out |") {
			rows++
			if !strings.Contains(string(readme), line) {
				t.Errorf("README does not have the row %q", line)
			}
		}
	}
	if rows != 6 {
		t.Errorf("%d rows, want 6", rows)
	}
}

// TestMethodsOnSmolLM2 holds on a real capture: methods that rank by one score
// keep supersets as the budget grows, and all of them keep more mass than
// random; none keeps more than its oracle.
func TestMethodsOnSmolLM2(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, two minutes on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	dir := t.TempDir()
	dump := filepath.Join(dir, "x.attn")
	must(t, "capture", "-p", "../../examples/prompts.jsonl", "--store", "factors", "--values", "--window-rows", "32", "--prompt-windows", "0", "--max-new-tokens", "32", "-o", dump)
	if code, _, errs := call(t, "verify", dump); code != 0 {
		t.Fatal(errs)
	}
	text := must(t, "snapkv", dump, "--method", "all", "--window", "32", "--capacity", "128,512", "--by", "none", "--format", "jsonl")
	mass := map[string]map[int]float64{}
	for line := range strings.Lines(text) {
		var r struct {
			Method       string
			Capacity     int
			Mass         float64
			MassOfOracle float64 `json:"mass_of_oracle"`
		}
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if mass[r.Method] == nil {
			mass[r.Method] = map[int]float64{}
		}
		mass[r.Method][r.Capacity] = r.Mass
		if r.MassOfOracle > 1+1e-9 {
			t.Errorf("%s at %d keeps %g of its oracle's mass", r.Method, r.Capacity, r.MassOfOracle)
		}
	}
	for _, m := range snapkv.Methods {
		for _, capacity := range []int{128, 512} {
			v, ok := mass[m.Name][capacity]
			if !ok {
				if m.Name != "headkv" {
					t.Errorf("%s is not in the table", m.Name)
				}
				continue
			}
			if m.Nested && m.Name != "random" && m.Name != "recent" && v <= mass["random"][capacity] {
				t.Errorf("%s keeps %g at capacity %d, random %g", m.Name, v, capacity, mass["random"][capacity])
			}
		}
		if !m.Nested || m.Layers != nil || m.Name == "full" {
			continue
		}
		small, large := filepath.Join(dir, m.Name+"s.safetensors"), filepath.Join(dir, m.Name+"l.safetensors")
		must(t, "snapkv", dump, "--prompt", "bridge/0", "--method", m.Name, "--window", "32", "--capacity", "128", "--indices", small)
		must(t, "snapkv", dump, "--prompt", "bridge/0", "--method", m.Name, "--window", "32", "--capacity", "512", "--indices", large)
		for _, layer := range []string{"0", "13", "29"} {
			a, shape := int32s(t, small, "indices."+layer)
			b, _ := int32s(t, large, "indices."+layer)
			for h := range shape[0] {
				more := b[h*480 : (h+1)*480]
				for _, j := range a[h*96 : (h+1)*96] {
					if !slices.Contains(more, j) {
						t.Fatalf("%s, layer %s, head %d: position %d is dropped by the larger budget", m.Name, layer, h, j)
					}
				}
			}
		}
	}
}

// TestMemoryOfALongPrompt records 8,000 tokens and a reply of 128 in a process of
// its own: it stays under the weights and 1.5 GB, and within a fifth of what
// --dry-run says.
func TestMemoryOfALongPrompt(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, a minute or more on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	text, err := os.ReadFile(filepath.Join(sharedtest.Dir(t, "data/leval"), "qmsum-1.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var longest struct {
		Document     string   `json:"document"`
		Instructions []string `json:"instructions"`
	}
	for line := range strings.Lines(string(text)) {
		r := longest
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		if len(r.Document) > len(longest.Document) {
			longest = r
		}
	}
	dump := filepath.Join(t.TempDir(), "x.attn")
	p := write(t, "p.jsonl", jsonOf(map[string]any{"id": "x", "document": longest.Document, "instructions": longest.Instructions[:1]}))
	args := []string{"capture", "-p", p, "--max-prompt-tokens", "8000", "--truncate", "middle", "--ignore-eos", "-o", dump}
	var predicted, weights float64
	var units [2]string
	memory := must(t, append(args, "--dry-run")...)
	if _, err := fmt.Sscanf(memory[strings.Index(memory, "memory"):], "memory %g %3s: weights %g %3s", &predicted, &units[0], &weights, &units[1]); err != nil {
		t.Fatalf("%v in %q", err, memory)
	}
	bytes := map[string]float64{"MiB": 1 << 20, "GiB": 1 << 30}
	predicted, weights = predicted*bytes[units[0]], weights*bytes[units[1]]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "ATTNSCOPE_TEST_MAIN=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	peak := 1024 * float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	t.Logf("peak %.3f GB, weights %.3f GB, --dry-run says %.3f GB", peak/1e9, weights/1e9, predicted/1e9)
	if peak > weights+1.5e9 || peak > 1.2*predicted || peak < 0.8*predicted {
		t.Errorf("peak %.0f bytes: want under weights (%.0f) and 1.5 GB, and --dry-run's %.0f within a fifth", peak, weights, predicted)
	}
	must(t, "verify", dump)
}

// TestReproduceGivesTheSameBytes: one and two threads, and a run that is done
// again over its captures, leave the same tables.
func TestReproduceGivesTheSameBytes(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, two minutes on the default model: set ATTNSCOPE_LONG=1 (make test-long)")
	}
	dir := t.TempDir()
	one, two := filepath.Join(dir, "one"), filepath.Join(dir, "two")
	must(t, "reproduce", "generation", "--quick", "--threads", "1", "-o", one)
	must(t, "reproduce", "generation", "--quick", "--threads", "2", "-o", two)
	tables := func(dir string) map[string]string {
		files, err := filepath.Glob(filepath.Join(dir, "generation", "*.[cp][sa][vr]*"))
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]string{}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			m[filepath.Base(f)] = string(text)
		}
		return m
	}
	first := tables(one)
	must(t, "reproduce", "generation", "--quick", "-o", one)
	for _, other := range []map[string]string{tables(two), tables(one)} {
		if len(first) != 10 || len(other) != len(first) {
			t.Fatalf("%d and %d tables, want 10", len(first), len(other))
		}
		for name, text := range first {
			if other[name] != text {
				t.Errorf("%s differs", name)
			}
		}
	}
}
