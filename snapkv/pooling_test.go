package snapkv

import (
	"math"
	"math/rand/v2"
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
		pooling Pooling
	}{{2, "avgpool"}, {0, "avgpool"}, {3, "median"}} {
		if _, err := Pool(vote, bad.kernel, bad.pooling); err == nil {
			t.Errorf("kernel %d, pooling %q: no error", bad.kernel, bad.pooling)
		}
		if PoolNarrow(make([]float32, 5), make([]float32, 5), bad.kernel, bad.pooling) == nil {
			t.Errorf("kernel %d, pooling %q: no error in float32", bad.kernel, bad.pooling)
		}
	}
}

// TestPoolAgainstLoop: bit for bit what adding up, or comparing, each window from its
// first position to its last gives.
func TestPoolAgainstLoop(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 9))
	for _, n := range []int{0, 1, 2, 7, 20, 100, 1023, 1040, 2100} {
		vote := make([]float64, n)
		for i := range vote {
			vote[i] = r.ExpFloat64()
		}
		for _, kernel := range []int{1, 3, 5, 7, 21, 63, 2049} {
			sum, top := make([]float64, n), make([]float64, n)
			for i := range vote {
				top[i] = math.Inf(-1)
				for _, v := range vote[max(0, i-kernel/2):min(n, i+kernel/2+1)] {
					sum[i] += v
					top[i] = max(top[i], v)
				}
				sum[i] /= float64(kernel)
			}
			for pooling, want := range map[Pooling][]float64{"avgpool": sum, "maxpool": top} {
				got, err := Pool(vote, kernel, pooling)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%d votes, kernel %d, %s: %.100v (%v), want %.100v", n, kernel, pooling, got, err, want)
				}
				half, short := make([]float32, n), make([]float32, n)
				for i, v := range vote {
					short[i] = float32(v)
				}
				err = PoolNarrow(half, short, kernel, pooling)
				for i, w := range want {
					if err != nil || math.Abs(float64(half[i])-w) > 1.2e-7*w {
						t.Fatalf("%d votes in float32, kernel %d, %s: %d is %g (%v), want %g", n, kernel, pooling, i, half[i], err, w)
					}
				}
			}
		}
	}
}
