package analysis

import (
	"math"
	"testing"
)

// TestExtremesNeedData: a rate of one hit of eight is not the lowest.
func TestExtremesNeedData(t *testing.T) {
	row := func(layer, significant int, rate float64) HitRateRow {
		return HitRateRow{Key: Key{Layer: layer}, Significant: significant, HitRate: rate}
	}
	rows := []HitRateRow{row(0, 500, 0.9), row(1, 8, 0.125), row(2, 30, 0.6), row(3, 0, math.NaN()), row(4, 3, 1), row(5, 99, 0.95)}
	low, high, few := Extremes(rows, MinSignificant)
	if low.Layer != 2 || high.Layer != 5 || few != 2 {
		t.Errorf("layers %d and %d, %d rows with too little data; want 2, 5 and 2", low.Layer, high.Layer, few)
	}
	if low, high, few := Extremes(rows[1:2], MinSignificant); low != nil || high != nil || few != 1 {
		t.Errorf("%v, %v, %d of a row with too little data", low, high, few)
	}
}
