// Package topk selects the largest scores; hitrate and snapkv share it.
package topk

// Select returns the k positions of the largest scores, ascending; of equal
// scores the lower position is taken. It selects, it does not sort.
func Select(score []float64, k int) []int32 {
	if k >= len(score) {
		k = len(score)
	}
	if k <= 0 {
		return nil
	}
	cut := kthLargest(append([]float64(nil), score...), k)
	above := 0
	for _, v := range score {
		if v > cut {
			above++
		}
	}
	keep := make([]int32, 0, k)
	ties := k - above
	for j, v := range score {
		if v > cut {
			keep = append(keep, int32(j))
		} else if v == cut && ties > 0 {
			keep, ties = append(keep, int32(j)), ties-1
		}
	}
	return keep
}

// kthLargest finds the k-th largest value of x, k from 1, and reorders x.
func kthLargest(x []float64, k int) float64 {
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
