//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
	"gorgonia.org/cu"
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
	const m, n, k, lda = 9, 5, 768, 776 // a warp takes 512 elements at a time
	a := randoms(b.r, m*lda)
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
			p := product{T: d, A: b.upAs(d, a), Lda: lda, W: src, C: room[float32](b, m*n), Ldc: n, M: m, N: n, K: k}
			b.must(b.gemvQuant(p, q))
			near(t, fmt.Sprintf("%s %s", q, d), down[float32](b, p.C, m*n), matmul(a, lda, wide, k, m, n, k), 1e-5*big, 1e-6)
		}
	}
}

// mixed is the product of float32 activations and bfloat16 weights, rows k apart.
func (b *bench) mixed(a, w []float32, m, n, k int) product {
	b.t.Helper()
	return product{
		T: f32, Mixed: true, A: up(b, a), Lda: k, W: b.upAs(bf16, w), Ldw: k,
		C: room[float32](b, m*n), Ldc: n, M: m, N: n, K: k,
	}
}

// inTerms returns the product of rows of terms, which are split first.
func (b *bench) inTerms(p product) product {
	b.t.Helper()
	p, err := b.split(room[uint16](b, terms*p.M*p.K), p)
	b.must(err)
	return p
}

// TestTermsAddUpToTheFloat32 splits values of all exponents, and compares the sum of the
// three terms in float64 with the value.
func TestTermsAddUpToTheFloat32(t *testing.T) {
	b := onCard(t)
	const m, k, lda = 3, 700, 705
	x := randoms(b.r, m*lda)
	for i := range x {
		x[i] = float32(math.Ldexp(float64(x[i]), i%200-100))
	}
	p := b.inTerms(product{A: up(b, x), Lda: lda, M: m, K: k})
	if p.Lda != k {
		t.Errorf("rows of terms are %d apart, want %d", p.Lda, k)
	}
	got := b.downAs(bf16, p.A, terms*m*k)
	for i := range m {
		for j := range k {
			sum := 0.0
			for term := range terms {
				sum += float64(got[(term*m+i)*k+j])
			}
			if want := float64(x[i*lda+j]); sum != want {
				t.Fatalf("value [%d, %d]: the terms add up to %g, want %g", i, j, sum, want)
			}
		}
	}
}

func TestMixedProducts(t *testing.T) {
	b := onCard(t)
	shapes := []struct{ m, n, k, pad int }{
		{1, 1, 1, 0}, {3, 5, 7, 1}, {16, 40, 64, 0}, {130, 135, 40, 8}, {129, 20, 33, 3}, {9, 129, 96, 0}, {8, 4, 520, 0},
	}
	for _, s := range shapes {
		lda, ldw, ldc := s.k+s.pad, s.k+2*s.pad, s.n+s.pad
		a, w, c := randoms(b.r, s.m*lda), round(bf16, randoms(b.r, s.n*ldw)), randoms(b.r, s.m*ldc)
		product64 := matmul(a, lda, w, ldw, s.m, s.n, s.k)
		for _, add := range []bool{false, true} {
			want := onto(c, ldc, product64, s.m, s.n, add)
			p := product{T: f32, Mixed: true, A: up(b, a), Lda: lda, W: b.upAs(bf16, w), Ldw: ldw, Ldc: ldc, Add: add}
			p.M, p.N, p.K = s.m, s.n, s.k
			p.C = up(b, c)
			b.must(b.gemv(p))
			near(t, fmt.Sprintf("gemv %v", s), down[float32](b, p.C, len(c)), want, 1e-5, 1e-6)
			p.C = up(b, c)
			b.must(b.gemm(b.inTerms(p)))
			near(t, fmt.Sprintf("gemm %v", s), down[float32](b, p.C, len(c)), want, 1e-5, 1e-6)
		}
	}
}

// errorsOf returns the largest errors of a product and of a loop in float32 over the same
// values, against float64. a has rows of k values.
func errorsOf(got, a, w []float32, m, n, k int) (worst, plain float64) {
	want := matmul(a, k, w, k, m, n, k)
	for i := range m {
		for j := range n {
			loop := float32(0)
			for x := range k {
				loop += float32(a[i*k+x] * w[j*k+x])
			}
			worst = max(worst, math.Abs(float64(got[i*n+j])-want[i*n+j]))
			plain = max(plain, math.Abs(float64(loop)-want[i*n+j]))
		}
	}
	return worst, plain
}

// cutOffSetting makes the emulated card cut off sums as tensor cores do.
const cutOffSetting = "ATTNSCOPE_EMU_CUT_OFF"

// TestMixedProductsAreAsAccurateAsFloat32 compares products with float64, also on a card
// that cuts sums off. Their largest error must not exceed that of a loop in float32 over the
// same values by more than a tenth and the rounding of a single value, as with the
// processor's tiles.
func TestMixedProductsAreAsAccurateAsFloat32(t *testing.T) {
	b := onCard(t)
	const m, n = 17, 40
	for _, cut := range []string{"0", "1"} {
		t.Setenv(cutOffSetting, cut)
		for _, k := range []int{1, 20, 64, 100, 576, 1536} {
			a, w := randoms(b.r, m*k), round(bf16, randoms(b.r, n*k))
			p := b.inTerms(b.mixed(a, w, m, n, k))
			b.must(b.gemm(p))
			worst, plain := errorsOf(down[float32](b, p.C, m*n), a, w, m, n, k)
			if worst > 1.1*plain+6e-7 {
				t.Errorf("k %d, sums cut off: %s: the error is %g, a loop's in float32 %g", k, cut, worst, plain)
			}
		}
	}
}

// TestTwoTermsWouldNotBeFloat32 checks that the test of accuracy can fail: without any one of
// the three terms, the error is several times that of float32.
func TestTwoTermsWouldNotBeFloat32(t *testing.T) {
	b := onCard(t)
	const m, n, k = 9, 24, 96
	a, w := randoms(b.r, m*k), round(bf16, randoms(b.r, n*k))
	for term := range terms {
		p := b.inTerms(b.mixed(a, w, m, n, k))
		b.must(b.stream.Synchronize())
		b.must(cu.MemsetD8(p.A+cu.DevicePtr(2*term*m*k), 0, 2*m*k))
		b.must(cu.Synchronize())
		b.must(b.gemm(p))
		if worst, plain := errorsOf(down[float32](b, p.C, m*n), a, w, m, n, k); worst < 4*plain {
			t.Errorf("without term %d the error is %g, a loop's in float32 %g", term, worst, plain)
		}
	}
}

// TestLongSumsThatAreCutOffAreNotFloat32 shows why gemm adds up the products of 16 columns at
// a time: on a card that cuts sums off, the sums of gemm_bf16, which stay on the tensor cores,
// have an error of several times that of float32 even if all operands are bfloat16.
func TestLongSumsThatAreCutOffAreNotFloat32(t *testing.T) {
	emulated(t)
	b := onCard(t)
	t.Setenv(cutOffSetting, "1")
	const m, n, k = 9, 24, 1536
	a, w := round(bf16, randoms(b.r, m*k)), round(bf16, randoms(b.r, n*k))
	for _, x := range [][]float32{a, w} {
		for i, v := range x {
			x[i] = max(v, -v)
		}
	}
	p := b.mixed(a, w, m, n, k)
	b.must(b.gemm(b.inTerms(p)))
	worst, plain := errorsOf(down[float32](b, p.C, m*n), a, w, m, n, k)
	if worst > 1.1*plain {
		t.Errorf("in terms: the error is %g, a loop's in float32 %g", worst, plain)
	}
	p.Mixed = false
	p.T, p.A = bf16, b.upAs(bf16, a)
	b.must(b.gemm(p))
	long, _ := errorsOf(down[float32](b, p.C, m*n), a, w, m, n, k)
	if long < 3*plain {
		t.Errorf("long sums: the error is %g, a loop's in float32 %g", long, plain)
	}
}
