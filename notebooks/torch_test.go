package notebooks

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/sharedtest"
)

// program builds attnscope.
func program(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "attnscope")
	if out, err := exec.Command("go", "build", "-o", path, "../cmd/attnscope").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

const recordScript = `
import sys
sys.dont_write_bytecode = True
import torch, transformers, attnscope_torch
transformers.logging.set_verbosity_error()
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with attnscope_torch.Recorder(model, sys.argv[2], window_rows=16, prompt_windows=3, prompt_window_size=8, chunk=13) as r:
    for n in (60, 75):
        r.record([(7 * i + n) % model.config.vocab_size for i in range(n)], id=str(n), max_new_tokens=12)
`

// TestTorchRecordsTheSame: a dump that attnscope_torch writes passes verify, and its
// weights, sums and hit rates are those of a capture by attnscope. ATTNSCOPE_PYTHON
// names a Python with torch and transformers. Models of the repository run on any
// clone, the others need the shared test data.
func TestTorchRecordsTheSame(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	py := python(t, "torch, transformers, zstandard")
	attnscope := program(t)
	for _, name := range []string{"qwen3", "granite-biases"} {
		t.Run(name, func(t *testing.T) {
			compareRecordings(t, py, attnscope, "../engine/model/testdata/"+name)
		})
	}
	for _, name := range []string{"llama", "mistral", "gemma2", "phi3", "qwen2"} {
		t.Run(name, func(t *testing.T) {
			compareRecordings(t, py, attnscope, sharedtest.Dir(t, "fixtures/models/"+name))
		})
	}
	for _, name := range []string{"mistral", "phi3"} { // the prompts are longer than these windows
		t.Run(name+"-window-24", func(t *testing.T) {
			compareRecordings(t, py, attnscope, sliding(t, sharedtest.Dir(t, "fixtures/models/"+name), 24))
		})
	}
}

// compareRecordings records with attnscope_torch and with attnscope, and compares.
func compareRecordings(t *testing.T, py, attnscope, model string) {
	t.Helper()
	dir := t.TempDir()
	theirs := filepath.Join(dir, "torch.attn")
	run(t, py, "-c", recordScript, model, theirs)
	run(t, attnscope, "verify", theirs)
	a, err := dumps.Open(theirs)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	// The capture follows the reply of the other: greedy tokens of random models may
	// differ by rounding.
	var lines strings.Builder
	for _, p := range a.Prompts() {
		fmt.Fprintf(&lines, `{"id":%q,"input_ids":%s,"response_ids":%s}`+"\n",
			p.ID, list(p.Tokens[:p.PromptTokens]), list(p.Tokens[p.PromptTokens:]))
	}
	prompts := filepath.Join(dir, "p.jsonl")
	if err := os.WriteFile(prompts, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	ours := filepath.Join(dir, "ours.attn")
	run(t, attnscope, "capture", "-m", model, "-p", prompts, "-o", ours,
		"--store", "rows", "--precision", "exact", "--window-rows", "16", "--prompt-windows", "3x8")
	b, err := dumps.Open(ours)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	same(t, a, b)
	tables(t, theirs, ours)
}

// run runs a program; if it fails, the test ends with its output.
func run(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// sliding returns a copy of a model whose configuration has a sliding window.
func sliding(t *testing.T, model string, window int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), fmt.Sprintf("%s-window-%d", filepath.Base(model), window))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(model)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		data, err := os.ReadFile(filepath.Join(model, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if f.Name() == "config.json" {
			var config map[string]any
			if err := json.Unmarshal(data, &config); err != nil {
				t.Fatal(err)
			}
			config["sliding_window"] = window
			if data, err = json.Marshal(config); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, f.Name()), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// list returns token ids as a JSON list.
func list(ids []int32) string { return strings.ReplaceAll(fmt.Sprint(ids), " ", ",") }

// same compares all arrays of two dumps of the same prompts.
func same(t *testing.T, a, b *dumps.Reader) {
	t.Helper()
	near := func(what string, x, y []float32, scale float64) {
		t.Helper()
		if len(x) != len(y) || len(x) == 0 {
			t.Fatalf("%s: %d and %d numbers", what, len(x), len(y))
		}
		for i := range x {
			if math.Abs(float64(x[i]-y[i])) > 1e-5*scale {
				t.Fatalf("%s: number %d is %g and %g", what, i, x[i], y[i])
			}
		}
	}
	have := a.Header().Model.LayerWindows
	want := b.Header().Model.LayerWindows
	if len(want) > 0 && !slices.Equal(have, want) {
		t.Errorf("windows %v, want %v", have, want)
	}
	for p := range b.Prompts() {
		for _, layer := range b.Header().Plan.Layers {
			for _, ph := range dumps.Phases {
				x, err := a.Weights(p, layer, ph)
				if err != nil {
					t.Fatal(err)
				}
				y, err := b.Weights(p, layer, ph)
				if err != nil {
					t.Fatal(err)
				}
				near(fmt.Sprintf("prompt %d, layer %d, %s rows", p, layer, ph), x.Data, y.Data, 1)
			}
			x, err := a.Sums(p, layer)
			if err != nil {
				t.Fatal(err)
			}
			y, err := b.Sums(p, layer)
			if err != nil {
				t.Fatal(err)
			}
			near("sums", x, y, float64(b.Prompts()[p].PromptTokens))
			if x, _, err = a.Windows(p, layer); err != nil {
				t.Fatal(err)
			}
			if y, _, err = b.Windows(p, layer); err != nil {
				t.Fatal(err)
			}
			near("windows", x, y, 8)
		}
	}
}

// tables compares the numbers of hit-rate tables.
func tables(t *testing.T, a, b string) {
	t.Helper()
	cfg := analysis.Paper
	cfg.Windows = []int{4, 16}
	cfg.By = []analysis.By{analysis.ByLayer, analysis.ByHead, analysis.ByPrompt}
	cfg.Tops = []float64{0.1}
	x, _, err := analysis.HitRates(t.Context(), []string{a}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	y, _, err := analysis.HitRates(t.Context(), []string{b}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(x) != len(y) || len(x) == 0 {
		t.Fatalf("%d and %d rows", len(x), len(y))
	}
	values := func(r analysis.HitRateRow) []float64 {
		return []float64{r.HitRate, r.Low, r.High, r.Chance, r.Recent, r.SinksRecent, r.Oracle, r.Overlap, r.Mass}
	}
	counts := func(r analysis.HitRateRow) []int {
		return []int{r.Layer, r.Head, r.Window, r.Span, r.Budget, r.Rows, r.Skipped, r.Prompts, r.Significant, r.Hits}
	}
	for i := range x {
		if x[i].Prompt != y[i].Prompt || !slices.Equal(counts(x[i]), counts(y[i])) {
			t.Errorf("row %d: %+v and %+v", i, x[i], y[i])
		}
		v := values(y[i])
		for c, u := range values(x[i]) {
			if math.Abs(u-v[c]) > 1e-5 {
				t.Errorf("row %d: %+v and %+v", i, x[i], y[i])
			}
		}
	}
}
