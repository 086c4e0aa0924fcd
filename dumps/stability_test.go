package dumps_test

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// TestVersion1IsReadForEver reads dumps that were made when version 1 was fixed
// (testdata/v1/make.sh), and compares everything they hold, bit for bit, with what was
// read at that time. Neither the dumps nor want.tsv are ever made again.
func TestVersion1IsReadForEver(t *testing.T) {
	weights := readForEver(t, "testdata/v1", 10)
	exact := weights["rows-exact.attn"]
	for name, limit := range map[string]func(w float64) float64{
		"factors-exact.attn":  func(float64) float64 { return 1e-6 },
		"factors-fine.attn":   func(w float64) float64 { return 1e-4 + 5e-4*w },
		"rows-fine.attn":      func(w float64) float64 { return 1e-4 + 5e-4*w },
		"merged.attn":         func(w float64) float64 { return 1e-4 + 5e-4*w },
		"factors-coarse.attn": func(float64) float64 { return 3e-3 },
		"rows-coarse.attn":    func(float64) float64 { return 3e-3 },
		"torch.attn":          func(float64) float64 { return 2e-6 }, // another program's float32
	} {
		compared := 0
		for what, x := range weights[name] {
			y, ok := exact[what]
			if !ok || name == "torch.attn" && strings.Contains(what, "generation") {
				continue // a layer that is not in both; another reply
			}
			for i := range x {
				if d := math.Abs(float64(x[i]) - float64(y[i])); d > limit(float64(y[i])) {
					t.Fatalf("%s: %s: weight %d is %g, exactly %g", name, what, i, x[i], y[i])
				}
			}
			compared++
		}
		if compared == 0 {
			t.Errorf("%s: nothing to compare with", name)
		}
	}
}

// TestVersion2IsReadForEver is the same for version 2: learned sinks, layers without
// attention, latents, shared caches, and chunks. Both forms of a dump hold the same
// weights.
func TestVersion2IsReadForEver(t *testing.T) {
	weights := readForEver(t, "testdata/v2", 10)
	compared := 0
	for name, rows := range weights {
		model, ok := strings.CutSuffix(name, "-rows.attn")
		if !ok {
			continue
		}
		factors := weights[model+"-factors.attn"]
		if len(rows) == 0 || len(factors) != len(rows) {
			t.Errorf("%s: %d arrays in rows, %d in factors", model, len(rows), len(factors))
		}
		for what, x := range rows {
			for i, w := range x {
				if d := math.Abs(float64(w - factors[what][i])); d > 2*(1e-4+5e-4*float64(w)) { // each is within fine
					t.Fatalf("%s: %s: weight %d is %g in rows, %g in factors", model, what, i, w, factors[what][i])
				}
			}
		}
		compared++
	}
	if compared != 5 {
		t.Errorf("%d models were compared, want 5", compared)
	}
}

// readForEver reads the dumps of a folder and compares what they hold with want.tsv. It
// returns the weights of each.
func readForEver(t *testing.T, folder string, count int) map[string]map[string][]float32 {
	t.Helper()
	files, err := filepath.Glob(folder + "/*.attn")
	if err != nil || len(files) != count {
		t.Fatalf("%s: %d dumps (%v), want %d", folder, len(files), err, count)
	}
	var lines []string
	weights := map[string]map[string][]float32{}
	for _, path := range files {
		name := filepath.Base(path)
		r := open(t, path)
		if ok, err := dumps.Verify(t.Context(), path, nil, func(p dumps.Problem) {
			if name != "unfinished.attn" {
				t.Errorf("%s: %s", name, p)
			}
		}); err != nil || ok == (name == "unfinished.attn") {
			t.Errorf("%s: verify says %v, %v", name, ok, err)
		}
		for _, p := range r.Prompts() {
			lines = append(lines, fmt.Sprintf("%s\t%s\t%d+%d tokens, %d rows, %s, followed %v, %s, %v", name, p.ID, p.PromptTokens, p.ReplyTokens, p.WindowRows, p.Store, p.Followed, p.SHA256[:8], p.Tokens))
		}
		all, err := contents(r)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := addSinks(r, all); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		weights[name] = map[string][]float32{}
		for _, what := range slices.Sorted(maps.Keys(all)) {
			x := all[what]
			if strings.HasSuffix(what, "_rows") {
				weights[name][what] = x
				if r.Prompts()[0].Store == dumps.StoreFactors {
					continue // rebuilt from queries and keys: compared below
				}
			}
			sum := sha256.New()
			_ = binary.Write(sum, binary.LittleEndian, x)
			lines = append(lines, fmt.Sprintf("%s\t%s\t%d values, sha256 %.16x", name, what, len(x), sum.Sum(nil)))
		}
	}
	got := strings.Join(lines, "\n") + "\n"
	if os.Getenv("ATTNSCOPE_FIX_VERSION") == folder { // once
		if err := os.WriteFile(folder+"/want.tsv", []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(folder + "/want.tsv")
	if err != nil {
		t.Fatal(err)
	}
	had := strings.Split(string(want), "\n")
	for i, line := range strings.Split(got, "\n") {
		if i >= len(had) || line != had[i] {
			t.Fatalf("line %d: read %q, it was %q", i+1, line, had[min(i, len(had)-1)])
		}
	}
	if string(want) != got {
		t.Errorf("%d lines are read, there were %d", len(lines), len(had)-1)
	}
	return weights
}

// addSinks adds the shares of learned sinks to the contents of a dump.
func addSinks(r *dumps.Reader, all map[string][]float32) error {
	for i, p := range r.Prompts() {
		for _, layer := range r.Header().Plan.Layers {
			for ph, name := range []string{"prompt_sinks", "generation_sinks"} {
				x, err := r.Sinks(i, layer, dumps.Phase(ph))
				if err != nil {
					return err
				}
				if x != nil {
					all[fmt.Sprintf("%s/%d/%s", p.ID, layer, name)] = x
				}
			}
			total, windows, err := r.SinkSums(i, layer)
			if err != nil {
				return err
			}
			if total != nil {
				all[fmt.Sprintf("%s/%d/sink_sums", p.ID, layer)] = slices.Concat(total, windows)
			}
		}
	}
	return nil
}
