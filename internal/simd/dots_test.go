package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestDots compares products of bfloat16 pairs with a loop in float64.
func TestDots(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		if !HasDotBF16() {
			t.Skip("SKIPPED: this set has no such instructions")
		}
		r := rand.New(rand.NewPCG(9, 10))
		for _, rows := range []int{1, 3, 14, 22, 29} {
			for _, cols := range []int{5, 32} {
				k := 19         // words
				if rows == 22 { // long enough for the kernels that prefetch C
					k = 130
				}
				tolerance := 2e-5 * float64(k) / 19
				if HasDotBF16() {
					a, b := make([]uint16, rows*2*k), make([]uint16, k*Width*2)
					for _, x := range [][]uint16{a, b} {
						for i := range x {
							x[i] = uint16(math.Float32bits(float32(r.NormFloat64())) >> 16)
						}
					}
					c := random(rows*Width, r)
					was := append([]float32(nil), c...)
					DotBF16(Mat[float32]{c, rows, cols, Width}, Dense(a, rows, 2*k), b, true)
					for i := range rows {
						for j := range Width {
							want := float64(was[i*Width+j])
							for x := 0; x < 2*k && j < cols; x++ {
								want += float64(bf16(a[i*2*k+x])) * float64(bf16(b[(x/2*Width+j)*2+x%2]))
							}
							if got := float64(c[i*Width+j]); math.Abs(got-want) > tolerance {
								t.Fatalf("bfloat16, %d rows, %d columns: C[%d,%d] = %g, want %g", rows, cols, i, j, got, want)
							}
						}
					}
				}
			}
		}
	})
}

func TestFeaturesNameNarrowProducts(t *testing.T) {
	before := reason
	reason = ""
	defer func() { reason = before }()
	onEachPath(t, func(t *testing.T) {
		want := Path() + " kernels"
		if HasDotBF16() {
			want += ", products of bfloat16"
		}
		if got := Features(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	})
}

func TestRounding(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(11, 10))
		x := random(101, r)
		x[0] = math.Float32frombits(0x3f808000) // halfway: rounds to even
		x[1] = math.Float32frombits(0x3f818000)
		half := make([]uint16, 101)
		RoundBF16(half, x)
		if half[0] != 0x3f80 || half[1] != 0x3f82 {
			t.Errorf("halfway values become %04x and %04x, want 3f80 and 3f82", half[0], half[1])
		}
		for i, v := range x {
			if e := math.Abs(float64(bf16(half[i]) - v)); e > math.Abs(float64(v))/256 {
				t.Fatalf("%g rounds to %g, want an error below 1/256", v, bf16(half[i]))
			}
		}
	})
}
