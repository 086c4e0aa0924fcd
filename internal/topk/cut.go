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
	const sample = 1024
	n := len(score)
	at := k * sample / n
	off := 3*int(math.Sqrt(float64(at)*(1-float64(at)/sample))) + 4
	if n < 8*sample || at-off < 1 || at+off > sample {
		return kthLargest(score, k)
	}
	room := narrow.Get().(*room[float32])
	defer narrow.Put(room)
	room.some = slices.Grow(room.some[:0], sample)[:sample]
	for i := range room.some {
		room.some[i] = score[i*n/sample]
	}
	lo, hi := kthLargest(room.some, at+off), kthLargest(room.some, at-off)
	k -= simd.CountNotBelow(score, hi)
	room.list = simd.Between(room.list[:0], score, lo, hi)
	if k <= 0 || k > len(room.list) { // the sample was no good
		return kthLargest(score, k+simd.CountNotBelow(score, hi))
	}
	room.few = slices.Grow(room.few[:0], len(room.list))[:len(room.list)]
	for i, j := range room.list {
		room.few[i] = score[j]
	}
	return kthLargest(room.few, k)
}
