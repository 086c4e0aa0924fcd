package spare

import "testing"

// TestTake checks that slices have the length asked for and are never handed out
// twice, whatever was given back before.
func TestTake(t *testing.T) {
	var s Slices[int]
	held := map[*int]bool{}
	for _, n := range []int{5, 3, 8, 8, 1, 20} {
		a, b := s.Take(n), s.Take(n)
		if len(a) != n || len(b) != n || &a[0] == &b[0] {
			t.Fatalf("took %d and %d values, want %d; same memory: %v", len(a), len(b), n, &a[0] == &b[0])
		}
		held[&b[0]] = true
		s.Give(a)
		if c := s.Take(n); held[&c[0]] || len(c) != n {
			t.Fatalf("took %d values, want %d that nobody else holds", len(c), n)
		}
	}
	if x := s.Take(0); len(x) != 0 {
		t.Errorf("took %d values, want 0", len(x))
	}
}
