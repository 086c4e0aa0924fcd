package viz

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBaselineOfOnePoint: a baseline of a single point, such as that of a model with one
// attention layer, and one between missing values, are drawn as short lines.
func TestBaselineOfOnePoint(t *testing.T) {
	for name, c := range map[string]Curves{
		"one":   {Series: []Series{{Name: "b", X: []float64{3}, Y: []float64{0.5}, Baseline: true}}},
		"log":   {LogX: true, Series: []Series{{Name: "b", X: []float64{64, 128}, Y: []float64{math.NaN(), 0.5}, Baseline: true}}},
		"holes": {Series: []Series{{Name: "b", X: []float64{0, 1, 2}, Y: []float64{math.NaN(), 0.5, math.NaN()}, Baseline: true}}},
	} {
		c.Hi = 1
		path := filepath.Join(t.TempDir(), "f.svg")
		if err := CurvesFigure(c).Save(path); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "stroke-dasharray"); n != 2 {
			t.Errorf("%s: %d dashed lines, want one in the legend and one in the plot", name, n)
		}
	}
}
