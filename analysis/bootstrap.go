package analysis

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// resamples is the number of bootstrap samples behind an interval.
const resamples = 2000

// SoundPrompts is the number of prompts below which bootstrap intervals are too narrow: the
// samples hold only the few values that occurred.
const SoundPrompts = 10

// FewPromptsNote returns the sentence that intervals over n prompts are too narrow, or no
// sentence if there are enough prompts, or only one and hence no intervals.
func FewPromptsNote(n int) []string {
	if n < 2 || n >= SoundPrompts {
		return nil
	}
	return []string{fmt.Sprintf("Intervals are bootstrapped over %d prompts; with fewer than %d they are too narrow.", n, SoundPrompts)}
}

// Mean returns the mean of the values that are not NaN, or NaN if there are none.
func Mean(x []float64) float64 {
	sum := 0.0
	n := 0
	for _, v := range x {
		if !math.IsNaN(v) {
			sum += v
			n++
		}
	}
	if n == 0 {
		return math.NaN()
	}
	return sum / float64(n)
}

// Interval returns the 95 % percentile bootstrap interval of the mean of the values
// that are not NaN, one for each prompt: the 2.5 % and 97.5 % quantiles of the means
// of 2000 samples drawn with replacement. The seed determines the samples. With fewer
// than two values, both ends are NaN.
func Interval(x []float64, seed uint64) (lo, hi float64) {
	var defined []float64
	for _, v := range x {
		if !math.IsNaN(v) {
			defined = append(defined, v)
		}
	}
	n := len(defined)
	if n < 2 {
		return math.NaN(), math.NaN()
	}
	r := rand.New(rand.NewPCG(seed, 0xb007))
	means := make([]float64, resamples)
	for i := range means {
		sum := 0.0
		for range n {
			sum += defined[r.IntN(n)]
		}
		means[i] = sum / float64(n)
	}
	return percentiles(means)
}

// percentiles sorts values and returns their 2.5 % and 97.5 % quantiles.
func percentiles(values []float64) (lo, hi float64) {
	slices.Sort(values)
	n := float64(len(values))
	return values[int(0.025*n)], values[max(0, int(0.975*n)-1)]
}
