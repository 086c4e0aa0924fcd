package analysis

import (
	"math"
	"math/rand/v2"
)

// Flips is the number of random sign patterns of [SignFlip] where there are too
// many to try all.
const Flips = 10000

// SignFlip is the two-sided p-value of paired differences having mean zero, by
// the sign-flip (Fisher-Pitman) permutation test: the share of sign patterns
// whose mean lies at least as far from zero as the one seen. Up to 16 defined
// differences all patterns are tried and p is exact; beyond, [Flips] are drawn from the seed
// and the one seen counts among them, so that p is never 0. NaN under two
// defined differences.
func SignFlip(diff []float64, seed uint64) float64 {
	var defined []float64
	seen := 0.0
	for _, v := range diff {
		if !math.IsNaN(v) {
			defined = append(defined, v)
			seen += v
		}
	}
	n := len(defined)
	if n < 2 {
		return math.NaN()
	}
	// Sums that differ by rounding alone are ties.
	seen = math.Abs(seen) * (1 - 1e-12)
	if n <= 16 {
		hits := 0
		for pattern := range 1 << n {
			sum := 0.0
			for i, v := range defined {
				if pattern>>i&1 == 1 {
					v = -v
				}
				sum += v
			}
			if math.Abs(sum) >= seen {
				hits++
			}
		}
		return float64(hits) / float64(int(1)<<n)
	}
	r := rand.New(rand.NewPCG(seed, 0xf11b))
	hits := 1
	for range Flips {
		sum, bits := 0.0, uint64(0)
		for i, v := range defined {
			if i%64 == 0 {
				bits = r.Uint64()
			}
			if bits>>(i%64)&1 == 1 {
				v = -v
			}
			sum += v
		}
		if math.Abs(sum) >= seen {
			hits++
		}
	}
	return float64(hits) / float64(Flips+1)
}
