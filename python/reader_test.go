// Package python holds the Python package. Its only Go code are tests: the Python reader,
// which was written from FORMAT.md, reads the same numbers as the Go reader, the Python
// writer records the same, what the package returns is what the program prints, and the
// notebooks run.
package python

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// script prints shapes and weights of a layer.
const script = `
import sys
import reader
d = reader.Dump(sys.argv[1])
for w in (d.prompt_rows(0, 1), d.generation_rows(0, 1)):
    print(" ".join(map(str, w.shape)))
    print(" ".join("%.9g" % x for x in w.ravel()))
`

// TestPythonReadsTheSame: both readers agree on the weights of every store and
// precision.
func TestPythonReadsTheSame(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		for _, precision := range dumps.Precisions() {
			path := filepath.Join(t.TempDir(), "x.attn")
			dumpstest.Random(t, path, store, precision, rand.New(rand.NewPCG(1, 2)))
			out, err := exec.Command(interpreter, "-c", script, path).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", store, err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			r, err := dumps.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			for i, ph := range dumps.Phases {
				a, err := r.Weights(0, 1, ph)
				if err != nil {
					t.Fatal(err)
				}
				shape := lines[2*i]
				fields := strings.Fields(lines[2*i+1])
				if len(fields) != len(a.Data) {
					t.Fatalf("%s, %s: Python reads %d weights (%s), Go %d", store, precision, len(fields), shape, len(a.Data))
				}
				for i, f := range fields {
					v, _ := strconv.ParseFloat(f, 64)
					if math.Abs(v-float64(a.Data[i])) > 1e-6 {
						t.Fatalf("%s, %s: weight %d is %g in Python, %g in Go", store, precision, i, v, a.Data[i])
					}
				}
			}
		}
	}
}

// sinksScript prints the rows and shares of the sinks of layer 1, and sums of the shares.
const sinksScript = `
import sys
import reader
d = reader.Dump(sys.argv[1])
total, windows = d.sink_sums(0, 1)
for x in (d.prompt_rows(0, 1), d.generation_rows(0, 1), d.sinks(0, 1), d.sinks(0, 1, reader.DECODE), total, windows):
    print(" ".join("%.9g" % v for v in x.ravel()))
`

// TestPythonReadsSinks: both readers agree on the rows and the shares of a model with
// learned sinks.
func TestPythonReadsSinks(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
		path := filepath.Join(t.TempDir(), "x.attn")
		dumpstest.Shapes(t, path, dumpstest.Kinds()["sinks"], store, dumps.Exact, "p")
		out, err := exec.Command(interpreter, "-c", sinksScript, path).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", store, err, out)
		}
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var want [6][]float32
		for i, ph := range dumps.Phases {
			a, err := r.Weights(0, 1, ph)
			if err != nil {
				t.Fatal(err)
			}
			want[i] = a.Data
			if want[2+i], err = r.Sinks(0, 1, ph); err != nil {
				t.Fatal(err)
			}
		}
		if want[4], want[5], err = r.SinkSums(0, 1); err != nil {
			t.Fatal(err)
		}
		for i, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
			fields := strings.Fields(line)
			if len(fields) != len(want[i]) {
				t.Fatalf("%s: array %d: Python reads %d numbers, Go %d", store, i, len(fields), len(want[i]))
			}
			for j, f := range fields {
				if v, _ := strconv.ParseFloat(f, 64); math.Abs(v-float64(want[i][j])) > 1e-6 {
					t.Fatalf("%s: array %d, number %d is %g in Python, %g in Go", store, i, j, v, want[i][j])
				}
			}
		}
	}
}

// kindsScript prints the arrays of every recorded layer.
const kindsScript = `
import sys
import reader
d = reader.Dump(sys.argv[1])
for l in d.plan["layers"]:
    arrays = [d.prompt_rows(0, l), d.generation_rows(0, l), d.sums(0, l), d.value_states(0, l).transpose(1, 0, 2)]
    if d.prompts[0]["store"] == "factors":
        arrays.append(d.key_states(0, l).transpose(1, 0, 2))
    for x in arrays:
        print(" ".join("%.9g" % v for v in x.ravel()))
`

// TestPythonReadsEveryKindOfLayer: both readers agree on all arrays of models with layers
// of every kind.
func TestPythonReadsEveryKindOfLayer(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	for _, kind := range dumpstest.KindNames() {
		for _, store := range []dumps.Store{dumps.StoreRows, dumps.StoreFactors} {
			path := filepath.Join(t.TempDir(), "x.attn")
			dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], store, dumps.Fine, "p")
			out, err := exec.Command(interpreter, "-c", kindsScript, path).CombinedOutput()
			if err != nil {
				t.Fatalf("%s, %s: %v\n%s", kind, store, err, out)
			}
			lines := strings.Split(strings.TrimSpace(string(out)), "\n")
			want := layerArrays(t, path)
			if len(lines) != len(want) {
				t.Fatalf("%s, %s: %d arrays, want %d", kind, store, len(lines), len(want))
			}
			for i, line := range lines {
				fields := strings.Fields(line)
				if len(fields) != len(want[i]) {
					t.Fatalf("%s, %s: array %d has %d numbers in Python, %d in Go", kind, store, i, len(fields), len(want[i]))
				}
				for j, f := range fields {
					if v, _ := strconv.ParseFloat(f, 64); math.Abs(v-float64(want[i][j])) > 1e-6 {
						t.Fatalf("%s, %s: array %d, number %d is %g in Python, %g in Go", kind, store, i, j, v, want[i][j])
					}
				}
			}
		}
	}
}

// layerArrays reads what kindsScript prints.
func layerArrays(t *testing.T, path string) [][]float32 {
	t.Helper()
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var list [][]float32
	add := func(x []float32, err error) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, x)
	}
	for _, l := range r.Header().Plan.Layers {
		for _, ph := range dumps.Phases {
			a, err := r.Weights(0, l, ph)
			if err != nil {
				t.Fatal(err)
			}
			add(a.Data, nil)
		}
		add(r.Sums(0, l))
		add(r.Values(0, l))
		if r.Prompts()[0].Store == dumps.StoreFactors {
			s, err := r.States(0, l)
			if err != nil {
				t.Fatal(err)
			}
			add(s.Keys, nil)
		}
	}
	return list
}

// badScript prints the error of opening a dump or of reading the rows of a layer.
const badScript = `
import sys
import reader
try:
    reader.Dump(sys.argv[1]).prompt_rows(0, int(sys.argv[2]))
except ValueError as e:
    print(e)
`

// refused checks that the Python reader refuses a layer of a dump with this error.
func refused(t *testing.T, interpreter, path, layer, want string) {
	t.Helper()
	out, err := exec.Command(interpreter, "-c", badScript, path, layer).CombinedOutput()
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s, want %s", err, out, want)
	}
}

// TestPythonRefuses: the Python reader names numbers that are no weights.
func TestPythonRefuses(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	path := filepath.Join(t.TempDir(), "x.attn")
	h := dumpstest.Header(dumps.StoreRows, dumps.Exact)
	h.Plan.Layers = []int{0}
	h.Plan.Heads = []int{2}
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p := dumps.Prompt{ID: "p", PromptTokens: 2, WindowRows: 2, Tokens: make([]int32, 2)}
	pw, err := w.Begin(p)
	if err != nil {
		t.Fatal(err)
	}
	nan := float32(math.NaN())
	for _, err := range []error{
		pw.Rows(dumps.Rows{Head: 2, Rows: 2, Keys: 2, Weights: []float32{1, 0, nan, 1}}), pw.Finish(p), w.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	refused(t, interpreter, path, "0", "prompt 'p', layer 0, head 2, prompt row 1, key 0: weight nan, want 0 to 1")
}

// TestPythonRefusesOtherLayersAndDamage: a layer that was not recorded is no array of zeros,
// and records that are damaged or missing are errors.
func TestPythonRefusesOtherLayersAndDamage(t *testing.T) {
	interpreter := python(t, "numpy, zstandard")
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Random(t, path, dumps.StoreRows, dumps.Fine, rand.New(rand.NewPCG(1, 2)))
	refused(t, interpreter, path, "7", "layer 7 was not recorded; these were: [0, 1]")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	records := bytes.Split(data, []byte("\x5a\x2a\x4d\x18\x40\x00\x00\x00ATN1"))
	at := len(bytes.Join(records[:3], nil)) + 2*12 // where the third record begins
	size := len(records[3]) + 12
	for want, damaged := range map[string][]byte{
		fmt.Sprintf("byte %d does not begin a record", at): slices.Concat(data[:at], []byte("nothing"), data[at+7:]),
		"lacks blocks or has too many":                     slices.Concat(data[:at], data[at+size:]),
	} {
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		refused(t, interpreter, path, "0", want)
	}
}

// runNotebook executes the code cells of a notebook in one process.
const runNotebook = `
import json, sys
space = {}
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]), space)
print("hits", space["hits"], "significant", space["significant"])
`

// TestFirstLookRuns executes the notebook that does not run the program.
func TestFirstLookRuns(t *testing.T) {
	interpreter := python(t, "numpy, zstandard, pandas")
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Random(t, path, "factors", "fine", rand.New(rand.NewPCG(1, 2)))
	cmd := exec.Command(interpreter, "-c", runNotebook, "../notebooks/first_look.ipynb")
	cmd.Env = append(cmd.Environ(), "ATTNSCOPE_DUMP="+path, "MPLBACKEND=Agg")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "hits ") {
		t.Fatalf("%v\n%s", err, out)
	}
}
