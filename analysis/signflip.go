package analysis

import (
	"math"
	"math/rand/v2"
)

// flips is the number of random sign patterns that [SignFlip] draws if there are too
// many to try all.
const flips = 10000

// exactFlips is the largest number of differences for which all sign patterns are
// tried.
const exactFlips = 16

// SignFlip returns the two-sided p-value of the hypothesis that paired differences
// have mean zero, by the sign-flip (Fisher-Pitman) permutation test: the share of
// sign patterns whose mean is at least as far from zero as the observed mean.
//
// NaN differences are ignored; with fewer than two others, p is NaN. With up to 16
// differences, all patterns are tried and p is exact. With more, 10,000 patterns are
// drawn from the seed, and the observed one is counted among them, so that p is never
// 0.
func SignFlip(diff []float64, seed uint64) float64 {
	var defined []float64
	observed := 0.0
	for _, v := range diff {
		if !math.IsNaN(v) {
			defined = append(defined, v)
			observed += v
		}
	}
	n := len(defined)
	if n < 2 {
		return math.NaN()
	}
	bound := math.Abs(observed) * (1 - 1e-12) // sums that differ only by rounding are ties
	if n <= exactFlips {
		return exactSignFlip(defined, bound)
	}
	r := rand.New(rand.NewPCG(seed, 0xf11b))
	hits := 1
	for range flips {
		sum := 0.0
		bits := uint64(0)
		for i, v := range defined {
			if i%64 == 0 {
				bits = r.Uint64()
			}
			if bits>>(i%64)&1 == 1 {
				v = -v
			}
			sum += v
		}
		if math.Abs(sum) >= bound {
			hits++
		}
	}
	return float64(hits) / float64(flips+1)
}

// LeastP returns the smallest p-value that [SignFlip] can return for n differences: that
// of differences of one sign. With fewer than two, it is NaN.
func LeastP(n int) float64 {
	switch {
	case n < 2:
		return math.NaN()
	case n <= exactFlips:
		return math.Ldexp(1, 1-n)
	}
	return 1.0 / (flips + 1)
}

// exactSignFlip returns the share of all sign patterns whose sum is at least bound
// away from zero.
func exactSignFlip(diff []float64, bound float64) float64 {
	patterns := 1 << len(diff)
	hits := 0
	for pattern := range patterns {
		sum := 0.0
		for i, v := range diff {
			if pattern>>i&1 == 1 {
				v = -v
			}
			sum += v
		}
		if math.Abs(sum) >= bound {
			hits++
		}
	}
	return float64(hits) / float64(patterns)
}
