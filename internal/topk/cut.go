package topk

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// Cut says which scores are the k largest without listing them: those above Value,
// and those equal to it up to position Last.
type Cut struct {
	Value float32
	Last  int32
	Ties  bool // some that equal Value lie behind Last
}

// Keeps says whether a score at a position is among them.
func (c Cut) Keeps(v float32, j int32) bool { return v > c.Value || v == c.Value && j <= c.Last }

// CutOf finds the k largest scores: those that [Select] lists.
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

// kthOf is the k-th largest score. Of many scores a sample tells between which two it
// lies, and only those between are looked at again.
func kthOf(score []float32, k int) float32 {
	n := len(score)
	at := k * samples / n
	off := 3*int(math.Sqrt(float64(at)*(1-float64(at)/samples))) + 4
	if n < 8*samples || at-off < 1 || at+off > samples {
		return kthLargest(score, k)
	}
	room := narrow.Get().(*room[float32])
	defer narrow.Put(room)
	some := room.sample(score)
	lo, hi := kthLargest(some, at+off), kthLargest(some, at-off)
	above := simd.CountNotBelow(score, hi)
	room.list = simd.Between(room.list[:0], score, lo, hi)
	if k <= above || k > above+len(room.list) { // the sample was no good
		return kthLargest(score, k)
	}
	return kthLargest(room.picked(score), k-above)
}

// kthLargest finds the k-th largest value of x, k from 1.
func kthLargest(x []float32, k int) float32 {
	if simd.Path() == "portable" {
		return quickselect(slices.Clone(x), k)
	}
	return kthByCounting(x, k)
}

// kthByCounting halves the range of float32 between the least and the largest of x
// until one is left: vectors count faster than a processor guesses which way each
// comparison of a quickselect goes.
func kthByCounting(x []float32, k int) float32 {
	lo, hi := ordered(float32(math.Inf(-1))), ordered(simd.Max(x))
	for lo < hi { // as many as k are lo or more, fewer are above hi
		mid := lo + (hi-lo+1)/2
		if simd.CountNotBelow(x, unordered(mid)) >= k {
			lo = mid
		} else {
			hi = mid - 1
		}
	}
	return unordered(lo)
}

// ordered maps float32 to integers of the same order; unordered is its inverse.
func ordered(f float32) uint32 {
	if u := math.Float32bits(f); u>>31 == 0 {
		return u | 1<<31
	} else {
		return ^u
	}
}

func unordered(u uint32) float32 {
	if u>>31 != 0 {
		return math.Float32frombits(u &^ (1 << 31))
	}
	return math.Float32frombits(^u)
}
