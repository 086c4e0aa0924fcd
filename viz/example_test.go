package viz_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/viz"
)

// A figure is drawn from plain numbers, saved, and says which command drew it.
func Example() {
	layers := []float64{0, 1, 2}
	f := viz.CurvesFigure(viz.Curves{
		Title:  "hit rate by layer",
		XLabel: "layer",
		YLabel: "hit rate",
		Hi:     1,
		Series: []viz.Series{
			{Name: "vote", X: layers, Y: []float64{0.91, 0.97, 0.94}},
			{Name: "chance", X: layers, Y: []float64{0.05, 0.05, 0.05}, Baseline: true},
		},
		Meta: viz.Origin{Arguments: []string{"hitrate", "my run.attn"}}.Meta(),
	})
	dir, err := os.MkdirTemp("", "viz")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "rates.svg")
	if err := f.Save(path); err != nil {
		log.Fatal(err)
	}
	meta, err := viz.ReadMeta(path)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(meta["command"])
	// Output: attnscope hitrate 'my run.attn'
}

// A grid holds rates of two layers and three heads; NaN, which NewGrid sets, means
// that there is no rate.
func ExampleSummaryFigure() {
	rates := viz.NewGrid(2, 3)
	rates.Set(0, 0, 0.5)
	rates.Set(1, 2, 1)
	f := viz.SummaryFigure(viz.Summary{
		Title:    "hit rate by layer and head",
		XLabel:   "query head",
		Columns:  []string{"0", "1", "2"},
		Layers:   []int{0, 1},
		Rates:    rates,
		BarTitle: "hit rate",
	})
	fmt.Printf("%.1f x %.1f points\n", f.Width.Points(), f.Height.Points())
	// Output: 272.2 x 237.6 points
}
