package snapkv

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"testing"
)

// kvpressGolden is what kvpress keeps, as testdata/make_kvpress.py writes it.
type kvpressGolden struct {
	Window int
	Shares struct {
		Pyramid []struct {
			Layers, Length, Budget int
			Budgets                []int
		}
		Scores    [][]float64 // [layer][kv head], of duoattention
		Streaming [][]bool
	}
	Cases []struct {
		Length, Seed, Budget int
		Laziness             float64            // the share at which simlayerkv finds the layer lazy
		Kept                 map[string][][]int // by method, [kv head], ascending positions of the prefix
	}
}

// TestAgainstKvpress compares selections with those of kvpress for the same tensors.
// docs/METHODS.md says which setting of either makes them equal.
func TestAgainstKvpress(t *testing.T) {
	golden := readKvpress(t)
	compared := map[string]int{}
	for _, of := range golden.Cases {
		l := integerLayer(of.Length, uint32(of.Seed))
		c := Config{Window: golden.Window, Capacity: golden.Window + of.Budget, Kernel: 5, Pooling: AvgPool}
		if got := simLayerKV.LayerStat(l, c); math.Abs(got-of.Laziness) > 1e-6 {
			t.Errorf("length %d, budget %d: share %g for simlayerkv, kvpress has %g",
				of.Length, of.Budget, got, of.Laziness)
		}
		for name, want := range of.Kept {
			m, err := FindMethod(name)
			if err != nil {
				t.Fatal(err)
			}
			c.Group = GroupMean
			if name == "kvzip" {
				c.Group = GroupMax
			}
			got, err := m.Select(l, c, of.Budget)
			if err != nil {
				t.Fatal(err)
			}
			for kv := range want {
				if fmt.Sprint(got[kv]) != fmt.Sprint(want[kv]) {
					t.Errorf("%s, length %d, budget %d, kv head %d: %v, kvpress keeps %v",
						name, of.Length, of.Budget, kv, got[kv], want[kv])
				}
			}
			compared[name]++
		}
	}
	if len(compared) != 24 {
		t.Errorf("%d methods compared, want 24: %v", len(compared), compared)
	}
}

// TestSharesOfKvpress: budgets over layers and heads are those of kvpress, also if the first
// layer's would exceed the prompt. kvpress counts the window within the budgets of pyramidkv.
func TestSharesOfKvpress(t *testing.T) {
	golden := readKvpress(t)
	shares := &golden.Shares
	for _, of := range shares.Pyramid {
		c := Config{Window: golden.Window, Capacity: golden.Window + of.Budget}
		got := pyramidKV.LayerBudgets(make([]float64, of.Layers), of.Length, c)
		if fmt.Sprint(got) != fmt.Sprint(of.Budgets) {
			t.Errorf("%d layers, budget %d: %v, kvpress has %v", of.Layers, of.Budget, got, of.Budgets)
		}
	}
	c := Config{HeadScores: shares.Scores}
	list := [][]float64{make([]float64, 300), make([]float64, 300)}
	for layer, streaming := range shares.Streaming {
		got, err := duoAttention.ShareHeads(list, 2*40, layer, c)
		if err != nil {
			t.Fatal(err)
		}
		for kv, is := range streaming {
			if (got[kv] == 40) != is {
				t.Errorf("layer %d, head %d keeps %d positions, streaming in kvpress: %t", layer, kv, got[kv], is)
			}
		}
	}
}

func readKvpress(t *testing.T) *kvpressGolden {
	t.Helper()
	data, err := os.ReadFile("testdata/kvpress.json")
	if err != nil {
		t.Fatal(err)
	}
	golden := new(kvpressGolden)
	if err := json.Unmarshal(data, golden); err != nil {
		t.Fatal(err)
	}
	return golden
}

// integerLayer is the layer of make_kvpress.py.
func integerLayer(length int, seed uint32) *Layer {
	l := &Layer{Layers: 1, Heads: 4, KVHeads: 2, Len: length, N: length, Dim: 8, ValueDim: 8}
	l.Queries = integers(length*4*8, seed)
	l.Keys = integers(length*2*8, seed+1)
	l.Values = integers(length*2*8, seed+2)
	for i := range l.Keys {
		l.Keys[i] += float32(i%8) / 8
	}
	for i := range l.Queries {
		l.Queries[i] += float32(7-i%8) / 16
	}
	l.Rows = make([]float32, 4*length*length)
	l.Sums = make([]float32, 4*length)
	sums := make([]float64, length)
	for h := range 4 {
		clear(sums)
		for i := range length {
			row := make([]float64, i+1)
			for j := range row {
				for d, v := range l.query(h, i) {
					row[j] += float64(v) * float64(l.key(j, h/2)[d]) * l.scale()
				}
			}
			softmax(row)
			for j, v := range row {
				l.row(h, i)[j] = float32(v)
				sums[j] += v
			}
		}
		for j, v := range sums {
			l.Sums[h*length+j] = float32(v)
		}
	}
	return l
}

// integers is generate of make_kvpress.py.
func integers(n int, state uint32) []float32 {
	out := make([]float32, n)
	for i := range out {
		total := -126
		for range 4 {
			state = state*1664525 + 1013904223
			total += int(state >> 26)
		}
		out[i] = float32(total) / 64
	}
	return out
}

// TestKvpressGolden: the installed kvpress keeps what testdata/kvpress.json says.
func TestKvpressGolden(t *testing.T) {
	if os.Getenv("ATTNSCOPE_LONG") == "" {
		t.Skip("SKIPPED, needs Python with kvpress: set ATTNSCOPE_LONG=1 and ATTNSCOPE_KVPRESS_PYTHON (make test-long)")
	}
	python := cmp.Or(os.Getenv("ATTNSCOPE_KVPRESS_PYTHON"), os.Getenv("ATTNSCOPE_PYTHON"), "python3")
	if err := exec.Command(python, "-c", "import kvpress").Run(); err != nil {
		t.Skipf("SKIPPED: %s has no kvpress: pip install kvpress, and name the Python in ATTNSCOPE_KVPRESS_PYTHON", python)
	}
	want, err := os.ReadFile("testdata/kvpress.json")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "testdata/make_kvpress.py")
	cmd.Stderr = os.Stderr
	got, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("kvpress keeps other positions than testdata/kvpress.json says: write it again and look at the difference")
	}
}
