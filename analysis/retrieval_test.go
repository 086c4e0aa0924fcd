package analysis

import (
	"math"
	"testing"
)

// TestRetrieval by hand: of the reply 7 8 5 9 the tokens 7, 8 and 5 stand in the
// prompt. Seven is copied from position 1, eight is looked for at a seven, five
// lies in the reply itself.
func TestRetrieval(t *testing.T) {
	prompt, reply := []int32{5, 7, 8, 7}, []int32{7, 8, 5, 9}
	for _, c := range []struct {
		name string
		best []int
		want float64
	}{
		{"one of three", []int{1, 3, 4, 0}, 1. / 3},
		{"all", []int{3, 2, 0, 0}, 1},
		{"a row that was not recorded is not counted", []int{-1, 2, 1, 0}, 1. / 2},
		{"none recorded", []int{-1, -1, -1, -1}, math.NaN()},
	} {
		if got := NewCopying(prompt, reply).Score(c.best); math.Abs(got-c.want) > 1e-12 || math.IsNaN(got) != math.IsNaN(c.want) {
			t.Errorf("%s: %g, want %g", c.name, got, c.want)
		}
	}
	if got := NewCopying(prompt, []int32{1}).Score([]int{0}); !math.IsNaN(got) {
		t.Errorf("nothing to copy: %g", got)
	}
}
