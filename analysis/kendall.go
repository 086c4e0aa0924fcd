package analysis

import (
	"cmp"
	"math"
	"math/rand/v2"
)

// KendallTau returns Kendall's rank correlation of x and y in its form b, which allows
// for ties: 1 if both have the same order, -1 if the orders are opposite. Pairs with a
// NaN are left out. It is NaN if x or y is constant. len(y) must be len(x).
//
// Source: Kendall, "The treatment of ties in ranking problems", Biometrika 33 (1945).
func KendallTau(x, y []float64) float64 {
	both := 0  // pairs in the same order, minus pairs in opposite orders
	inX := 0.0 // pairs that differ in x
	inY := 0.0
	for i := range x {
		for j := range i {
			if math.IsNaN(x[i]+x[j]) || math.IsNaN(y[i]+y[j]) {
				continue
			}
			a := cmp.Compare(x[i], x[j])
			b := cmp.Compare(y[i], y[j])
			both += a * b
			inX += float64(a * a)
			inY += float64(b * b)
		}
	}
	if inX == 0 || inY == 0 {
		return math.NaN()
	}
	return float64(both) / math.Sqrt(inX*inY)
}

// RankAgreement compares the order in which a measure puts methods with the order in
// which their results put them. Both hold numbers by method and prompt, [method][prompt],
// for which more is better, with NaN where a prompt has none. It returns Kendall's tau of
// their means over prompts and its 95 % bootstrap interval: prompts are drawn with
// replacement 2000 times, the same ones for every method, the measure and the results.
// The seed determines the samples. With fewer than two prompts, both ends are NaN.
func RankAgreement(measure, results [][]float64, seed uint64) (tau, low, high float64) {
	nan := math.NaN()
	if len(measure) == 0 {
		return nan, nan, nan
	}
	n := len(measure[0])
	pick := make([]int, n)
	for i := range pick {
		pick[i] = i
	}
	tau = KendallTau(meansOver(measure, pick), meansOver(results, pick))
	if n < 2 {
		return tau, nan, nan
	}
	r := rand.New(rand.NewPCG(seed, 0x7a0))
	values := make([]float64, 0, resamples)
	for range resamples {
		for i := range pick {
			pick[i] = r.IntN(n)
		}
		if v := KendallTau(meansOver(measure, pick), meansOver(results, pick)); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	if len(values) < 2 {
		return tau, nan, nan
	}
	low, high = percentiles(values)
	return tau, low, high
}

// meansOver returns the mean of each row over the picked columns.
func meansOver(rows [][]float64, pick []int) []float64 {
	means := make([]float64, len(rows))
	picked := make([]float64, len(pick))
	for m, row := range rows {
		for i, p := range pick {
			picked[i] = row[p]
		}
		means[m] = Mean(picked)
	}
	return means
}
