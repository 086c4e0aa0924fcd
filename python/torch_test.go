package python

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

const recordScript = `
import sys
import torch, transformers, attnscope
transformers.logging.set_verbosity_error()
model = transformers.AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
with attnscope.Recorder(model, sys.argv[2], window_rows=16, prompt_windows=3, prompt_window_size=8, chunk=13) as r:
    for n in (60, 75):
        r.record([(7 * i + n) % model.config.vocab_size for i in range(n)], id=str(n), max_new_tokens=12)
`

// TestTorchRecordsTheSame: a dump that attnscope.Recorder writes passes verify, and its
// weights, sums and hit rates are those of a capture by attnscope. ATTNSCOPE_PYTHON
// names a Python with torch and transformers. Models of the repository run on any
// clone, the others need the shared test data.
func TestTorchRecordsTheSame(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	py := python(t, "torch, transformers, zstandard")
	attnscope := program(t)
	for _, name := range []string{"qwen3", "granite-biases", "gpt_oss"} {
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

// refusals lists the kinds of testdata/torch_kinds.py that cannot be recorded, with a part
// of the reason.
var refusals = map[string]string{
	"llama-training":        "call model.eval()",
	"llama4-chunks-factors": `from what follows from queries and keys by section 4 of FORMAT.md: record with store="rows"`,
	"gpt2-upcast":           noInterface,
	"gemma3-bidirectional":  "see later keys",
	"deepseek-v3-values":    "latent vectors of 32 numbers",
	"falcon":                noInterface,
	"bloom":                 noInterface,
	"mamba2":                noInterface,
	"diffllama":             "layer 0 computes attention twice",
	"t5":                    "only decoders are recorded",
}

const noInterface = "without the attention interface of transformers"

// leftOut lists the layers without attention of hybrids.
var leftOut = map[string][]int{
	"lfm2":           {0, 2},
	"qwen3-next":     {0, 1, 2},
	"granite-hybrid": {0, 2},
	"jamba":          {0, 2},
	"bamba":          {0, 2},
	"minimax":        {0, 2},
}

// rounded lists the kinds whose eager attention rounds weights to the dtype of the model,
// with the largest difference. Recorded weights are in float32.
var rounded = map[string]float64{"llama-bfloat16": 0.1, "llama-float16": 0.02}

// TestTorchKinds: the recorded rows and sums of tiny models of many kinds are those that
// the models return for output_attentions, the dumps pass verify, and what a dump cannot
// hold is refused with the reason and leaves no file. A kind may be absent from a version
// of transformers, or not use the attention interface there.
func TestTorchKinds(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	py := python(t, "torch, transformers, zstandard")
	dir := t.TempDir()
	cmd := exec.Command(py, "testdata/torch_kinds.py", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	recorded := 0
	for line := range strings.Lines(string(out)) {
		var k torchKind
		if err := json.Unmarshal([]byte(line), &k); err != nil {
			t.Fatal(err)
		}
		want, refused := refusals[k.Kind]
		switch {
		case k.Outcome == "absent":
			t.Logf("%s: not in this version of transformers", k.Kind)
		case k.Outcome == "unmapped" && !refused:
			t.Logf("%s: recorded, but this version of transformers does not return its maps", k.Kind)
		case k.Outcome == "refused":
			older := strings.Contains(k.Reason, noInterface)
			if !older && (!refused || !strings.Contains(k.Reason, want)) {
				t.Errorf("%s is refused: %s; want %q", k.Kind, k.Reason, want)
			}
			if len(k.Files) > 0 {
				t.Errorf("%s: a refused run left %v", k.Kind, k.Files)
			}
		case refused:
			t.Errorf("%s is recorded, want a refusal: %s", k.Kind, want)
		default:
			recorded++
			if bound := max(1e-5, rounded[k.Kind]); !(k.Difference <= bound) {
				t.Errorf("%s: rows differ by %g from the model's, at most %g is expected", k.Kind, k.Difference, bound)
			}
			if !slices.Equal(k.LeftOut, leftOut[k.Kind]) {
				t.Errorf("%s: layers %v are left out, want %v", k.Kind, k.LeftOut, leftOut[k.Kind])
			}
			verify(t, filepath.Join(dir, k.Kind+".attn"))
		}
	}
	if recorded < 30 {
		t.Errorf("only %d kinds were recorded", recorded)
	}
}

// torchKind is a line of torch_kinds.py.
type torchKind struct {
	Kind       string
	Outcome    string
	Reason     string
	Files      []string
	Difference float64
	LeftOut    []int `json:"left_out"`
}

// compareRecordings records with attnscope.Recorder and with attnscope, and compares.
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
			sameSinks(t, a, b, p, layer)
		}
	}
}

// sameSinks compares the shares of the sinks of a layer, if it has sinks.
func sameSinks(t *testing.T, a, b *dumps.Reader, prompt, layer int) {
	t.Helper()
	var x, y []float32
	for _, r := range []*dumps.Reader{a, b} {
		x, y = y, nil
		for _, ph := range dumps.Phases {
			shares, err := r.Sinks(prompt, layer, ph)
			if err != nil {
				t.Fatal(err)
			}
			y = append(y, shares...)
		}
		all, windows, err := r.SinkSums(prompt, layer)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range slices.Concat(all, windows) {
			y = append(y, v/float32(r.Prompts()[prompt].PromptTokens))
		}
	}
	if !slices.EqualFunc(x, y, func(v, w float32) bool { return math.Abs(float64(v-w)) <= 1e-5 }) {
		t.Fatalf("prompt %d, layer %d: shares of sinks %v and %v", prompt, layer, x, y)
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
