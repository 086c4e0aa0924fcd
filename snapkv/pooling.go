package snapkv

import (
	"fmt"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/words"
)

// Pooling says how votes are pooled over neighboring positions; see [Pool].
type Pooling string

// The poolings, as the command line and result files spell them.
const (
	AvgPool Pooling = "avgpool" // mean over the kernel; at the border too, sums are divided by the full kernel
	MaxPool Pooling = "maxpool" // maximum over the kernel
)

// Poolings lists the poolings in the order in which help shows them.
func Poolings() []Pooling { return []Pooling{AvgPool, MaxPool} }

// Check returns an error if p is not one of [Poolings].
func (p Pooling) Check() error {
	return words.Check("pooling", p, Poolings())
}

// String returns the name of the pooling.
func (p Pooling) String() string { return string(p) }

// Pool pools votes over kernel positions around each position, with stride 1, in
// float64. AvgPool divides by kernel everywhere, so that values near the two ends
// become lower; MaxPool ignores positions outside. Kernel 1 changes nothing. An even
// kernel, which has no middle, and an unknown pooling are errors.
func Pool(vote []float64, kernel int, pooling Pooling) ([]float64, error) {
	if err := checkPool(kernel, pooling); err != nil {
		return nil, err
	}
	out := make([]float64, len(vote))
	if pooling == MaxPool {
		highest(out, vote, kernel)
		return out, nil
	}
	average(len(vote), kernel, func(sum []float64, from, n, d int) {
		simd.AddDoubles(sum[:n], vote[from+d:])
	}, func(sum []float64, from int) {
		for i, v := range sum {
			out[from+i] = v / float64(kernel)
		}
	})
	return out, nil
}

// PoolNarrow pools float32 votes as [Pool] does. It writes the result to out, which
// has the same length as vote and must not overlap it. Averages are summed in float64
// and rounded once.
func PoolNarrow(out, vote []float32, kernel int, pooling Pooling) error {
	if err := checkPool(kernel, pooling); err != nil {
		return err
	}
	if pooling == MaxPool {
		highest(out, vote, kernel)
		return nil
	}
	average(len(vote), kernel, func(sum []float64, from, n, d int) {
		simd.AddWide(sum[:n], vote[from+d:])
	}, func(sum []float64, from int) {
		simd.NarrowScaled(out[from:from+len(sum)], sum, 1/float64(kernel))
	})
	return nil
}

func checkPool(kernel int, pooling Pooling) error {
	if kernel < 1 || kernel%2 == 0 {
		return fmt.Errorf("kernel %d: want an odd number", kernel)
	}
	return pooling.Check()
}

// average sums the values around each of n positions, many positions at a time. It
// calls add to add n values to sum: those at positions from+d, from+d+1 and so on; d
// may be negative. It calls done with the finished sums of positions from, from+1 and
// so on.
func average(n, kernel int, add func(sum []float64, from, n, d int), done func(sum []float64, from int)) {
	const step = 1024 // the sums stay in the first-level cache
	half := kernel / 2
	sum := make([]float64, min(n, step))
	for from := 0; from < n; from += step {
		to := min(from+step, n)
		clear(sum)
		for d := -half; d <= half; d++ {
			if lo, hi := max(from, -d), min(to, n-d); lo < hi {
				add(sum[lo-from:], lo, hi-lo, d)
			}
		}
		done(sum[:to-from], from)
	}
}

// highest computes the maximum over kernel positions around each position with three
// comparisons per position for any kernel. Votes are cut into pieces of kernel values;
// a window consists of the end of one piece and the beginning of the next (van Herk,
// "A fast algorithm for local minimum and maximum filters on rectangular and octagonal
// kernels", 1992).
func highest[F float32 | float64](out, vote []F, kernel int) {
	n := len(vote)
	half := kernel / 2
	upTo := make([]F, n) // maximum of the piece from its first position to this one
	for i, v := range vote {
		upTo[i] = v
		if i%kernel != 0 {
			upTo[i] = max(upTo[i-1], v)
		}
	}
	from := make([]F, n) // maximum of the piece from this position to its last
	for i := n - 1; i >= 0; i-- {
		from[i] = vote[i]
		if i%kernel != kernel-1 && i < n-1 {
			from[i] = max(from[i+1], vote[i])
		}
	}
	for i := range out {
		lo, hi := max(0, i-half), min(n-1, i+half)
		switch {
		case lo/kernel != hi/kernel:
			out[i] = max(from[lo], upTo[hi])
		case lo%kernel == 0:
			out[i] = upTo[hi]
		default: // near the end of the votes, where one piece holds both
			out[i] = from[lo]
		}
	}
}
