package simd

import (
	"math"
	"math/rand/v2"
	"testing"
)

// onlyPath, if it is not empty, names the only set that onEachPath uses.
var onlyPath string

// onEachPath runs f with every instruction set that this machine has.
func onEachPath(t *testing.T, f func(t *testing.T)) {
	was := active
	defer func() { active = was }()
	list := paths()
	if onlyPath != "" {
		list = []string{onlyPath}
	}
	for _, name := range list {
		active = byName(name)
		t.Run(name, f)
	}
}

func random(n int, r *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

func TestGemmTAgainstFloat64(t *testing.T) {
	shapes := [][3]int{ // m, n, k
		{1, 1, 1}, {1, 33, 7}, {13, 31, 5}, {14, 32, 64}, {15, 65, 67}, {28, 96, 3}, {7, 40, 130}, {43, 70, 11},
	}
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			lda := k + 3
			ldb := k + 1
			ldc := n + 5
			a := random(m*lda, r)
			b := random(n*ldb, r)
			c := random(m*ldc, r)
			keep := append([]float32(nil), c...)
			GemmT(Mat[float32]{c, m, n, ldc}, Mat[float32]{a, m, k, lda}, Mat[float32]{b, n, k, ldb})
			for i := range m {
				for j := range ldc {
					if j >= n {
						if i*ldc+j < len(c) && c[i*ldc+j] != keep[i*ldc+j] {
							t.Fatalf("%v: wrote past column %d of row %d", s, n, i)
						}
						continue
					}
					want, size := 0.0, 0.0
					for x := range k {
						p := float64(a[i*lda+x]) * float64(b[j*ldb+x])
						want += p
						size += math.Abs(p)
					}
					if got := float64(c[i*ldc+j]); math.Abs(got-want) > 1e-6*(size+1) {
						t.Fatalf("%v: C[%d,%d] = %g, want %g", s, i, j, got, want)
					}
				}
			}
		}
	})
}

func TestMulPanelAccumulatesAndWidens(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		for _, rows := range []int{1, 2, 3, 5, 6, 14, 22, 29} {
			for _, cols := range []int{1, 16, 31, 32} {
				k := 19
				if rows == 22 { // long enough for the kernels that prefetch C
					k = 130
				}
				tolerance := 1e-5 * float64(k) / 19
				a, panel := random(rows*k, r), make([]float32, k*Width)
				half := make([]uint16, k*Width)
				for i := range half { // values that bfloat16 holds exactly
					half[i] = uint16(math.Float32bits(float32(r.NormFloat64())) >> 16)
					panel[i] = bf16(half[i])
				}
				c := random(rows*Width, r)
				d := append([]float32(nil), c...)
				want := append([]float32(nil), c...)
				for i := range rows {
					for j := range cols {
						s := float64(c[i*Width+j])
						for x := range k {
							s += float64(a[i*k+x]) * float64(panel[x*Width+j])
						}
						want[i*Width+j] = float32(s)
					}
				}
				MulPanel(Mat[float32]{c, rows, cols, Width}, Dense(a, rows, k), panel, true)
				MulPanelBF16(Mat[float32]{d, rows, cols, Width}, Dense(a, rows, k), half, true)
				for i := range want {
					if math.Abs(float64(c[i]-want[i])) > tolerance || math.Abs(float64(d[i]-want[i])) > tolerance {
						t.Fatalf("rows %d, cols %d, at %d: %g and %g, want %g", rows, cols, i, c[i], d[i], want[i])
					}
				}
			}
		}
	})
}

func TestExpSumAgainstMathExp(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, n := range []int{1, 15, 16, 17, 100, 4096} {
			x, want, sum := make([]float32, n), make([]float64, n), 0.0
			for i := range x {
				x[i] = -float32(i) * 86 / float32(n)
				want[i] = math.Exp(float64(x[i]) - 0.5)
				sum += want[i]
			}
			got := ExpSum(x, 0.5)
			for i := range x {
				if math.Abs(float64(x[i])-want[i]) > 4e-7*want[i] {
					t.Fatalf("n %d: exp at %d is %g, want %g", n, i, x[i], want[i])
				}
			}
			if math.Abs(float64(got)-sum) > 2e-6*sum {
				t.Fatalf("n %d: sum %g, want %g", n, got, sum)
			}
		}
		low := []float32{-1e30, -500, 0, float32(math.Inf(-1))}
		if s := ExpSum(low, 0); s != 1 || low[0] != 0 || low[1] != 0 || low[2] != 1 || low[3] != 0 {
			t.Errorf("far below the maximum: sum %g of %v, want 1 of [0 0 1 0]", s, low)
		}
	})
}

func TestMax(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for n := 1; n < 70; n++ {
			x := make([]float32, n)
			for i := range x {
				x[i] = -float32((i*7)%n) - 1
			}
			x[n*3/4] = -0.5
			if got := Max(x); got != -0.5 {
				t.Fatalf("max of %d values is %g, want -0.5", n, got)
			}
		}
	})
}

func BenchmarkMulPanel(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	const rows, k = 14 * 16, 576
	a, panel, c := random(rows*k, r), random(k*Width, r), make([]float32, rows*Width)
	for b.Loop() {
		MulPanel(Dense(c, rows, Width), Dense(a, rows, k), panel, false)
	}
	b.ReportMetric(2*rows*k*Width*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkExpSum(b *testing.B) {
	x := make([]float32, 4096)
	b.SetBytes(4 * 4096)
	for b.Loop() {
		clear(x)
		ExpSum(x, 0)
	}
}
