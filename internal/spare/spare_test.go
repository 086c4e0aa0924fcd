package spare

import "testing"

// TestTake: what comes is as long as was asked for, and never in two hands, whatever
// was given back before.
func TestTake(t *testing.T) {
	var s Slices[int]
	held := map[*int]bool{}
	for _, n := range []int{5, 3, 8, 8, 1, 20} {
		a, b := s.Take(n), s.Take(n)
		if len(a) != n || len(b) != n || &a[0] == &b[0] {
			t.Fatalf("took %d and %d values of %d, the same: %v", len(a), len(b), n, &a[0] == &b[0])
		}
		held[&b[0]] = true
		s.Give(a)
		if c := s.Take(n); held[&c[0]] || len(c) != n {
			t.Fatalf("%d values that somebody holds", len(c))
		}
	}
	if x := s.Take(0); len(x) != 0 {
		t.Errorf("took %d values of none", len(x))
	}
}
