package snapkv

import (
	"slices"
	"testing"
)

func TestPoolEdges(t *testing.T) {
	vote := []float64{3, 0, 0, 6, 0}
	avg, err := Pool(vote, 3, "avgpool")
	if want := []float64{1, 1, 2, 2, 2}; err != nil || !slices.Equal(avg, want) {
		t.Errorf("avgpool %v (%v), want %v: the border divides by the full kernel", avg, err, want)
	}
	top, err := Pool(vote, 3, "maxpool")
	if want := []float64{3, 3, 6, 6, 6}; err != nil || !slices.Equal(top, want) {
		t.Errorf("maxpool %v (%v), want %v", top, err, want)
	}
	for _, bad := range []struct {
		kernel  int
		pooling string
	}{{2, "avgpool"}, {0, "avgpool"}, {3, "median"}} {
		if _, err := Pool(vote, bad.kernel, bad.pooling); err == nil {
			t.Errorf("kernel %d, pooling %q: no error", bad.kernel, bad.pooling)
		}
	}
}
