package topk

import (
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

func TestAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		x := make([]float64, r.IntN(40))
		for i := range x {
			x[i] = float64(r.IntN(8)) // many ties
		}
		k := r.IntN(45)
		order := make([]int32, len(x))
		for i := range order {
			order[i] = int32(i)
		}
		sort.SliceStable(order, func(i, j int) bool { return x[order[i]] > x[order[j]] })
		want := slices.Clone(order[:min(k, len(x))])
		slices.Sort(want)
		if got := Select(x, k); !slices.Equal(got, want) {
			t.Fatalf("Select(%v, %d) = %v, want %v", x, k, got, want)
		}
	}
}
