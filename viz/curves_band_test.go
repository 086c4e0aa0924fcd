package viz

import (
	"math"
	"slices"
	"testing"

	"gonum.org/v1/plot/plotter"
)

// TestBandsEndWhereValuesAreMissing: a band does not cross a place that has no value, and a
// single place has no band.
func TestBandsEndWhereValuesAreMissing(t *testing.T) {
	nan := math.NaN()
	s := Series{
		X:    []float64{0, 1, 2, 3, 4, 5, 6},
		Low:  []float64{1, 2, nan, 3, nan, 4, 5},
		High: []float64{6, 7, nan, 8, nan, 9, 9.5},
	}
	got := s.bandPieces()
	want := []plotter.XYs{
		{{X: 0, Y: 6}, {X: 1, Y: 7}, {X: 1, Y: 2}, {X: 0, Y: 1}},
		{{X: 5, Y: 9}, {X: 6, Y: 9.5}, {X: 6, Y: 5}, {X: 5, Y: 4}},
	}
	if !slices.EqualFunc(got, want, slices.Equal[plotter.XYs]) {
		t.Errorf("%v, want %v", got, want)
	}
}
