// Package snapkv selects what a compressed KV cache keeps: the votes of the
// observation window, their pooling, and the positions of the highest ones, as
// in Li et al., "SnapKV", arXiv:2404.14469, listing 1.
package snapkv

import (
	"fmt"
	"math"
)

// Pool pools votes with a window of kernel positions, stride 1: avgpool divides
// by kernel everywhere, so positions near the borders are lowered; maxpool does
// not see past them. An even kernel has no middle and is an error; kernel 1
// changes nothing.
func Pool(vote []float64, kernel int, pooling string) ([]float64, error) {
	if kernel < 1 || kernel%2 == 0 {
		return nil, fmt.Errorf("kernel %d: want an odd number", kernel)
	}
	out, half := make([]float64, len(vote)), kernel/2
	for i := range vote {
		lo, hi := max(0, i-half), min(len(vote), i+half+1)
		switch pooling {
		case "avgpool":
			for _, v := range vote[lo:hi] {
				out[i] += v
			}
			out[i] /= float64(kernel)
		case "maxpool":
			out[i] = math.Inf(-1)
			for _, v := range vote[lo:hi] {
				out[i] = max(out[i], v)
			}
		default:
			return nil, fmt.Errorf("pooling %q: want avgpool or maxpool", pooling)
		}
	}
	return out, nil
}
