package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

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
		if !m.Nested || m.ShareLayers != nil || m.IgnoresCapacity {
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
