package model

import (
	"math"
	"testing"
)

// TestSlopes compares with the numbers of the paper for 8 heads, and of 12 heads, which
// take every other slope of 16.
func TestSlopes(t *testing.T) {
	for heads, want := range map[int][]float64{
		8:  {1, 2, 3, 4, 5, 6, 7, 8},
		12: {1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5},
	} {
		b := newKeyBias(heads)
		for h, power := range want {
			if slope := math.Exp2(-power); math.Abs(float64(b.Slopes[h])-slope) > 1e-6*slope {
				t.Errorf("head %d of %d: slope %g, want %g", h, heads, b.Slopes[h], slope)
			}
		}
		if row := b.Table(5000)[3]; len(row) < 5000 || row[4999] != float32(b.Slopes[3]*4999) {
			t.Errorf("%d biases, the last but one %g", len(row), row[4999])
		}
	}
}

// TestRoundedBias: Falcon rounds positions to eight bits, ties to even.
func TestRoundedBias(t *testing.T) {
	b := newKeyBias(8)
	b.Rounded = true
	for pos, want := range map[int]float32{256: 128, 257: 128, 258: 129, 259: 130, 1003: 502} {
		if got := b.at(0, pos); got != want {
			t.Errorf("position %d: %g, want %g", pos, got, want)
		}
	}
}
