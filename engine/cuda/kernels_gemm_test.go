//go:build cuda

package cuda

import (
	"fmt"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// matmul is c [m, n] = a [m, k] · w [n, k]ᵀ in float64, rows lda and ldw apart.
func matmul(a []float32, lda int, w []float32, ldw, m, n, k int) []float64 {
	c := make([]float64, m*n)
	for i := range m {
		for j := range n {
			for x := range k {
				c[i*n+j] += float64(a[i*lda+x]) * float64(w[j*ldw+x])
			}
		}
	}
	return c
}

// onto adds a product to what stands in c, rows ldc apart, and leaves the rest.
func onto(c []float32, ldc int, product []float64, m, n int, add bool) []float64 {
	out := make([]float64, len(c))
	for i, v := range c {
		out[i] = float64(v)
	}
	for i := range m {
		for j := range n {
			if !add {
				out[i*ldc+j] = 0
			}
			out[i*ldc+j] += product[i*n+j]
		}
	}
	return out
}

func TestProducts(t *testing.T) {
	b := onCard(t)
	shapes := []struct{ m, n, k, pad int }{
		{1, 1, 1, 0}, {3, 5, 7, 1}, {16, 40, 64, 0}, {65, 130, 40, 8}, {129, 70, 33, 3}, {9, 129, 96, 0}, {8, 4, 520, 0},
	}
	for _, s := range shapes {
		lda, ldw, ldc := s.k+s.pad, s.k+2*s.pad, s.n+s.pad
		a, w, c := randoms(b.r, s.m*lda), randoms(b.r, s.n*ldw), randoms(b.r, s.m*ldc)
		for _, d := range dtypes {
			a, w := round(d, a), round(d, w)
			product64 := matmul(a, lda, w, ldw, s.m, s.n, s.k)
			for _, add := range []bool{false, true} {
				want := onto(c, ldc, product64, s.m, s.n, add)
				p := product{T: d, A: b.upAs(d, a), Lda: lda, W: b.upAs(d, w), Ldw: ldw, Ldc: ldc, M: s.m, N: s.n, K: s.k, Add: add}
				p.C = up(b, c)
				b.must(b.gemm(p))
				near(t, fmt.Sprintf("gemm %s %v", d, s), down[float32](b, p.C, len(c)), want, 3e-5, 1e-6)
				p.C = up(b, c)
				b.must(b.gemv(p))
				near(t, fmt.Sprintf("gemv %s %v", d, s), down[float32](b, p.C, len(c)), want, 3e-5, 1e-6)
			}
		}
	}
}

func TestProductsOfQuantisedWeights(t *testing.T) {
	b := onCard(t)
	const m, n, k = 9, 5, 512
	a := randoms(b.r, m*k)
	for _, q := range sourceNames {
		w := blocks(b.r, q, n, k)
		wide, err := w.Float32()
		b.must(err)
		big := 0.0
		for _, v := range wide {
			big = max(big, float64(v), -float64(v))
		}
		src := up(b, w.Data)
		for _, d := range dtypes {
			if q != tensor.Q4_1 && d != dtypes[int(q)%3] {
				continue // one type of activations for each, all for one
			}
			a := round(d, a)
			p := product{T: d, A: b.upAs(d, a), Lda: k, W: src, C: room[float32](b, m*n), Ldc: n, M: m, N: n, K: k}
			b.must(b.gemvQuant(p, q))
			near(t, fmt.Sprintf("%s %s", q, d), down[float32](b, p.C, m*n), matmul(a, k, wide, k, m, n, k), 1e-5*big, 1e-6)
		}
	}
}
