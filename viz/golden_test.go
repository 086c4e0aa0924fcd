package viz_test

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/attnscope/attnscope/viz"
)

var update = flag.Bool("update", false, "write testdata/*.svg anew; look at each of them afterwards")

// TestGoldenFigures draws one figure of each kind, as it is, as wide as a column of a paper
// and for a web page, and compares it with the files in testdata.
func TestGoldenFigures(t *testing.T) {
	capacities := []float64{64, 128, 256}
	series := []viz.Series{
		{
			Name: "snapkv", X: capacities, Y: []float64{0.4, 0.6, 0.8},
			Low: []float64{0.3, 0.5, 0.7}, High: []float64{0.5, 0.7, 0.9},
		},
		{Name: "with a gap", X: capacities, Y: []float64{0.35, math.NaN(), 0.7}},
		{Name: "recent", X: capacities, Y: []float64{0.1, 0.2, 0.4}, Baseline: true},
	}
	vote := viz.Grid{Rows: 2, Cols: 8, Values: []float64{
		.5, .1, .01, .02, .001, .2, .003, .1,
		.4, .02, .02, .01, .2, .1, .05, .0001,
	}}
	generated := viz.Grid{Rows: 3, Cols: 8, Values: []float64{
		.6, .1, .01, .02, .001, .1, .003, .1,
		.5, .1, .02, .01, .02, .2, .05, .0001,
		.5, .1, .02, .01, .02, .3, .05, .01,
	}}
	rates := viz.NewGrid(2, 3)
	copy(rates.Values, []float64{0, 0.25, 0.5, 0.75, 1, math.NaN()})
	hits := viz.NewGrid(2, 3)
	copy(hits.Values, []float64{0, 0.5, 0.9, 0.99, 0.999, 1})

	for name, f := range map[string]*viz.Figure{
		"curves": viz.CurvesFigure(viz.Curves{
			Title: "kept attention", Caption: "a caption", XLabel: "capacity", YLabel: "share kept",
			LogX: true, Hi: 1, Series: series,
		}),
		"scatter": viz.ScatterFigure(viz.Scatter{
			Title: "loss against a measure", XLabel: "measure", YLabel: "KL", Series: series, Intercept: -3, Slope: 0.4,
		}),
		"summary": viz.SummaryFigure(viz.Summary{
			Title: "hit rate", XLabel: "query head", Columns: []string{"0", "1", "2"}, Rates: rates,
			Layers: []int{0, 5}, BarTitle: "hit rate",
		}),
		"misses": viz.SummaryFigure(viz.Summary{
			Title: "hit rate", XLabel: "query head", Columns: []string{"0", "1", "2"}, Rates: hits, Misses: true,
			Few: []bool{false, false, true, false, false, false}, Layers: []int{0, 5}, BarTitle: "hit rate",
			Caption: "A caption that is so long that a narrow figure needs several lines for it, and makes place for them, " +
				"so that the last line does not lie under the label of the axis, as it did before.",
		}),
		"overview": viz.OverviewFigure(viz.Overview{Title: "the whole map", Map: rates, Tokens: 600}),
		"layer": viz.LayerFigure(viz.Layer{
			Title: "layer 3", Caption: "a caption", Vote: vote, Generated: generated, Window: 2,
			Voted:    []bool{true, false, false, false, false, true, false, true},
			Attended: []bool{true, true, false, false, false, true, false, false},
			Meta:     viz.Meta{"layer": "3"},
		}),
	} {
		for kind, style := range map[string]viz.Style{"": {}, "-narrow": {Width: 3.3}, "-page": {Page: true}} {
			f.Style = style
			compare(t, name+kind, f)
		}
	}
}

// compare compares a figure with its file in testdata.
func compare(t *testing.T, name string, f *viz.Figure) {
	t.Helper()
	got, err := f.Encode("svg")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join("testdata", name+".svg")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the figure differs; go test ./viz -run Golden -update writes it anew", path)
	}
}
