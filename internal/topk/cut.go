package topk

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// Cut describes the k largest scores without listing them: the scores above Value, and
// the scores equal to Value up to position Last.
type Cut struct {
	Value float32
	Last  int32
	Ties  bool // there is a score equal to Value at a position after Last
}

// Keeps reports whether score v at position j is one of the k largest.
func (c Cut) Keeps(v float32, j int32) bool { return v > c.Value || v == c.Value && j <= c.Last }

// CutOf returns the cut for the k largest scores, the same scores that [Select] lists.
func CutOf(score []float32, k int) Cut {
	switch {
	case k <= 0:
		return Cut{Value: float32(math.Inf(1)), Last: -1, Ties: true}
	case k >= len(score):
		return Cut{Value: float32(math.Inf(-1)), Last: int32(len(score))}
	}
	c := Cut{Value: kthOf(score, k), Last: int32(len(score))}
	above := simd.CountNotBelow(score, math.Nextafter32(c.Value, float32(math.Inf(1))))
	if ties := k - above; ties < simd.CountNotBelow(score, c.Value)-above {
		c.Ties = true
		for j, v := range score {
			if v == c.Value {
				if ties--; ties == 0 {
					c.Last = int32(j)
					break
				}
			}
		}
	}
	return c
}

// kthOf returns the k-th largest score. If there are many scores, a sample gives a
// lower and an upper bound for it, and only the scores between these bounds are
// searched.
func kthOf(score []float32, k int) float32 {
	n := len(score)
	at := k * samples / n
	off := 3*int(math.Sqrt(float64(at)*(1-float64(at)/samples))) + 4 // an exact product
	if n < 8*samples || at-off < 1 || at+off > samples {
		return kthLargest(score, k)
	}
	b := float32Buffers.Get().(*buffers[float32])
	defer float32Buffers.Put(b)
	sample := b.sample(score)
	lo, hi := kthLargest(sample, at+off), kthLargest(sample, at-off)
	above := simd.CountNotBelow(score, hi)
	b.positions = simd.Between(b.positions[:0], score, lo, hi)
	if k <= above || k > above+len(b.positions) { // the bounds are wrong
		return kthLargest(score, k)
	}
	return kthLargest(b.gather(score, b.positions), k-above)
}

// kthLargest returns the k-th largest value of x, with k counted from 1.
func kthLargest(x []float32, k int) float32 {
	if simd.Path() == "portable" {
		return quickselect(slices.Clone(x), k)
	}
	return kthByCounting(x, k)
}

// kthByCounting bisects the float32 numbers up to the largest of x. Counting with
// vector instructions is faster than quickselect, whose comparisons a processor cannot
// predict.
func kthByCounting(x []float32, k int) float32 {
	lo, hi := ordered(float32(math.Inf(-1))), ordered(simd.Max(x))
	for lo < hi { // at least k values are >= lo; fewer than k are > hi
		mid := lo + (hi-lo+1)/2
		if simd.CountNotBelow(x, unordered(mid)) >= k {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return unordered(lo)
}

// ordered maps float32 values to integers and preserves their order.
func ordered(f float32) uint32 {
	if u := math.Float32bits(f); u>>31 == 0 {
		return u | 1<<31
	} else {
		return ^u
	}
}

// unordered is the inverse of ordered.
func unordered(u uint32) float32 {
	if u>>31 != 0 {
		return math.Float32frombits(u &^ (1 << 31))
	}
	return math.Float32frombits(^u)
}
