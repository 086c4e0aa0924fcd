package model_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/sharedtest"
	"github.com/attnscope/attnscope/internal/simd"
)

// accuracyCase is a sequence whose rows and logits are compared with float64.
type accuracyCase struct {
	Set   string  `json:"set"` // of the table
	Model string  `json:"model"`
	IDs   []int32 `json:"ids"`
	Rows  int     `json:"rows"` // the last so many positions
	Out   string  `json:"out"`  // written by testdata/reference64.py
}

// accuracy holds the errors of a case: those of the weights of the rows, and those of the
// logits of the last position, relative to the largest one.
type accuracy struct {
	Largest, RMS             float64 // weights
	LargestLogit, RMSOfLogit float64
}

// accuracyCases names the file of the cases for the child of TestTilesAgainstFloat64.
const accuracyCases = "ATTNSCOPE_TEST_ACCURACY"

// TestTilesAgainstFloat64 compares attention and logits by tiles with those of
// transformers in float64, and those by vectors likewise: over the golden models, and
// over pieces of 20 prompts on the default model, whose weights are quantized. The root
// mean square over all cases of a set must not be larger with tiles by more than a
// twentieth: the errors of softmax and norms are common to both. The Go model of the
// tiles takes ten seconds of processor time for a piece of 32 tokens.
func TestTilesAgainstFloat64(t *testing.T) {
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if os.Getenv("ATTNSCOPE_LONG") == "" || python == "" {
		t.Skip("SKIPPED, ten minutes, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	tiles, vectors, tokens := "amx-model", "", 32
	if simd.Path() == "amx" {
		tiles, vectors, tokens = "amx", "avx512", 512
	}
	dir := t.TempDir()
	list := append(goldenCases(t, dir), promptCases(t, dir, tokens)...)
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cases.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	reference := exec.Command(python, "testdata/reference64.py", file)
	reference.Stderr = os.Stderr
	out, err := reference.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
	for i, line := range lines {
		if bytes.Contains(line, []byte(`"error"`)) {
			t.Logf("SKIPPED: %s: %s", list[i].Model, line)
		}
	}
	got := accuraciesOf(t, file, tiles)
	base := accuraciesOf(t, file, vectors)
	if len(got) != len(list) || len(base) != len(list) {
		t.Fatalf("%d and %d results for %d cases", len(got), len(base), len(list))
	}
	for _, set := range []string{"golden models", "prompts"} {
		var sum [2]accuracy
		var logits []float64 // by how much the square of the logits' error is larger with tiles
		n := 0
		for i, c := range list {
			if c.Set != set || got[i].RMS == 0 {
				continue
			}
			n++
			sum[0].add(got[i])
			sum[1].add(base[i])
			logits = append(logits, got[i].RMSOfLogit*got[i].RMSOfLogit-base[i].RMSOfLogit*base[i].RMSOfLogit)
			t.Logf("%-40s tiles %+v, vectors %+v", filepath.Base(filepath.Dir(c.Out))+"/"+filepath.Base(c.Model), got[i], base[i])
		}
		if n < 20 {
			t.Errorf("%s: %d cases", set, n)
		}
		for i := range sum {
			sum[i].RMS = math.Sqrt(sum[i].RMS / float64(n))
			sum[i].RMSOfLogit = math.Sqrt(sum[i].RMSOfLogit / float64(n))
		}
		t.Logf("%s, %d: tiles %+v, vectors %+v", set, n, sum[0], sum[1])
		// The logits of one position have errors that depend on each other, so a difference
		// must be seen in most of the prompts.
		mean, square := 0.0, 0.0
		for _, d := range logits {
			mean += d / float64(n)
			square += d * d / float64(n)
		}
		deviation := math.Sqrt((square - mean*mean) / float64(n-1)) // of the mean
		if sum[0].RMS > 1.05*sum[1].RMS || mean > 2*deviation {
			t.Errorf("%s: tiles are farther from float64 than vectors: %+v, %+v; the squares of logits by %g, standard error %g",
				set, sum[0], sum[1], mean, deviation)
		}
	}
}

// add adds the squares of the mean errors, and keeps the largest ones.
func (a *accuracy) add(b accuracy) {
	a.Largest = max(a.Largest, b.Largest)
	a.LargestLogit = max(a.LargestLogit, b.LargestLogit)
	a.RMS += b.RMS * b.RMS
	a.RMSOfLogit += b.RMSOfLogit * b.RMSOfLogit
}

// goldenCases are the prompts of all golden models.
func goldenCases(t *testing.T, dir string) []accuracyCase {
	var list []accuracyCase
	for _, pattern := range []string{
		"testdata/*", sharedtest.Dir(t, "fixtures/models") + "/*", sharedtest.Dir(t, "fixtures/models-2026") + "/*",
	} {
		found, err := filepath.Glob(pattern + "/expected.safetensors")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range found {
			f, err := checkpoint.ReadSafetensors(path)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			x, _ := f.Tensor("input_ids")
			ids, err := x.Int32()
			if err != nil {
				t.Fatal(err)
			}
			folder, err := filepath.Abs(filepath.Dir(path))
			if err != nil {
				t.Fatal(err)
			}
			if !supported(folder) {
				t.Logf("%s is not supported yet", folder)
				continue
			}
			list = append(list, accuracyCase{
				Set: "golden models", Model: folder, IDs: ids, Rows: min(len(ids), 64),
				Out: filepath.Join(dir, fmt.Sprintf("%d.safetensors", len(list))),
			})
		}
	}
	return list
}

// supported reports whether the model in a folder is of a known family.
func supported(folder string) bool {
	ck, err := checkpoint.Open(folder)
	if err != nil {
		return false
	}
	defer ck.Close()
	_, err = model.ReadConfig(ck)
	return err == nil
}

// promptCases are pieces of n tokens of prompts of L-Eval, from their middle.
func promptCases(t *testing.T, dir string, n int) []accuracyCase {
	path, err := checkpoint.Resolve(context.Background(), checkpoint.DefaultModel, checkpoint.ResolveOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var list []accuracyCase
	for i, p := range levalPrompts(t, path, 20) {
		piece := p.Tokens[len(p.Tokens)/2:]
		piece = piece[:min(n, len(piece))]
		list = append(list, accuracyCase{
			Set: "prompts", Model: path, IDs: piece, Rows: len(piece),
			Out: filepath.Join(dir, fmt.Sprintf("prompt%d.safetensors", i)),
		})
	}
	return list
}

// accuraciesOf runs the cases in a child with a set of kernels, since that is chosen when
// a program starts.
func accuraciesOf(t *testing.T, file, kernels string) []accuracy {
	child := exec.Command(os.Args[0], "-test.run=^TestAccuracyChild$", "-test.count=1", "-test.timeout=3h")
	child.Env = append(os.Environ(), accuracyCases+"="+file, "ATTNSCOPE_CPU="+kernels)
	child.Stderr = os.Stderr
	out, err := child.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var list []accuracy
	lines := bufio.NewScanner(bytes.NewReader(out))
	for lines.Scan() {
		line, ok := strings.CutPrefix(lines.Text(), "accuracy ")
		if !ok {
			continue
		}
		var a accuracy
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatal(err)
		}
		list = append(list, a)
	}
	return list
}

// TestAccuracyChild is the child of TestTilesAgainstFloat64. Cases without a reference
// have errors of 0.
func TestAccuracyChild(t *testing.T) {
	file := os.Getenv(accuracyCases)
	if file == "" {
		t.Skip("runs as the child of TestTilesAgainstFloat64")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []accuracyCase
	if err := json.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		line, err := json.Marshal(c.run(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("accuracy %s\n", line)
	}
}

// run computes the errors of a case.
func (c *accuracyCase) run(t *testing.T) (a accuracy) {
	if _, err := os.Stat(c.Out); err != nil {
		return a
	}
	reference, err := checkpoint.ReadSafetensors(c.Out)
	if err != nil {
		t.Fatal(err)
	}
	defer reference.Close()
	ck, err := checkpoint.Open(c.Model)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := model.Load(ck, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	cfg := m.Config()
	places := map[int][]float64{}
	for i, layer := range cfg.AttentionLayers() {
		places[layer] = doubles(t, reference, fmt.Sprintf("rows.%d", i))
	}
	n := len(c.IDs)
	from := n - c.Rows
	var logits []float32
	var mu sync.Mutex
	count := 0
	tile := func(layer int, tile *cpu.Tile) {
		mu.Lock()
		defer mu.Unlock()
		for i := range tile.Rows {
			pos := tile.Pos0 + i
			if pos < from {
				continue
			}
			want := places[layer][(tile.Head*c.Rows+pos-from)*n:][:n]
			row := tile.Weights[i*tile.Stride:][:tile.Keys]
			for k := range pos + 1 {
				v := 0.0
				if at := k - tile.Key0; at >= 0 && at < len(row) {
					v = float64(row[at])
				}
				d := math.Abs(v - want[k])
				a.Largest = max(a.Largest, d)
				a.RMS += d * d
				count++
			}
		}
	}
	s := m.NewSession()
	defer s.Close()
	err = s.Forward(context.Background(), c.IDs, model.Pass{
		Recorder: &model.Recorder{Tile: tile}, RecordFrom: from, LogitsFrom: n - 1,
		Logits: func(_ int, l []float32) { logits = append(logits, l...) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := doubles(t, reference, "logits")
	top := 0.0
	for i, v := range want {
		top = max(top, math.Abs(v))
		d := math.Abs(float64(logits[i]) - v)
		a.LargestLogit = max(a.LargestLogit, d)
		a.RMSOfLogit += d * d
	}
	a.RMS = math.Sqrt(a.RMS / float64(count))
	a.RMSOfLogit = math.Sqrt(a.RMSOfLogit/float64(len(want))) / top
	a.LargestLogit /= top
	return a
}

// doubles returns the values of a tensor of float64.
func doubles(t *testing.T, f *checkpoint.File, name string) []float64 {
	x, ok := f.Tensor(name)
	if !ok {
		t.Fatalf("no %s in the reference", name)
	}
	list := make([]float64, len(x.Data)/8)
	for i := range list {
		list[i] = math.Float64frombits(binary.LittleEndian.Uint64(x.Data[8*i:]))
	}
	return list
}
