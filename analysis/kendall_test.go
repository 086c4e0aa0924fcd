package analysis

import (
	"math"
	"testing"
)

// TestKendallTau: values of scipy.stats.kendalltau 1.11, and the two cases by hand.
func TestKendallTau(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		x, y []float64
		want float64
	}{
		{[]float64{1, 2, 3, 4}, []float64{10, 20, 30, 40}, 1},
		{[]float64{1, 2, 3, 4}, []float64{4, 3, 2, 1}, -1},
		{[]float64{12, 2, 1, 12, 2}, []float64{1, 4, 7, 1, 0}, -0.47140452079103173}, // ties, scipy's own example
		{[]float64{1, 2, 3, 4, 5}, []float64{1, 3, 2, 5, 4}, 0.6},                    // 8 of 10 pairs agree
		{[]float64{1, nan, 2, 3}, []float64{1, 0, 2, 3}, 1},
		{[]float64{1, 1, 1}, []float64{1, 2, 3}, nan},
	} {
		got := KendallTau(c.x, c.y)
		if math.Abs(got-c.want) > 1e-15 || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("KendallTau(%v, %v) = %v, want %v", c.x, c.y, got, c.want)
		}
	}
}

// TestRankAgreement: two of three methods change places in one of two prompts. Means
// over both prompts keep the order; a sample of the second prompt alone does not, so the
// interval reaches down to its tau, 1/3.
func TestRankAgreement(t *testing.T) {
	measure := [][]float64{{3, 3}, {2, 2}, {1, 1}}
	results := [][]float64{{9, 4}, {5, 6}, {1, 1}}
	tau, low, high := RankAgreement(measure, results, 1)
	if tau != 1 || math.Abs(low-1.0/3) > 1e-15 || high != 1 {
		t.Errorf("tau %v in [%v, %v], want 1 in [1/3, 1]", tau, low, high)
	}
	tau, low, high = RankAgreement([][]float64{{3}, {2}}, [][]float64{{1}, {2}}, 1)
	if tau != -1 || !math.IsNaN(low) || !math.IsNaN(high) {
		t.Errorf("one prompt: tau %v in [%v, %v], want -1 and no interval", tau, low, high)
	}
}
