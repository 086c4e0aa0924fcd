package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// TestEachRowIsAsIfAlone compares products of several rows with products of each row
// alone, bit for bit, for every type of weight and every arithmetic.
func TestEachRowIsAsIfAlone(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	p := NewPool(2)
	defer p.Close()
	for _, types := range [][]tensor.DType{
		{tensor.F32},
		{tensor.BF16},
		{tensor.F16},
		{tensor.BF16, tensor.F16},
		{tensor.Q4_0},
		{tensor.Q4_1},
		{tensor.Q8_0},
		{tensor.Q4_K},
		{tensor.Q6_K},
		{tensor.Q4_1, tensor.Q8_0},
	} {
		for _, compute := range Computes {
			for _, in := range []int{256, 1024} {
				m, err := Pack(p, compute, testWeights(r, in, types...)...)
				if err != nil {
					t.Fatal(err)
				}
				const most = 29
				x := make([]float32, most*in)
				start := make([]float32, most*m.Out())
				for _, list := range [][]float32{x, start} {
					for i := range list {
						list[i] = float32(r.NormFloat64())
					}
				}
				for _, acc := range []bool{false, true} {
					want := slices.Clone(start)
					for i := range most {
						y := Dense(want[i*m.Out():], 1, m.Out())
						if row := Dense(x[i*in:], 1, in); acc {
							m.MulAdd(p, y, row)
						} else {
							m.Mul(p, y, row)
						}
					}
					for _, n := range []int{1, 2, 3, 4, 5, 7, 8, 13, 16, most} {
						got := slices.Clone(start)
						m.MulEach(p, Dense(got, n, m.Out()), Dense(x, n, in), acc)
						if !slices.Equal(got[:n*m.Out()], want[:n*m.Out()]) {
							t.Errorf("%v, %s, %d inputs, %d rows, acc %v: rows differ from rows alone", types, compute, in, n, acc)
						}
					}
				}
			}
		}
	}
}
