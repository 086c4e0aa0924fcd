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
func Pool(vote []float64, kernel int, pooling string) ([]float64, error) {
	out := make([]float64, len(vote))
	return out, PoolInto(out, vote, kernel, pooling)
}

// PoolInto is Pool into out, as long as vote and not the same.
func PoolInto(out, vote []float64, kernel int, pooling string) error {
	switch {
	case kernel < 1 || kernel%2 == 0:
		return fmt.Errorf("kernel %d: want an odd number", kernel)
	case pooling == "avgpool":
		average(out, vote, kernel)
	case pooling == "maxpool":
		highest(out, vote, kernel)
	default:
		return fmt.Errorf("pooling %q: want avgpool or maxpool", pooling)
	}
	return nil
}

// average adds a window's values from the first to the last, for many positions
// beside each other.
func average(out, vote []float64, kernel int) {
	const step = 1024 // stays in the nearest cache
	half := kernel / 2
	clear(out)
	for from := 0; from < len(out); from += step {
		to := min(from+step, len(out))
		for d := -half; d <= half; d++ {
			lo, hi := max(from, -d), min(to, len(vote)-d)
			if lo < hi {
				simd.AddDoubles(out[lo:hi], vote[lo+d:hi+d])
			}
		}
		for i := from; i < to; i++ {
			out[i] /= float64(kernel)
		}
	}
}

// highest takes three comparisons a position, however wide the window: votes are
// cut into pieces of kernel values, and a window is the end of one and the begin of
// the next (van Herk, "A fast algorithm for local minimum and maximum filters on
// rectangular and octagonal kernels", 1992).
func highest(out, vote []float64, kernel int) {
	n, half := len(vote), kernel/2
	begin := make([]float64, n) // of a piece, up to a position
	for i, v := range vote {
		if begin[i] = v; i%kernel != 0 {
			begin[i] = max(begin[i-1], v)
		}
	}
	end := make([]float64, n) // of a piece, from a position on
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
