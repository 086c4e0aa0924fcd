// Package topk selects the largest scores; hitrate and snapkv share it.
package topk

import (
	"math"
	"slices"
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
	list := likely(score, k)
	if list != nil {
		few := make([]F, len(list))
		for i, j := range list {
			few[i] = score[j]
		}
		score = few
	}
	cut := kthLargest(slices.Clone(score), k)
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
	if list != nil {
		for i, j := range keep {
			keep[i] = list[j]
		}
	}
	return keep
}

// likely leaves most of many scores out at one look: it gives the positions of
// those that are not below some bound, among them the k largest. The bound comes
// from a sample; nil where there is none.
func likely[F float32 | float64](score []F, k int) []int32 {
	const sample = 1024
	n := len(score)
	at := k * sample / max(n, 1) // about the k-th largest of all; three deviations on are nearly surely below
	at += 3*int(math.Sqrt(float64(at))) + 4
	if n < 8*sample || at > sample/2 {
		return nil
	}
	some := make([]F, sample)
	for i := range some {
		some[i] = score[i*n/sample]
	}
	low, list := kthLargest(some, at), make([]int32, 0, n*at/sample*5/4)
	for j, v := range score {
		if v >= low {
			list = append(list, int32(j))
		}
	}
	if len(list) < k {
		return nil
	}
	return list
}

// kthLargest finds the k-th largest value of x, k from 1, and reorders x.
func kthLargest[F float32 | float64](x []F, k int) F {
	lo, hi := 0, len(x)-1
	for lo < hi {
		mid := lo + (hi-lo)/2
		a, b, c := x[lo], x[mid], x[hi]
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
	return x[lo]
}
