// Package topk selects the positions of the largest scores, for hitrate and snapkv,
// which must agree on ties: among equal scores, the lower position is selected.
//
//	topk.Select([]float64{0.1, 0.5, 0.3, 0.5}, 2) // [1 3]
//
// If there are many scores, they are not sorted: a bound estimated from a sample first
// discards most of them. If the estimate is wrong, all scores are examined, so the
// results are always exact.
package topk

import (
	"math"
	"math/bits"
	"slices"
	"sync"
)

// Select returns the positions of the k largest scores in ascending order, or all
// positions if there are no more than k. Among equal scores, it selects the lower
// position. If k is 0 or less, it selects none.
func Select(score []float64, k int) []int32 {
	if k >= len(score) {
		k = len(score)
	}
	if k <= 0 {
		return nil
	}
	b := float64Buffers.Get().(*buffers[float64])
	defer float64Buffers.Put(b)
	reduced := b.findCandidates(score, k)
	if reduced {
		score = b.gather(score, b.positions)
	}
	b.sampled = append(b.sampled[:0], score...) // which quickselect changes
	cut := quickselect(b.sampled, k)
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
			keep = append(keep, int32(j))
			ties--
		}
	}
	if reduced {
		for i, j := range keep {
			keep[i] = b.positions[j]
		}
	}
	return keep
}

// SelectAmong is like [Select], but considers only the given positions, which are
// ascending. If they include the k largest scores, the result is that of Select.
func SelectAmong(score []float64, positions []int32, k int) []int32 {
	b := float64Buffers.Get().(*buffers[float64])
	keep := Select(b.gather(score, positions), k)
	for i, at := range keep {
		keep[i] = positions[at]
	}
	float64Buffers.Put(b)
	return keep
}

// samples is the size of a sample of the scores.
const samples = 1024

// buffers holds the buffers of one selection, which later selections reuse.
type buffers[F float32 | float64] struct {
	sampled, gathered []F
	positions         []int32
}

var (
	float32Buffers = sync.Pool{New: func() any { return new(buffers[float32]) }}
	float64Buffers = sync.Pool{New: func() any { return new(buffers[float64]) }}
)

// sample returns scores at equally spaced positions.
func (b *buffers[F]) sample(score []F) []F {
	b.sampled = slices.Grow(b.sampled[:0], samples)[:samples]
	for i := range b.sampled {
		b.sampled[i] = score[i*len(score)/samples]
	}
	return b.sampled
}

// gather returns the scores at the given positions.
func (b *buffers[F]) gather(score []F, positions []int32) []F {
	b.gathered = slices.Grow(b.gathered[:0], len(positions))[:len(positions)]
	for i, j := range positions {
		b.gathered[i] = score[j]
	}
	return b.gathered
}

// findCandidates sets b.positions to the positions of the scores above a bound, in one
// pass. The bound comes from a sample. If the bound is good, the positions include the
// k largest scores and few others. findCandidates returns false if the bound is not
// good or sampling does not pay off.
func (b *buffers[F]) findCandidates(score []F, k int) bool {
	n := len(score)
	// Rank of the k-th largest score in the sample, plus three standard deviations, so
	// that the bound is almost certainly below it.
	at := k * samples / max(n, 1)
	at += 3*int(math.Sqrt(float64(at))) + 4
	if n < 8*samples || at > samples/2 {
		return false
	}
	low := quickselect(b.sample(score), at)
	b.positions = slices.Grow(b.positions[:0], n*at/samples*5/4)
	for j, v := range score {
		if v >= low {
			b.positions = append(b.positions, int32(j))
		}
	}
	return len(b.positions) >= k
}

// quickselect returns the k-th largest value of x, with k counted from 1, and reorders
// x. After too many bad pivots it sorts.
func quickselect[F float32 | float64](x []F, k int) F {
	lo := 0
	hi := len(x) - 1
	for rounds := 2*bits.Len(uint(len(x))) + 8; lo < hi; rounds-- {
		if rounds == 0 {
			slices.Sort(x[lo : hi+1])
			slices.Reverse(x[lo : hi+1])
			break
		}
		quarter := (hi - lo) / 4 // avoid the ends, where methods put the scores of positions that are always kept
		a := x[lo+quarter]
		b := x[lo+2*quarter]
		c := x[hi-quarter]
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
				i++
				j--
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
