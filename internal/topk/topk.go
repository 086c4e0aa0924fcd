// Package topk selects the largest scores; hitrate and snapkv share it.
package topk

import (
	"math"
	"math/bits"
	"slices"
	"sync"
)

// Select returns the k positions of the largest scores, ascending; of equal
// scores the lower position is taken. It selects, it does not sort.
func Select(score []float64, k int) []int32 {
	if k >= len(score) {
		k = len(score)
	}
	if k <= 0 {
		return nil
	}
	room := wide.Get().(*room[float64])
	defer wide.Put(room)
	some := room.likely(score, k)
	if some {
		score = room.picked(score)
	}
	cut := quickselect(slices.Clone(score), k)
	ties := k
	for _, v := range score {
		if v > cut {
			ties--
		}
	}
	keep := make([]int32, 0, k)
	for j, v := range score {
		if v > cut {
			keep = append(keep, int32(j))
		} else if v == cut && ties > 0 {
			keep, ties = append(keep, int32(j)), ties-1
		}
	}
	if some {
		for i, j := range keep {
			keep[i] = room.list[j]
		}
	}
	return keep
}

// samples is how many of many scores are looked at first.
const samples = 1024

// room is what a selection needs on its way, kept for the next.
type room[F float32 | float64] struct {
	some, few []F
	list      []int32
}

var narrow, wide = sync.Pool{New: func() any { return new(room[float32]) }}, sync.Pool{New: func() any { return new(room[float64]) }}

// sample takes scores at even distances.
func (r *room[F]) sample(score []F) []F {
	r.some = slices.Grow(r.some[:0], samples)[:samples]
	for i := range r.some {
		r.some[i] = score[i*len(score)/samples]
	}
	return r.some
}

// picked are the scores at the positions of list.
func (r *room[F]) picked(score []F) []F {
	r.few = slices.Grow(r.few[:0], len(r.list))[:len(r.list)]
	for i, j := range r.list {
		r.few[i] = score[j]
	}
	return r.few
}

// likely leaves most of many scores out at one look: it lists the positions of those
// that are not below some bound, among them the k largest. The bound comes from a
// sample; false where there is none.
func (r *room[F]) likely(score []F, k int) bool {
	n := len(score)
	at := k * samples / max(n, 1) // about the k-th largest of all; three deviations on are nearly surely below
	at += 3*int(math.Sqrt(float64(at))) + 4
	if n < 8*samples || at > samples/2 {
		return false
	}
	low := quickselect(r.sample(score), at)
	r.list = slices.Grow(r.list[:0], n*at/samples*5/4)
	for j, v := range score {
		if v >= low {
			r.list = append(r.list, int32(j))
		}
	}
	return len(r.list) >= k
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
