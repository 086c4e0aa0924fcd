package analysis

import (
	"math"
	"testing"
)

func TestSignFlip(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		diff []float64
		want float64
	}{
		{[]float64{1, 2, 3}, 2.0 / 8},       // only all plus and all minus reach 6
		{[]float64{1, 2, -3}, 1},            // the sum is 0: every pattern reaches it
		{[]float64{1, 1, 1, -1}, 10.0 / 16}, // |sum| >= 2: 4, 3+1 and their mirror images
		{[]float64{1, nan, 2, nan, 3}, 2.0 / 8},
		{[]float64{0.1, 0.2, 0.3}, 2.0 / 8}, // rounding: .1+.2+.3 is not .3+.2+.1
	} {
		if got := SignFlip(c.diff, 1); got != c.want {
			t.Errorf("SignFlip(%v) = %v, want %v", c.diff, got, c.want)
		}
	}
	if p := SignFlip([]float64{1, nan}, 1); !math.IsNaN(p) {
		t.Errorf("one difference: p = %v, want NaN", p)
	}
	// Twenty equal differences: two of 2^20 patterns, of which 10,000 draws see
	// none but the one that is there.
	same := make([]float64, 20)
	for i := range same {
		same[i] = 0.5
	}
	if p := SignFlip(same, 3); p != 1.0/(flips+1) {
		t.Errorf("20 equal differences: p = %v, want %v", p, 1.0/(flips+1))
	}
	// Ten up, ten down: the sum is 0 and every pattern reaches it.
	for i := range 10 {
		same[i] = -0.5
	}
	if p := SignFlip(same, 3); p != 1 {
		t.Errorf("balanced differences: p = %v, want 1", p)
	}
}

// TestLeastP: differences of one sign have the smallest p.
func TestLeastP(t *testing.T) {
	for _, n := range []int{2, 3, 16, 40} {
		diff := make([]float64, n)
		for i := range diff {
			diff[i] = 1
		}
		if got, want := LeastP(n), SignFlip(diff, 1); got != want {
			t.Errorf("%d differences: %v, want %v", n, got, want)
		}
	}
	if got := LeastP(1); !math.IsNaN(got) {
		t.Errorf("one difference: %v, want NaN", got)
	}
}
