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
	steps := func(x []float32) (out []float64) {
		largest := 0.0
		for _, v := range x {
			largest = max(largest, math.Abs(float64(v)))
		}
		for _, v := range x {
			out = append(out, math.RoundToEven(float64(v)*127/largest)*largest/127)
		}
		return out
	}
	for _, compute := range []Compute{BF16, Int8} {
		for _, in := range []int{256, 1024} {
			list := testWeights(r, in, tensor.F32, tensor.Q4_K)
			m, err := Pack(p, compute, list...)
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
				if compute == Int8 {
					return steps(x)
				}
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
							// A value halfway between two int8 steps may fall to either side.
							tolerance := 2e-6 * size
							if compute == Int8 && !exact {
								tolerance = 2e-4 * size
							}
							if got := float64(y[i*(out+1)+o]); math.Abs(got-want) > tolerance {
								t.Fatalf("%s, exact %v, %d inputs, %d rows: row %d, output %d is %g, want %g",
									compute, exact, in, n, i, o, got, want)
							}
						}
						if y[i*(out+1)+out] != 1 {
							t.Fatalf("%s: wrote past the outputs of row %d", compute, i)
						}
					}
				}
			}
		}
	}
}
