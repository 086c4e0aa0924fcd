// Package topk selects the largest scores; hitrate and snapkv share it.
package topk

import (
	"math"
	"math/bits"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/internal/simd"
)

// Select returns the k positions of the largest scores, ascending; of equal
// scores the lower position is taken. It selects, it does not sort.
func Select[F float32 | float64](score []F, k int) []int32 {
	if k >= len(score) {
		k = len(score)
	}
	if k <= 0 {
		return nil
	}
	room := rooms[F]().Get().(*room[F])
	defer rooms[F]().Put(room)
	list := room.likely(score, k)
	if list != nil {
		room.few = slices.Grow(room.few[:0], len(list))[:len(list)]
		for i, j := range list {
			room.few[i] = score[j]
		}
		score = room.few
	}
	cut := kthLargest(score, k)
	keep := notBelow(make([]int32, 0, k+8), score, cut)
	if over := len(keep) - k; over > 0 { // of those that equal the cut the last ones go
		at := len(keep)
		for i := at - 1; i >= 0; i-- {
			if over > 0 && score[keep[i]] == cut {
				over--
				continue
			}
			at--
			keep[at] = keep[i]
		}
		keep = slices.Clone(keep[at:])
	}
	if list != nil {
		for i, j := range keep {
			keep[i] = list[j]
		}
	}
	return keep
}

// room is what a selection needs on its way, kept for the next.
type room[F float32 | float64] struct {
	some, few []F
	list      []int32
}

var narrow, wide = sync.Pool{New: func() any { return new(room[float32]) }}, sync.Pool{New: func() any { return new(room[float64]) }}

func rooms[F float32 | float64]() *sync.Pool {
	if _, ok := any(F(0)).(float32); ok {
		return &narrow
	}
	return &wide
}

// likely leaves most of many scores out at one look: it gives the positions of
// those that are not below some bound, among them the k largest. The bound comes
// from a sample; nil where there is none.
func (r *room[F]) likely(score []F, k int) []int32 {
	const sample = 1024
	n := len(score)
	at := k * sample / max(n, 1) // about the k-th largest of all; three deviations on are nearly surely below
	at += 3*int(math.Sqrt(float64(at))) + 4
	if n < 8*sample || at > sample/2 {
		return nil
	}
	r.some = slices.Grow(r.some[:0], sample)[:sample]
	for i := range r.some {
		r.some[i] = score[i*n/sample]
	}
	r.list = notBelow(slices.Grow(r.list[:0], n*at/sample*5/4), score, kthLargest(r.some, at))
	if len(r.list) < k {
		return nil
	}
	return r.list
}

// notBelow appends to list the positions of scores that are low or more.
func notBelow[F float32 | float64](list []int32, score []F, low F) []int32 {
	if x, ok := any(score).([]float32); ok {
		return simd.NotBelow(list, x, float32(low))
	}
	for j, v := range score {
		if v >= low {
			list = append(list, int32(j))
		}
	}
	return list
}

// kthLargest finds the k-th largest value of x, k from 1.
func kthLargest[F float32 | float64](x []F, k int) F {
	if narrow, ok := any(x).([]float32); ok && simd.Path() != "portable" {
		return F(kthByCounting(narrow, k))
	}
	return quickselect(slices.Clone(x), k)
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

// quickselect finds the k-th largest value of x, k from 1, and reorders x. Where
// pivots keep being bad it sorts.
func quickselect[F float32 | float64](x []F, k int) F {
	lo, hi := 0, len(x)-1
	for rounds := 2*bits.Len(uint(len(x))) + 8; lo < hi; rounds-- {
		if rounds == 0 {
			slices.Sort(x[lo : hi+1])
			slices.Reverse(x[lo : hi+1])
			break
		}
		quarter := (hi - lo) / 4 // not the ends: that is where scores put what must stay
		a, b, c := x[lo+quarter], x[lo+2*quarter], x[hi-quarter]
		pivot := max(min(a, b), min(max(a, b), c)) // median of three
		i, j := lo, hi
		for i <= j {
			for x[i] > pivot {
				i++
			}
			for x[j] < pivot {
				j--
			}
			if i <= j {
				x[i], x[j] = x[j], x[i]
				i, j = i+1, j-1
			}
		}
		switch {
		case k-1 <= j:
			hi = j
		case k-1 >= i:
			lo = i
		default:
			return pivot
		}
	}
	return x[k-1]
}
