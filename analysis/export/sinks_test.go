package export

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestSinks: arrays have the shares of learned sinks, and tables have them as rows with
// the key -1, so that every row of the attention is whole.
func TestSinks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.attn")
	dumpstest.Shapes(t, path, dumpstest.Kinds()["sinks"], dumps.StoreRows, dumps.Exact, "p")
	r, err := dumps.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	list, err := Arrays(t.Context(), r, Options{Layer: 1})
	if err != nil {
		t.Fatal(err)
	}
	all, windows, err := r.SinkSums(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]float32{"prompt_sink_sums": all, "window_sinks": windows}
	for ph, name := range []string{"prompt_sinks", "generation_sinks"} {
		if want[name], err = r.Sinks(0, 1, dumps.Phase(ph)); err != nil {
			t.Fatal(err)
		}
	}
	found := 0
	for _, a := range list {
		if x, ok := want[a.Name]; ok {
			found++
			got, err := a.Float32()
			if err != nil || a.Shape[0] != dumpstest.Heads || !slices.Equal(got, x) {
				t.Errorf("%s: %v %v %v", a.Name, a.Shape, got, err)
			}
		}
	}
	if found != len(want) {
		t.Errorf("%d arrays of sinks, want %d", found, len(want))
	}
	out := filepath.Join(t.TempDir(), "x.csv")
	if err := Write(t.Context(), out, r, Options{Layer: 1}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	sums := map[string]float64{} // by head, phase and row
	sinks := 0
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n")[1:] {
		f := strings.Split(line, ",")
		v, err := strconv.ParseFloat(f[5], 64)
		if err != nil {
			t.Fatal(err)
		}
		sums[strings.Join(f[1:4], " ")] += v
		if f[4] == "-1" {
			sinks++
		}
	}
	if rows := dumpstest.Heads * (dumpstest.Rows + dumpstest.Reply); len(sums) != rows || sinks != rows {
		t.Errorf("%d rows and %d sinks, want %d", len(sums), sinks, rows)
	}
	for row, sum := range sums {
		if math.Abs(sum-1) > 1e-5 {
			t.Errorf("row %s sums to %g", row, sum)
		}
	}
}
