package cpu

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/engine/tensor"
)

// testWeights returns random weights of some types with in inputs: 40 outputs, or 30
// for every second one.
func testWeights(r *rand.Rand, in int, types ...tensor.DType) []tensor.Tensor {
	var list []tensor.Tensor
	for i, d := range types {
		out := []int{40, 30}[i%2]
		size, _ := d.Bytes(in * out)
		w := tensor.Tensor{Name: d.String(), DType: d, Shape: []int{out, in}, Data: make([]byte, size)}
		switch d {
		case tensor.F32, tensor.BF16, tensor.F16:
			width := size / (in * out)
			for j := range in * out {
				v := math.Float32bits(float32(r.NormFloat64()))
				switch d {
				case tensor.F32:
					binary.LittleEndian.PutUint32(w.Data[4*j:], v)
				case tensor.BF16:
					binary.LittleEndian.PutUint16(w.Data[2*j:], uint16(v>>16))
				default:
					binary.LittleEndian.PutUint16(w.Data[width*j:], uint16(r.UintN(0x4000))|uint16(r.UintN(2))<<15)
				}
			}
		default:
			for j := range w.Data {
				w.Data[j] = byte(r.UintN(256))
			}
			quietScales(w, d, r)
		}
		list = append(list, w)
	}
	return list
}

// quietScales replaces the float16 scales of random blocks by small numbers.
func quietScales(w tensor.Tensor, d tensor.DType, r *rand.Rand) {
	at := map[tensor.DType][]int{
		tensor.Q4_0: {0}, tensor.Q4_1: {0, 2}, tensor.Q5_0: {0}, tensor.Q5_1: {0, 2}, tensor.Q8_0: {0},
		tensor.Q2_K: {80, 82}, tensor.Q3_K: {108}, tensor.Q4_K: {0, 2}, tensor.Q5_K: {0, 2}, tensor.Q6_K: {208},
	}[d]
	elements := 32
	if at[0] > 2 || d == tensor.Q4_K || d == tensor.Q5_K {
		elements = 256
	}
	block, _ := d.Bytes(elements)
	for b := 0; b < len(w.Data); b += block {
		for _, o := range at {
			binary.LittleEndian.PutUint16(w.Data[b+o:], uint16(0x1000+r.UintN(0x1400))|uint16(r.UintN(2))<<15)
		}
	}
}

// TestMatrixProducts compares products of every type of weight with a loop in float64
// over the decoded weights. Rows of 1024 inputs are a page apart.
func TestMatrixProducts(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	p := NewPool(2)
	defer p.Close()
	for _, types := range [][]tensor.DType{
		{tensor.F32},
		{tensor.BF16},
		{tensor.F16},
		{tensor.F32, tensor.BF16},
		{tensor.BF16, tensor.F16},
		{tensor.Q4_0},
		{tensor.Q4_1},
		{tensor.Q5_0},
		{tensor.Q5_1},
		{tensor.Q8_0},
		{tensor.Q2_K},
		{tensor.Q3_K},
		{tensor.Q4_K},
		{tensor.Q5_K},
		{tensor.Q6_K},
		{tensor.Q4_1, tensor.Q8_0},
		{tensor.Q4_K, tensor.Q6_K},
		{tensor.Q4_0, tensor.F32},
	} {
		for _, in := range []int{256, 1024} {
			list := testWeights(r, in, types...)
			m, err := Pack(p, F32, list...)
			if err != nil {
				t.Fatal(err)
			}
			var w []float32
			for _, one := range list {
				x, err := one.Float32()
				if err != nil {
					t.Fatal(err)
				}
				w = append(w, x...)
			}
			out := len(w) / in
			for _, n := range []int{1, 3, 7, 8, 29} {
				x, y := make([]float32, n*in), make([]float32, n*(out+1))
				for i := range x {
					x[i] = float32(r.NormFloat64())
				}
				for i := range y {
					y[i] = 1
				}
				product := Mat{Data: y, Rows: n, Cols: out, Stride: out + 1}
				m.MulAdd(p, product, Dense(x, n, in))
				for i := range n {
					for o := range out {
						want, size := 1.0, 1.0
						for k := range in {
							v := float64(x[i*in+k]) * float64(w[o*in+k])
							want, size = want+v, size+math.Abs(v)
						}
						if got := float64(y[i*(out+1)+o]); math.Abs(got-want) > 2e-6*size {
							t.Fatalf("%v, %d inputs, %d rows: row %d, output %d is %g, want %g", types, in, n, i, o, got, want)
						}
					}
					if y[i*(out+1)+out] != 1 {
						t.Fatalf("%v: wrote past the outputs of row %d", types, i)
					}
				}
				first := y[0]
				if m.Mul(p, product, Dense(x, n, in)); math.Abs(float64(y[0]+1-first)) > 1e-3 {
					t.Fatalf("%v, %d rows: Mul gives %g, MulAdd to 1 gave %g", types, n, y[0], first)
				}
			}
		}
	}
}

func TestMatrixKeepsWeightsSmall(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	p := NewPool(1)
	defer p.Close()
	const panels, in = 2, 256 // 40 outputs
	for d, bits := range map[tensor.DType]int{
		tensor.F32: 32, tensor.BF16: 16, tensor.F16: 16,
		tensor.Q4_1: 5, tensor.Q4_0: 5, tensor.Q4_K: 6, tensor.Q8_0: 9, tensor.Q6_K: 12,
	} {
		m, err := Pack(p, F32, testWeights(r, in, d)[0])
		if err != nil {
			t.Fatal(err)
		}
		if got := m.Bytes() * 8 / (panels * 32 * in); got != bits {
			t.Errorf("%s: %d bits per weight, want %d", d, got, bits)
		}
	}
	w := testWeights(r, in, tensor.Q4_0)[0]
	binary.LittleEndian.PutUint16(w.Data, 0x7800) // scale 2^15: float16 does not hold the offset -8 * 2^15
	m, err := Pack(p, F32, w)
	if err != nil {
		t.Fatal(err)
	}
	if got := m.Bytes() * 8 / (panels * 32 * in); got != 6 {
		t.Errorf("scales that do not fit float16: %d bits per weight, want 6", got)
	}
}

func TestMatrixRefusesDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	p := NewPool(1)
	defer p.Close()
	for d, bad := range map[tensor.DType]uint16{tensor.BF16: 0x7f80, tensor.F16: 0x7e00, tensor.Q8_0: 0x7c00} {
		w := testWeights(r, 256, d)[0]
		binary.LittleEndian.PutUint16(w.Data, bad)
		if _, err := Pack(p, F32, w); err == nil || !strings.Contains(err.Error(), "element [0, 0]") {
			t.Errorf("%s: %v, want an error that names element [0, 0]", d, err)
		}
	}
}

// TestTileBlocksFitTheFirstCache: rows, a panel and the result take at most firstCache
// bytes, at six bytes per value of three terms and two per value of one.
func TestTileBlocksFitTheFirstCache(t *testing.T) {
	for _, c := range []struct{ termsA, termsB, inputs, bytes int }{
		{3, 1, 128, 32*128*6 + 32*128*2 + 32*32*4},
		{3, 3, 96, 32*96*6 + 32*96*6 + 32*32*4},
	} {
		if got := mostInputs(c.termsA, c.termsB); got != c.inputs || c.bytes > firstCache {
			t.Errorf("%d and %d terms: %d inputs, want %d, which take %d of %d bytes",
				c.termsA, c.termsB, got, c.inputs, c.bytes, firstCache)
		}
	}
}
