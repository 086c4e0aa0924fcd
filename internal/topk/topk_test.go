package topk

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"

	"github.com/attnscope/attnscope/internal/simd"
)

func TestAgainstSorting(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 560 {
		n := 40
		distinct := 8     // many ties
		if round >= 500 { // enough scores for a sample
			n = 20000
			distinct = []int{3, 500, 1 << 30}[round%3]
		}
		x := make([]float64, r.IntN(n))
		for i := range x {
			x[i] = float64(r.IntN(distinct))
		}
		if round%2 == 0 {
			slices.Sort(x)
		}
		for i := 0; round%5 == 0 && i < 1024 && len(x) > 1024; i++ { // a sample unlike the rest
			x[i*len(x)/1024] += 1 << 31
		}
		k := r.IntN(len(x) + 5)
		if round%4 == 0 {
			k /= 20
		}
		order := make([]int32, len(x))
		for i := range order {
			order[i] = int32(i)
		}
		sort.SliceStable(order, func(i, j int) bool { return x[order[i]] > x[order[j]] })
		want := slices.Clone(order[:min(k, len(x))])
		slices.Sort(want)
		if got := Select(x, k); !slices.Equal(got, want) {
			t.Fatalf("Select(%d scores, %d) = %.200v, want %.200v of %.200v", len(x), k, got, want, x)
		}
		if among := SelectAmong(x, Select(x, k+r.IntN(100)), k); !slices.Equal(among, want) {
			t.Fatalf("SelectAmong a superset of the %d largest of %d scores = %.200v, want %.200v", k, len(x), among, want)
		}
		narrow := make([]float32, len(x))
		for i, v := range x {
			narrow[i] = float32(v)
		}
		cut, kept := CutOf(narrow, k), []int32(nil)
		for j, v := range narrow {
			if cut.Keeps(v, int32(j)) {
				kept = append(kept, int32(j))
			}
		}
		if !slices.Equal(kept, Select(widen(narrow), k)) {
			t.Fatalf("the cut %+v of the %d largest of %d float32 keeps %.200v", cut, k, len(x), kept)
		}
		if whole := simd.CountNotBelow(narrow, cut.Value); !cut.Ties && whole != len(kept) {
			t.Fatalf("the cut %+v without ties keeps %d, want all %d values that are at least Value", cut, len(kept), whole)
		}
	}
}

func widen(x []float32) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v)
	}
	return out
}

// TestQuickselectOnPatterns covers orders that make bad pivots, up to the fallback to
// sorting.
func TestQuickselectOnPatterns(t *testing.T) {
	const n = 40000
	patterns := map[string]func(i int) float64{
		"rising":  func(i int) float64 { return float64(i) },
		"falling": func(i int) float64 { return float64(n - i) },
		"alike":   func(int) float64 { return 1 },
		"first ones always stay": func(i int) float64 {
			if i < 4 {
				return math.Inf(1)
			}
			return float64(i)
		},
		"there and back":         func(i int) float64 { return float64(min(i, n-i)) },
		"back and there":         func(i int) float64 { return float64(max(i, n-i)) },
		"two values":             func(i int) float64 { return float64(i % 2) },
		"rising, then its start": func(i int) float64 { return float64(i % (n / 3)) },
	}
	for name, f := range patterns {
		x := make([]float64, n)
		for i := range x {
			x[i] = f(i)
		}
		sorted := slices.Clone(x)
		slices.Sort(sorted)
		for _, k := range []int{1, 2, 100, n / 2, n - 1, n} {
			if got := quickselect(slices.Clone(x), k); got != sorted[n-k] {
				t.Errorf("%s: the %d-th largest is %g, want %g", name, k, got, sorted[n-k])
			}
		}
	}
}
