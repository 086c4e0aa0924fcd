package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// TestRoundedProducts compares products of rounded weights and activations with a loop
// in float64 over values that the test rounds, and exact products with a loop over the
// original weights.
func TestRoundedProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	p := NewPool(2)
	defer p.Close()
	bfloat := func(v float32) float64 {
		return float64(tensor.BF16ToF32(uint16((math.Float32bits(v) + 0x7fff + math.Float32bits(v)>>16&1) >> 16)))
	}
	for _, in := range []int{256, 1024} {
		list := testWeights(r, in, tensor.F32, tensor.Q4_K)
		m, err := Pack(p, BF16, list...)
		if err != nil {
			t.Fatal(err)
		}
		var w []float32
		for _, one := range list {
			x, _ := one.Float32()
			w = append(w, x...)
		}
		out := len(w) / in
		round := func(x []float32) []float64 {
			var list []float64
			for _, v := range x {
				list = append(list, bfloat(v))
			}
			return list
		}
		for _, n := range []int{1, 7, 29} {
			x, y := make([]float32, n*in), make([]float32, n*(out+1))
			for i := range x {
				x[i] = float32(r.NormFloat64())
			}
			for _, exact := range []bool{false, true} {
				if err := m.Exact(exact); err != nil {
					t.Fatal(err)
				}
				for i := range y {
					y[i] = 1
				}
				m.MulAdd(p, Mat{Data: y, Rows: n, Cols: out, Stride: out + 1}, Dense(x, n, in))
				for i := range n {
					a := round(x[i*in : (i+1)*in])
					for o := range out {
						b := round(w[o*in : (o+1)*in])
						want, size := 1.0, 1.0
						for k := range in {
							v := a[k] * b[k]
							if exact {
								v = float64(x[i*in+k]) * float64(w[o*in+k])
							}
							want, size = want+v, size+math.Abs(v)
						}
						if got := float64(y[i*(out+1)+o]); math.Abs(got-want) > 2e-6*size {
							t.Fatalf("exact %v, %d inputs, %d rows: row %d, output %d is %g, want %g",
								exact, in, n, i, o, got, want)
						}
					}
					if y[i*(out+1)+out] != 1 {
						t.Fatalf("wrote past the outputs of row %d", i)
					}
				}
			}
		}
	}
}
