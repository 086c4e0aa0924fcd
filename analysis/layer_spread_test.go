package analysis

import (
	"math"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

func TestSpreadOf(t *testing.T) {
	row := func(layer, significant int, rate float64) HitRateRow {
		return HitRateRow{Key: Key{Layer: layer}, Significant: significant, HitRate: rate}
	}
	rows := []HitRateRow{
		row(0, 50, 1), row(1, 36, 0.9), row(2, 10, 0.2), row(3, 4, 0), row(4, 0, math.NaN()),
	}
	s := SpreadOf(rows, 10)
	if !slices.Equal(s.Layers, []int{0, 1}) || s.Share != 0.86 || s.Rated != 3 || math.Abs(s.Mean-0.7) > 1e-12 {
		t.Errorf("%+v, want 86 %% in layers 0 and 1, and the mean .7 of three", s)
	}
	want := "86 % of the significant positions are in layers 0-1, so the pooled rate is mostly theirs; " +
		"the mean over the rates of 3 of 5 layers, those with enough significant positions, is 0.700."
	if got := s.Text("significant positions"); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	even := SpreadOf([]HitRateRow{row(0, 10, 1), row(1, 10, 0), row(2, 10, 0.5)}, 10)
	if got, want := even.Text("x"), "the mean over the rates of all 3 layers is 0.500."; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := SpreadOf(rows[:1], 10).Text("x"); got != "" {
		t.Errorf("%q of one layer, want nothing", got)
	}
	if got := SpreadOf(rows, 99).Text("x"); got != "" {
		t.Errorf("%q although no layer has enough positions, want nothing", got)
	}
	if got, want := dumps.Ranges([]int{0, 1, 2, 5, 7, 8}), "0-2, 5, 7-8"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
