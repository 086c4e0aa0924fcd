package simd

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"testing"
)

// exactInputs returns n numbers that are the same on every machine: no function of
// package math computes them.
func exactInputs(n int, r *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(1<<24)-1<<23) / (1 << 22)
	}
	return x
}

// weights returns n numbers from 0 to below 1.
func weights(n int, r *rand.Rand) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.IntN(1<<24)) / (1 << 24)
	}
	return x
}

// quantPanel returns a panel of random integers and scales.
func quantPanel(q Quant, groups int, r *rand.Rand) []byte {
	panel := make([]byte, groups*q.GroupBytes())
	for g := range groups {
		group := panel[g*q.GroupBytes() : (g+1)*q.GroupBytes()]
		for o := range Width {
			values := make([]uint8, q.Group)
			for k := range values {
				values[k] = uint8(r.IntN(1 << q.Bits))
			}
			q.PutScale(group, o, float32(r.IntN(1000)-500)/1024, float32(r.IntN(1000)-500)/64)
			q.Put(group, o, values)
		}
	}
	return panel
}

// bitsOf lists results of all operations, and what a hash of their bits must be: with
// the vector sets (AVX2, AVX-512, NEON), and with portable Go. A hash of 0 says that
// nothing is promised. AVX-512 adds some sums in another order; only excepts it.
var bitsOf = []struct {
	name             string
	vector, portable uint64
	only256          bool
	compute          func(r *rand.Rand) any
}{
	{"MulPanel", 0xcf861435fd1114e9, 0xa6e884e5a0670acb, false, func(r *rand.Rand) any {
		const rows, k = 29, 67
		c := exactInputs(rows*Width, r)
		MulPanel(Dense(c, rows, Width), Dense(exactInputs(rows*k, r), rows, k), exactInputs(k*Width, r), true)
		return c
	}},
	{"MulPanelBF16", 0x27828d4afb2c622c, 0x39151665b63edd0d, false, func(r *rand.Rand) any {
		const rows, k = 7, 67
		b := make([]uint16, k*Width)
		RoundBF16(b, exactInputs(k*Width, r))
		c := make([]float32, rows*Width)
		MulPanelBF16(Dense(c, rows, Width), Dense(exactInputs(rows*k, r), rows, k), b, false)
		return c
	}},
	{"MulPanelF16", 0xd2a29bdd1cd11485, 0x855d186e73ec9b9c, false, func(r *rand.Rand) any {
		const rows, k = 7, 67
		b := make([]uint16, k*Width)
		for i := range b {
			b[i] = uint16(r.IntN(0x7c00))
		}
		c := make([]float32, rows*Width)
		MulPanelF16(Dense(c, rows, Width), Dense(exactInputs(rows*k, r), rows, k), b, false)
		return c
	}},
	{"Dot", 0xdd8f68c85038289, 0xdd8f68c85038289, false, func(r *rand.Rand) any {
		return Dot(exactInputs(577, r), exactInputs(577, r))
	}},
	{"ExpSum", 0xdc11556228ee91fe, 0, true, func(r *rand.Rand) any {
		x := exactInputs(577, r)
		return append(x, ExpSum(x, 2))
	}},
	{"Max", 0x6ee44aaa3b6f66f8, 0x6ee44aaa3b6f66f8, false, func(r *rand.Rand) any { return Max(exactInputs(577, r)) }},
	{"Scale", 0x9e50cc00d03a8ae0, 0x9e50cc00d03a8ae0, false, func(r *rand.Rand) any {
		x := exactInputs(577, r)
		Scale(x, 0.3)
		return x
	}},
	{"AddScaled", 0x28a2b5b787e49a3, 0x28a2b5b787e49a3, false, func(r *rand.Rand) any {
		x := exactInputs(577, r)
		AddScaled(x, exactInputs(577, r), 0.3)
		return x
	}},
	{"SumRows", 0xab8f902a2bddb509, 0xab8f902a2bddb509, false, func(r *rand.Rand) any {
		x := make([]float32, 577)
		SumRows(x, exactInputs(5*600, r), 600, 5)
		return x
	}},
	{"SiLUMul", 0xe5dc1ff4cdb2f465, 0, false, func(r *rand.Rand) any {
		x := make([]float32, 576)
		SiLUMul(x, exactInputs(576, r), exactInputs(576, r))
		return x
	}},
	{"SumSquares", 0xca934b1c8f78f6b8, 0xafa0cdab053a0028, true, func(r *rand.Rand) any {
		return SumSquares(exactInputs(577, r))
	}},
	{"MulScaled", 0xb2b4cb1d08eb6f15, 0xb2b4cb1d08eb6f15, false, func(r *rand.Rand) any {
		x := make([]float32, 577)
		MulScaled(x, exactInputs(577, r), exactInputs(577, r), 0.3)
		return x
	}},
	{"AddFixed", 0x2b1f8cb90833aa68, 0x2b1f8cb90833aa68, false, func(r *rand.Rand) any {
		x := make([]int64, 577)
		AddFixed(x, weights(577, r))
		return x
	}},
	{"AddWide", 0xeef4e4763ba5013b, 0xeef4e4763ba5013b, false, func(r *rand.Rand) any {
		x := make([]float64, 577)
		AddWide(x, exactInputs(577, r))
		AddWide(x, exactInputs(577, r))
		return x
	}},
	{"RowSums", 0x8455bb85c036ea5a, 0, true, func(r *rand.Rand) any {
		sum, place, log := RowSums(weights(576, r))
		return []float64{sum, place, log}
	}},
	{"SumWhere", 0xc30cfae723a3bf27, 0xc30cfae723a3bf27, false, func(r *rand.Rand) any {
		return SumWhere(exactInputs(577, r), exactInputs(577, r), 0.25)
	}},
	{"AddDoubles and NarrowScaled", 0x3279a2cbda03d1a4, 0x3279a2cbda03d1a4, false, func(r *rand.Rand) any {
		x, wide := make([]float32, 577), make([]float64, 577)
		AddWide(wide, exactInputs(577, r))
		AddDoubles(wide, wide)
		NarrowScaled(x, wide, 1.0/3)
		return x
	}},
	{"Unpack", 0x9ad839ac51e8fe94, 0, false, func(r *rand.Rand) any {
		var all []float32
		for _, q := range []Quant{{4, 32, true}, {4, 16, false}, {8, 32, true}, {8, 16, false}} {
			x := make([]float32, 3*q.Group*Width)
			q.Unpack(x, quantPanel(q, 3, r), 3)
			all = append(all, x...)
		}
		return all
	}},
	{"MulRow", 0x737a2995eab5708, 0, true, func(r *rand.Rand) any {
		var all []float32
		for _, q := range []Quant{{4, 32, true}, {4, 16, false}, {8, 32, true}, {8, 16, false}} {
			x, sums := exactInputs(3*q.Group, r), make([]float32, 3)
			GroupSums(sums, x, q.Group)
			y := [Width]float32{1, 2, 3}
			q.MulRow(&y, x, sums, quantPanel(q, 3, r), true)
			all = append(all, y[:]...)
		}
		return all
	}},
	{"RoundBF16", 0xc1eb5e359d8560b8, 0xc1eb5e359d8560b8, false, func(r *rand.Rand) any {
		x := make([]uint16, 577)
		RoundBF16(x, exactInputs(577, r))
		return x
	}},
}

// TestBitsAreTheSameOnEveryProcessor holds that the sets of kernels give the same bits
// on every machine, and portable Go on every machine.
func TestBitsAreTheSameOnEveryProcessor(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, op := range bitsOf {
			want := op.vector
			switch {
			case active.name == "portable":
				want = op.portable
			case active.name == "avx512" && op.only256:
				want = 0
			}
			if want == 0 {
				continue
			}
			h := fnv.New64a()
			if err := binary.Write(h, binary.LittleEndian, op.compute(rand.New(rand.NewPCG(20, 14)))); err != nil {
				t.Fatal(err)
			}
			if got := h.Sum64(); got != want {
				t.Errorf("%s: the bits hash to %#x, want %#x", op.name, got, want)
			}
		}
	})
}
