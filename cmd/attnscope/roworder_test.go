package main

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/analysis"
)

// TestRowOrder: rates that rest on too few positions come after all others, and the rates
// without the first positions move with their rows.
func TestRowOrder(t *testing.T) {
	row := func(layer, significant int, rate float64) analysis.HitRateRow {
		return analysis.HitRateRow{Key: analysis.Key{Layer: layer}, Significant: significant, HitRate: rate}
	}
	rows := []analysis.HitRateRow{row(0, 100, 0.9), row(1, 8, 0.2), row(2, 100, 0.4), row(3, 0, math.NaN()), row(4, 40, 0.7)}
	for _, c := range []struct {
		order rowOrder
		want  []int
	}{
		{rowOrder{}, []int{0, 1, 2, 3, 4}},
		{rowOrder{first: 2}, []int{0, 1}},
		{rowOrder{column: "hit_rate", min: 30}, []int{2, 4, 0, 1, 3}},
		{rowOrder{column: "hit_rate", min: 30, first: 1}, []int{2}},
		{rowOrder{column: "without_first_4", min: 30}, []int{0, 2, 4, 1, 3}},
		{rowOrder{column: "hit_rate"}, []int{1, 2, 4, 0, 3}},
		{rowOrder{column: "significant", min: 30}, []int{3, 1, 4, 0, 2}},
		{rowOrder{column: "prompt", first: 9}, []int{0, 1, 2, 3, 4}},
	} {
		without := slices.Clone(rows)
		without[0].HitRate = 0.1
		lists := [][]analysis.HitRateRow{slices.Clone(rows), {row(-1, 248, 0.6)}, without}
		if err := c.order.apply(lists); err != nil {
			t.Fatal(err)
		}
		for _, which := range []int{askedRates, askedWithoutFirst} {
			var got []int
			for i := range lists[which] {
				got = append(got, lists[which][i].Layer)
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%+v: layers %v in list %d, want %v", c.order, got, which, c.want)
			}
		}
		if len(lists[totalRates]) != 1 {
			t.Errorf("%+v changes the total", c.order)
		}
	}
	err := rowOrder{column: analysis.SinkColumn}.apply([][]analysis.HitRateRow{slices.Clone(rows)})
	if want := "these dumps have no learned sinks"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("sorted by shares that do not exist: %v, want %q", err, want)
	}
}
