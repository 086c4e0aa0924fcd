// Package snapkv selects what a compressed KV cache keeps: the votes of the
// observation window, their pooling, and the positions of the highest ones, as
// in Li et al., "SnapKV", arXiv:2404.14469, listing 1.
package snapkv

import (
	"fmt"

	"github.com/attnscope/attnscope/internal/simd"
)

// Pool pools votes with a window of kernel positions, stride 1: avgpool divides
// by kernel everywhere, so positions near the borders are lowered; maxpool does
// not see past them. An even kernel has no middle and is an error; kernel 1
// changes nothing.
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

// PoolNarrow is Pool of votes in float32 into out, as long as vote and not the same.
// Averages are summed in float64 and rounded once.
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

// average adds a window's values from the first to the last, for many positions
// beside each other: add adds to sum the n values that lie d behind position from,
// done takes the sums of positions from on.
func average(n, kernel int, add func(sum []float64, from, n, d int), done func(sum []float64, from int)) {
	const step = 1024 // stays in the nearest cache
	half, sum := kernel/2, make([]float64, min(n, step))
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

// highest takes three comparisons a position, however wide the window: votes are
// cut into pieces of kernel values, and a window is the end of one and the begin of
// the next (van Herk, "A fast algorithm for local minimum and maximum filters on
// rectangular and octagonal kernels", 1992).
func highest[F float32 | float64](out, vote []F, kernel int) {
	n, half := len(vote), kernel/2
	begin := make([]F, n) // of a piece, up to a position
	for i, v := range vote {
		if begin[i] = v; i%kernel != 0 {
			begin[i] = max(begin[i-1], v)
		}
	}
	end := make([]F, n) // of a piece, from a position on
	for i := n - 1; i >= 0; i-- {
		if end[i] = vote[i]; i%kernel != kernel-1 && i < n-1 {
			end[i] = max(end[i+1], vote[i])
		}
	}
	for i := range out {
		lo, hi := max(0, i-half), min(n-1, i+half)
		switch {
		case lo/kernel != hi/kernel:
			out[i] = max(end[lo], begin[hi])
		case lo%kernel == 0:
			out[i] = begin[hi]
		default: // both ends in one piece: at the last positions
			out[i] = end[lo]
		}
	}
}
