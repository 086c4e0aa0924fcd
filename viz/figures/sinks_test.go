package figures

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/dumps/dumpstest"
)

// TestLayerFigureHasSinks compares the shares of learned sinks in the figure of a layer
// with the rows of the dump: what the keys leave. The figure of a model without them has
// none.
func TestLayerFigureHasSinks(t *testing.T) {
	const window = 8
	for kind, has := range map[string]bool{"sinks": true, "chunks": false} {
		path := filepath.Join(t.TempDir(), "x.attn")
		dumpstest.Shapes(t, path, dumpstest.Kinds()[kind], dumps.StoreFactors, dumps.Exact, "p")
		r, err := dumps.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		d := &heatmaps{cfg: HeatmapConfig{Window: window, Top: 0.1}}
		l, err := d.layer(r, 0, 1)
		if err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(l.Caption, "learned sinks"); said != has || (l.VoteSinks != nil) != has {
			t.Fatalf("%s: shares %v, caption %q", kind, l.VoteSinks, l.Caption)
		}
		if !has {
			continue
		}
		generated := make([]float64, dumpstest.Reply)
		for h := range dumpstest.Heads {
			rows, err := r.Weights(0, 1, dumps.Prefill)
			if err != nil {
				t.Fatal(err)
			}
			vote := 0.0
			for _, left := range left(rows, h)[rows.Rows-window:] {
				vote += left / window
			}
			if math.Abs(l.VoteSinks[h]-vote) > 1e-5 {
				t.Errorf("head %d: share %g, want %g", h, l.VoteSinks[h], vote)
			}
			if rows, err = r.Weights(0, 1, dumps.Decode); err != nil {
				t.Fatal(err)
			}
			for i, left := range left(rows, h) {
				generated[i] += left / dumpstest.Heads
			}
		}
		for i, want := range generated {
			if math.Abs(l.GeneratedSinks[i]-want) > 1e-5 || want < 0.01 {
				t.Errorf("token %d: share %g, want %g", i, l.GeneratedSinks[i], want)
			}
		}
	}
}

// left returns the part of each row of a head that the keys do not take.
func left(a *dumps.Attention, head int) []float64 {
	out := make([]float64, a.Rows)
	for i := range out {
		out[i] = 1
		for _, w := range a.Head(head)[i*a.Keys : (i+1)*a.Keys] {
			out[i] -= float64(w)
		}
	}
	return out
}
