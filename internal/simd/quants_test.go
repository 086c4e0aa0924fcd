package simd

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestQuantPanels packs random integers and compares the unpacked weights and the
// product of one row with the definition, weight = scale*q + offset.
func TestQuantPanels(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(7, 8))
		for _, q := range []Quant{
			{4, 32, true},
			{4, 16, false},
			{4, 32, false},
			{8, 32, true},
			{8, 16, false},
			{8, 32, false},
		} {
			const groups = 3
			n := groups * q.Group
			panel, want := make([]byte, groups*q.GroupBytes()), make([]float64, n*Width)
			for g := range groups {
				group := panel[g*q.GroupBytes() : (g+1)*q.GroupBytes()]
				for o := range Width {
					scale, offset := float32(r.IntN(1000)-500)/1024, float32(r.IntN(1000)-500)/64
					if !q.PutScale(group, o, scale, offset) {
						t.Fatalf("%v: %g and %g do not fit", q, scale, offset)
					}
					values := make([]uint8, q.Group)
					for k := range values {
						values[k] = uint8(r.IntN(1 << q.Bits))
						want[(g*q.Group+k)*Width+o] = float64(scale)*float64(values[k]) + float64(offset)
					}
					q.Put(group, o, values)
				}
			}
			got := make([]float32, n*Width)
			q.Unpack(got, panel, groups)
			for i, w := range want {
				if math.Abs(float64(got[i])-w) > 1e-6*(1+math.Abs(w)) {
					t.Fatalf("%v: weight of input %d, output %d is %g, want %g", q, i/Width, i%Width, got[i], w)
				}
			}
			x, sums := random(n, r), make([]float32, groups)
			GroupSums(sums, x, q.Group)
			for _, acc := range []bool{false, true} {
				var y [Width]float32
				for o := range y {
					y[o] = float32(o)
				}
				if !q.MulRow(&y, x, sums, panel, acc) {
					continue
				}
				for o := range y {
					sum, size := 0.0, 1.0
					if acc {
						sum = float64(o)
					}
					for k := range n {
						sum += float64(x[k]) * want[k*Width+o]
						size += math.Abs(float64(x[k]) * want[k*Width+o])
					}
					if math.Abs(float64(y[o])-sum) > 1e-6*size {
						t.Fatalf("%v, acc %v: product for output %d is %g, want %g", q, acc, o, y[o], sum)
					}
				}
			}
		}
	})
}

func TestHalves(t *testing.T) {
	for h := range 1 << 16 {
		v := fromHalf(uint16(h))
		back, exact := toHalf(v)
		if h>>10&31 == 31 { // infinities and NaN cannot be scales
			if exact {
				t.Fatalf("%04x = %g narrows exactly, want inexact", h, v)
			}
		} else if !exact || back != uint16(h) {
			t.Fatalf("%04x = %g narrows to %04x, exact %v, want %04x, exact", h, v, back, exact, h)
		}
	}
	for _, v := range []float32{1 + 1.0/4096, 65536, 1e-8, 3.0 / (1 << 25)} {
		if _, exact := toHalf(v); exact {
			t.Errorf("%g narrows exactly, want inexact", v)
		}
	}
}

func TestWiden(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		x := make([]uint16, 100)
		for i := range x {
			x[i] = uint16(i * 317)
		}
		dst := make([]float32, 101)
		WidenBF16(dst, x)
		for i, h := range x {
			if dst[i] != math.Float32frombits(uint32(h)<<16) {
				t.Fatalf("bfloat16 %04x is %g", h, dst[i])
			}
		}
		WidenF16(dst, x)
		for i, h := range x {
			if want := fromHalf(h); dst[i] != want && want == want {
				t.Fatalf("float16 %04x is %g, want %g", h, dst[i], want)
			}
		}
		if dst[100] != 0 {
			t.Fatal("wrote past the end")
		}
	})
}

// TestRowsTogetherAreRowsAlone compares the product of several rows with the products of
// each row alone, bit for bit.
func TestRowsTogetherAreRowsAlone(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(21, 22))
		together := 0
		for _, q := range []Quant{{4, 32, true}, {4, 16, false}, {8, 32, true}, {8, 16, false}} {
			for rows := 2; rows <= 9; rows++ {
				const groups, spare = 3, 5
				n := groups * q.Group
				panel := quantPanel(q, groups, r)
				x := Mat[float32]{Data: random(rows*(n+spare), r), Rows: rows, Cols: n, Stride: n + spare}
				sums := Mat[float32]{Data: make([]float32, rows*(groups+spare)), Rows: rows, Cols: groups, Stride: groups + spare}
				got := random(rows*Width, r)
				want := slices.Clone(got)
				for i := range rows {
					own := sums.Data[i*sums.Stride:][:groups]
					GroupSums(own, x.Data[i*x.Stride:][:n], q.Group)
					q.MulRow((*[Width]float32)(want[i*Width:]), x.Data[i*x.Stride:][:n], own, panel, true)
				}
				if !q.MulRows(got, x, sums, panel, make([]float32, (q.Group+rows)*Width)) {
					continue
				}
				together++
				if !slices.Equal(got, want) {
					t.Fatalf("%v, %d rows: together %v, alone %v", q, rows, got, want)
				}
			}
		}
		// Four formats by eight numbers of rows; AVX2 and NEON do not take two rows
		// together.
		if want := map[string]int{"portable": 0, "avx512": 32, "avx2": 28, "neon": 28}[active.name]; together != want {
			t.Errorf("%d products of several rows, want %d", together, want)
		}
	})
}
