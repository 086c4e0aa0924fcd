package parallel

import "testing"

func TestForDoesEveryPieceOnceAndWaits(t *testing.T) {
	for _, n := range []int{0, 1, 40} {
		done := make([]int, n)
		For(n, func(i int) { done[i]++ })
		for i, times := range done {
			if times != 1 {
				t.Errorf("of %d pieces, piece %d ran %d times", n, i, times)
			}
		}
	}
}
