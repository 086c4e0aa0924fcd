package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestPlanes joins values from their bytes, at lengths around the length of a
// register, and checks for writes past the end: every half-precision value and random
// float32.
func TestPlanes(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 9))
		for _, n := range []int{0, 1, 15, 16, 17, 100, 1 << 16} {
			wide, half := make([]byte, 4*n), make([]byte, 2*n)
			values := make([]uint32, n)
			for i := range n {
				values[i] = r.Uint32()
				for p := range 4 {
					wide[p*n+i] = byte(values[i] >> (8 * p))
				}
				half[i], half[n+i] = byte(i), byte(i>>8)
			}
			got := make([]float32, n+1)
			got[n] = 7
			JoinPlanes(got[:n], wide)
			for i, u := range values {
				if math.Float32bits(got[i]) != u {
					t.Fatalf("float32 %d of %d is %08x, want %08x", i, n, math.Float32bits(got[i]), u)
				}
			}
			JoinHalves(got[:n], half)
			for i := range n {
				sign, e, f := 1.0, i>>10&31, float64(i&1023)
				if i>>15 != 0 {
					sign = -1
				}
				want := sign * math.Ldexp(1024+f, e-25)
				switch {
				case e == 0:
					want = sign * math.Ldexp(f, -24)
				case e == 31 && f == 0:
					want = math.Inf(int(sign))
				case e == 31:
					want = math.NaN()
				}
				if g := float64(got[i]); g != want && !(math.IsNaN(g) && math.IsNaN(want)) {
					t.Fatalf("half %04x of %d is %g, want %g", i, n, g, want)
				}
			}
			if got[n] != 7 {
				t.Fatalf("%d values: wrote past the end", n)
			}
		}
	})
}

// TestPackPanel compares panels with the matrix element by element, for sizes around
// the squares of eight that the kernel transposes, a stride above the number of
// columns, and a panel that ends past the last row.
func TestPackPanel(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(4, 9))
		for _, k := range []int{1, 7, 8, 9, 24, 64, 80} {
			for _, n := range []int{1, 4, 7, 8, 9, 31, 32, 40, 64} {
				ldb := k + 3
				b := random((n-1)*ldb+k, r)
				for n0 := 0; n0 < n; n0 += Width {
					panel := random(k*Width+1, r)
					last := panel[k*Width]
					PackPanel(panel, Mat[float32]{b, n, k, ldb}, n0)
					for x := range k {
						for c := range Width {
							want := float32(0)
							if n0+c < n {
								want = b[(n0+c)*ldb+x]
							}
							if panel[x*Width+c] != want {
								t.Fatalf("k %d, %d rows, from %d: [%d][%d] is %g, want %g", k, n, n0, x, c, panel[x*Width+c], want)
							}
						}
					}
					if panel[k*Width] != last {
						t.Fatalf("k %d, %d rows: wrote past the end", k, n)
					}
				}
			}
		}
	})
}

func TestComparisons(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 9))
		for _, n := range []int{0, 1, 15, 16, 17, 1023, 1024, 1025, 3000} {
			x := make([]float32, n)
			for i := range x {
				x[i] = float32(r.IntN(50))
			}
			y := random(n, r)
			for i := range y {
				y[i] = 20 + 10*y[i]
			}
			if n > 1 {
				x[n/2] = float32(math.NaN())
			}
			for _, bound := range []float32{-1, 25, 49, 50} {
				want := []int32{77}
				for i, v := range x {
					if v >= bound {
						want = append(want, int32(i))
					}
				}
				if got := Between([]int32{77}, x, bound, float32(math.Inf(1))); !slices.Equal(got, want) {
					t.Fatalf("%d values, %g: %v, want %v", n, bound, got, want)
				}
				some := []int32{77}
				for i, v := range x {
					if v >= bound && v < bound+10 {
						some = append(some, int32(i))
					}
				}
				if got := Between([]int32{77}, x, bound, bound+10); !slices.Equal(got, some) {
					t.Fatalf("%d values from %g: %v, want %v", n, bound, got, some)
				}
				both, sum := 0, 0.0
				for i, v := range x {
					if v >= bound && y[i] >= 20 {
						both++
					}
					if v >= bound {
						sum += float64(y[i])
					}
				}
				if got := CountBoth(x, y, bound, 20); got != both {
					t.Fatalf("%d values, %g: both at %d, want %d", n, bound, got, both)
				}
				if got := SumWhere(x, y, bound); math.Abs(got-sum) > 1e-12*sum {
					t.Fatalf("%d values, %g: sum %g, want %g", n, bound, got, sum)
				}
				if got := CountNotBelow(x, bound); got != len(want)-1 {
					t.Fatalf("%d values, %g: counted %d, want %d", n, bound, got, len(want)-1)
				}
			}
		}
	})
}

func TestDoubles(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(6, 9))
		for _, n := range []int{0, 1, 15, 16, 17, 100} {
			dst, x, want := make([]float64, n+1), make([]float64, n), make([]float64, n+1)
			dst[n], want[n] = 7, 7
			for i := range n {
				dst[i], x[i] = r.NormFloat64(), r.NormFloat64()
				want[i] = dst[i] + x[i]
			}
			if AddDoubles(dst[:n], x); !slices.Equal(dst, want) {
				t.Fatalf("%d values: %v, want %v", n, dst, want)
			}
			narrow := make([]float32, n+1)
			narrow[n] = 7
			NarrowScaled(narrow[:n], x, 0.3)
			for i := range n {
				if narrow[i] != float32(x[i]*0.3) {
					t.Fatalf("%d values: %d is %g, want %g", n, i, narrow[i], float32(x[i]*0.3))
				}
			}
			if narrow[n] != 7 {
				t.Fatalf("%d values: wrote past the end", n)
			}
		}
	})
}
