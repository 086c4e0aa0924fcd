package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestVectorsAgainstFloat64 compares each operation with a loop in float64, at
// lengths around the length of a register, and checks for writes past the end.
func TestVectorsAgainstFloat64(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		for _, n := range []int{1, 15, 16, 17, 31, 48, 100, 577} {
			x, y, was := random(n, r), random(n, r), random(n+1, r)
			check := func(name string, got []float32, eps float64, want func(i int) float64) {
				t.Helper()
				for i := range n {
					if w := want(i); math.Abs(float64(got[i])-w) > eps*(1+math.Abs(w)) {
						t.Fatalf("%s of %d: element %d is %g, want %g", name, n, i, got[i], w)
					}
				}
				if got[n] != was[n] {
					t.Fatalf("%s of %d: wrote past the end", name, n)
				}
			}
			f := func(op func(dst []float32)) []float32 {
				dst := slices.Clone(was)
				op(dst[:n])
				return dst
			}
			check("Scale", f(func(d []float32) { Scale(d, 1.7) }), 1e-6, func(i int) float64 {
				return float64(was[i]) * float64(float32(1.7))
			})
			check("AddScaled", f(func(d []float32) { AddScaled(d, x, 0.3) }), 1e-6, func(i int) float64 {
				return float64(was[i]) + float64(float32(0.3))*float64(x[i])
			})
			check("MulScaled", f(func(d []float32) { MulScaled(d, x, y, 0.3) }), 1e-6, func(i int) float64 {
				return float64(x[i]) * float64(float32(0.3)) * float64(y[i])
			})
			x[0] = -120
			x[n-1] = 90
			check("SiLUMul", f(func(d []float32) { SiLUMul(d, x, y) }), 1e-6, func(i int) float64 {
				g := float64(x[i])
				return g / (1 + math.Exp(-g)) * float64(y[i])
			})
			const rows = 5
			stride := n + 3
			m := random(rows*stride, r)
			check("SumRows", f(func(d []float32) { SumRows(d, m, stride, rows) }), 1e-6, func(i int) (s float64) {
				for k := range rows {
					s += float64(m[k*stride+i])
				}
				return s
			})
			sum := 0.0
			for _, v := range y {
				sum += float64(v) * float64(v)
			}
			if got := SumSquares(y); math.Abs(got-sum) > 1e-12*sum {
				t.Fatalf("SumSquares of %d: %g, want %g", n, got, sum)
			}
			wide, sums := make([]float64, n+1), make([]float64, n+1)
			for i, v := range y {
				wide[i] = float64(0.1 * float64(i))
				sums[i] = wide[i] + float64(v)
			}
			if AddWide(wide[:n], y); !slices.Equal(wide, sums) {
				t.Fatalf("AddWide of %d: %v, want %v", n, wide, sums)
			}
			w := make([]float32, n)
			var total, place, log float64
			for i, v := range y {
				if i%3 > 0 { // some are 0, some tiny
					w[i] = float32(math.Exp(20 * float64(-abs(v))))
					total += float64(w[i])
					place += float64(w[i]) * float64(i)
					log += float64(w[i]) * math.Log2(float64(w[i]))
				}
			}
			a, b, c := RowSums(w)
			near := func(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance }
			if !near(a, total, 1e-12*total) || !near(b, place, 1e-12*place) || !near(c, log, 1e-6*(1+total-log)) {
				t.Fatalf("RowSums of %d: %g, %g, %g, want %g, %g, %g", n, a, b, c, total, place, log)
			}
			fixed, want := make([]int64, n+1), make([]int64, n+1)
			for i, v := range y {
				fixed[i], want[i] = int64(i)<<40, int64(i)<<40+int64(float32(v*FixedOne))
			}
			if AddFixed(fixed, y); !slices.Equal(fixed, want) {
				t.Fatalf("AddFixed of %d: %v, want %v", n, fixed, want)
			}
		}
	})
}

func TestVectorsLetNaNThrough(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		nan := float32(math.NaN())
		x, one := make([]float32, 32), make([]float32, 32)
		for i := range one {
			one[i] = 1
		}
		x[3], x[20] = nan, nan
		y := slices.Clone(x)
		if s := ExpSum(y, 0); s == s || y[3] == y[3] || y[0] != 1 {
			t.Errorf("exp of NaN is %g, of 0 %g, the sum %g", y[3], y[0], s)
		}
		if SiLUMul(y, x, one); y[20] == y[20] || y[0] != 0 {
			t.Errorf("silu of NaN is %g, of 0 %g", y[20], y[0])
		}
	})
}

func abs(v float32) float32 { return max(v, -v) }
