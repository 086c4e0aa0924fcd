package simd

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/internal/simd/amx"
)

// withTiles runs f with products by tiles in a mode.
func withTiles(mode tileMode, f func()) {
	before := activeTiles
	activeTiles = mode
	defer func() { activeTiles = before }()
	f()
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// TestTermsAddUpToTheValue splits values of all exponents and compares the sum of the
// three terms, in float64, with the value.
func TestTermsAddUpToTheValue(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const n = 4096
	x := make([]float32, n)
	for i := range x {
		exponent := 40 + r.Uint32N(200) // the smallest term stays normal, the largest finite
		x[i] = math.Float32frombits(r.Uint32()&0x807fffff | exponent<<23)
	}
	packed := make([]uint16, TileSize(n, ExactTerms))
	PackTileRows(packed, Dense(x, 1, n), ExactTerms)
	for i, v := range x {
		sum := 0.0
		for term := range ExactTerms {
			at := (i/TileDepth*ExactTerms+term)*amx.BlockBytes/2 + i%TileDepth
			sum += float64(bf16(packed[at]))
		}
		if sum != float64(v) {
			t.Fatalf("value %x: terms add up to %g, want %g", math.Float32bits(v), sum, v)
		}
	}
}

// TestPackingOfTilesIsThatOfPlainGo compares the assembler with plain Go, bit for bit.
func TestPackingOfTilesIsThatOfPlainGo(t *testing.T) {
	if active.splits.join == nil {
		t.Skip("SKIPPED: this processor has no kernels that pack tiles")
	}
	r := rand.New(rand.NewPCG(3, 4))
	for _, k := range []int{1, 2, 31, 32, 33, 64, 95, 576} {
		rows := Mat[float32]{Data: normal(r, 32*(k+5)), Rows: 32, Cols: k, Stride: k + 5}
		panel := normal(r, k*Width)
		halves := make([]uint16, k*Width)
		for i := range halves {
			halves[i] = uint16(r.Uint32() &^ 0x40) // not the mark of padding
		}
		pack := func() [][]uint16 {
			lists := [][]uint16{
				make([]uint16, TileSize(k, 1)), make([]uint16, TileSize(k, 3)),
				make([]uint16, TileSize(k, 3)), make([]uint16, TileSize(k, 1)),
			}
			for _, list := range lists {
				for i := range list {
					list[i] = 0x7fc0 // NaN: padding must be overwritten
				}
			}
			PackTileRows(lists[0], rows, RoundedTerm)
			PackTileRows(lists[1], rows, ExactTerms)
			PackTilePanel(lists[2], panel, k)
			PackTilePanelBF16(lists[3], halves, k)
			return lists
		}
		got := pack()
		kernels := active.splits
		active.splits = splits{}
		want := pack()
		active.splits = kernels
		for i := range got {
			if !slices.Equal(got[i], want[i]) {
				t.Errorf("k %d: operand %d differs from plain Go", k, i)
			}
			if slices.Contains(got[i], 0x7fc0) {
				t.Errorf("k %d: operand %d is not written whole", k, i)
			}
		}
	}
}

// tileProduct computes a·b by tiles: a [rows, k], b [panels][k][Width]. Packed panels have
// a gap between them.
func tileProduct(c Mat[float32], a Mat[float32], b []float32, termsA, termsB int, acc bool) {
	k := a.Cols
	packedA := Tiles{Data: make([]uint16, TileSize(k, termsA)), Terms: termsA}
	PackTileRows(packedA.Data, a, termsA)
	packedB := Tiles{Terms: termsB, Stride: TileSize(k, termsB) + 96}
	packedB.Data = make([]uint16, Panels(c.Cols)*packedB.Stride)
	for j := range Panels(c.Cols) {
		panel := b[j*k*Width : (j+1)*k*Width]
		to := packedB.Data[j*packedB.Stride:]
		if termsB == ExactTerms {
			PackTilePanel(to, panel, k)
			continue
		}
		halves := make([]uint16, len(panel))
		RoundBF16(halves, panel)
		PackTilePanelBF16(to, halves, k)
	}
	MulTiles(c, packedA, packedB, k, acc)
}

// TestTilesAreAsAccurateAsFloat32 compares products with float64. Their largest error must
// not exceed that of a loop in float32 over the same values by more than a tenth and two
// units in the last place of the largest result: a step adds up to six times, where the
// loop adds 32 times, so that only products of a few inputs are rounded more often.
func TestTilesAreAsAccurateAsFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, terms := range [][2]int{{1, 1}, {3, 1}, {3, 3}} {
		for _, k := range []int{1, 20, 64, 100, 576, 1536} {
			for _, shape := range [][2]int{{32, 32}, {32, 96}, {16, 70}, {1, 32}, {17, 5}, {31, 64}} {
				rows, cols := shape[0], shape[1]
				a := normal(r, rows*k)
				b := normal(r, Panels(cols)*k*Width)
				start := normal(r, rows*cols)
				if terms[0] == RoundedTerm {
					roundAll(a)
				}
				if terms[1] == RoundedTerm {
					roundAll(b)
				}
				got := slices.Clone(start)
				withTiles(modelTiles, func() {
					tileProduct(Dense(got, rows, cols), Dense(a, rows, k), b, terms[0], terms[1], true)
				})
				var worst, plain, largest float64
				for i := range rows {
					for j := range cols {
						want := float64(start[i*cols+j])
						loop := start[i*cols+j]
						for x := range k {
							w := b[(j/Width*k+x)*Width+j%Width]
							want += float64(a[i*k+x]) * float64(w)
							loop += float32(a[i*k+x] * w)
						}
						worst = max(worst, math.Abs(want-float64(got[i*cols+j])))
						plain = max(plain, math.Abs(want-float64(loop)))
						largest = max(largest, math.Abs(want))
					}
				}
				_, exponent := math.Frexp(largest)
				if worst > 1.1*plain+2*math.Ldexp(1, exponent-24) {
					t.Errorf("terms %v, k %d, shape %v: error %g, float32 %g", terms, k, shape, worst, plain)
				}
			}
		}
	}
}

// TestScaledTilesAreAsAccurateAsFloat32 compares products with quantized panels with
// float64. Their largest error must not exceed that of a loop in float32 over the
// weights, rounded to float32, by more than a tenth and the rounding of a single value.
func TestScaledTilesAreAsAccurateAsFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	buf := make([]float32, 2*TileRows*Width)
	for _, q := range []Quant{{4, 32, true}, {4, 32, false}, {8, 32, true}, {8, 32, false}} {
		for _, groups := range []int{1, 3, 18} {
			for _, shape := range [][2]int{{32, 32}, {16, 32}, {1, 32}, {17, 5}, {31, 32}} {
				rows, cols := shape[0], shape[1]
				k := groups * TileDepth
				panel := quantPanel(q, groups, r)
				w := make([]float32, k*Width)
				q.Unpack(w, panel, groups)
				a := normal(r, rows*k)
				start := normal(r, rows*cols)
				got := slices.Clone(start)
				packedA := make([]uint16, TileSize(k, ExactTerms))
				packedB := make([]uint16, TileSize(k, 1))
				scales := make([]float32, groups*Width)
				rests := make([]float32, groups*Width)
				sums := Dense(make([]float32, rows*groups), rows, groups)
				PackTileRows(packedA, Dense(a, rows, k), ExactTerms)
				q.PackTiles(packedB, scales, rests, panel, groups)
				for i := range rows {
					GroupSums(sums.Data[i*groups:(i+1)*groups], a[i*k:(i+1)*k], q.Group)
				}
				MulPanel(Dense(got, rows, cols), sums, rests, true)
				withTiles(modelTiles, func() {
					MulScaledTiles(Dense(got, rows, cols), packedA, packedB, scales, groups, buf)
				})
				var worst, plain float64
				for i := range rows {
					for j := range cols {
						want := float64(start[i*cols+j])
						loop := start[i*cols+j]
						for x := range k {
							group := panel[x/TileDepth*q.GroupBytes():]
							v := float64(q.scale(group, j))*float64(q.integer(group[q.head():], x%TileDepth, j)) +
								float64(q.scale(group, Width+j))
							want += float64(a[i*k+x]) * v
							loop += float32(a[i*k+x] * w[x*Width+j])
						}
						worst = max(worst, math.Abs(want-float64(got[i*cols+j])))
						plain = max(plain, math.Abs(want-float64(loop)))
					}
				}
				if worst > 1.1*plain+2e-6 { // results are up to 32
					t.Errorf("%v, %d groups, shape %v: error %g, float32 %g", q, groups, shape, worst, plain)
				}
			}
		}
	}
}

// TestGroupsAreCentered packs groups with known centers, with the assembler and with
// plain Go: zero is among the weights of Q4_0 and Q8_0, so no offset is left.
func TestGroupsAreCentered(t *testing.T) {
	onEachPath(t, func(t *testing.T) {
		for _, q := range []Quant{{4, 32, true}, {4, 32, false}, {8, 32, true}, {8, 32, false}} {
			most := float32(int(1)<<q.Bits - 1)
			for _, c := range []struct{ scale, offset, center, rest float32 }{
				{0.25, -2, 8, 0},
				{-0.25, 2, 8, 0},
				{0.25, -1.9375, 8, 0.0625},
				{0.25, 2, 0, 2},
				{0.25, -100, most, -100 + 0.25*most},
				{0, 0, 0, 0},
				{0, 3, 0, 3},
				{0, -3, most, -3},
			} {
				panel := make([]byte, 2*q.GroupBytes())
				for o := range 2 * Width {
					group := panel[o/Width*q.GroupBytes():][:q.GroupBytes()]
					q.PutScale(group, o%Width, c.scale, c.offset)
					values := make([]uint8, q.Group)
					for k := range values {
						values[k] = uint8((3*k + o) % (1 << q.Bits))
					}
					q.Put(group, o%Width, values)
				}
				packed := make([]uint16, TileSize(2*TileDepth, 1))
				scales := make([]float32, 2*Width)
				rests := make([]float32, 2*Width)
				q.PackTiles(packed, scales, rests, panel, 2)
				for o := range 2 * Width {
					if scales[o] != c.scale || rests[o] != c.rest {
						t.Fatalf("%v, scale %g, offset %g: output %d has scale %g, rest %g, want rest %g",
							q, c.scale, c.offset, o, scales[o], rests[o], c.rest)
					}
					for k := range q.Group {
						got := bf16(packed[o/Width*amx.BlockBytes/2+k/2*2*Width+o%Width*2+k%2])
						if want := float32((3*k+o)%(1<<q.Bits)) - c.center; got != want {
							t.Fatalf("%v, scale %g, offset %g: input %d, output %d is %g, want %g",
								q, c.scale, c.offset, k, o, got, want)
						}
					}
				}
			}
		}
	})
}

func roundAll(x []float32) {
	for i, v := range x {
		x[i] = bf16(roundedBF16(v))
	}
}

// TestTwoTermsWouldNotBeFloat32 holds that the test of accuracy can fail: without the
// third term, the error is several times that of float32.
func TestTwoTermsWouldNotBeFloat32(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	const k = 64
	a := normal(r, 32*k)
	b := normal(r, k*Width)
	packedA := make([]uint16, TileSize(k, ExactTerms))
	packedB := make([]uint16, TileSize(k, ExactTerms))
	PackTileRows(packedA, Dense(a, 32, k), ExactTerms)
	PackTilePanel(packedB, b, k)
	for s := range TileSteps(k) { // remove the third terms
		clear(packedA[(s*3+2)*amx.BlockBytes/2:][:amx.BlockBytes/2])
		clear(packedB[(s*3+2)*amx.BlockBytes/2:][:amx.BlockBytes/2])
	}
	c := make([]float32, 32*Width)
	withTiles(modelTiles, func() {
		MulTiles(Dense(c, 32, Width), Tiles{packedA, ExactTerms, 0}, Tiles{packedB, ExactTerms, 0}, k, false)
	})
	worst := 0.0
	for i := range 32 {
		for j := range Width {
			want := 0.0
			for x := range k {
				want += float64(a[i*k+x]) * float64(b[x*Width+j])
			}
			worst = max(worst, math.Abs(want-float64(c[i*Width+j])))
		}
	}
	if worst < 1.5e-5 {
		t.Errorf("two terms have an error of %g", worst)
	}
}

// tileScales scale the operands of checkHardwareTiles: normal numbers, numbers whose
// products are subnormal while the sum of all products would not be, and subnormal numbers.
// Subnormal numbers count as zero, also in the middle of a sum.
var tileScales = [][2]float64{{1, 1}, {0x1p-64, 0x1p-65}, {0x1p-131, 1}}

// checkHardwareTiles compares all programs on the processor with the Go model, bit for
// bit, and returns the number of values that differ.
func checkHardwareTiles() (differ int, report string) {
	r := rand.New(rand.NewPCG(9, 10))
	for _, p := range amx.Programs {
		for _, k := range []int{32, 96} {
			for _, acc := range []bool{false, true} {
				for _, scale := range tileScales {
					if i, got, want := compareTiles(r, p, k, acc, scale); i >= 0 {
						differ++
						report = fmt.Sprintf("%s, k %d, acc %v, scales %g, element %d: %g, model %g",
							p.Name, k, acc, scale, i, got, want)
					}
				}
			}
		}
	}
	return differ, report
}

// compareTiles computes a product on the processor and by the Go model, with panels that
// have a gap between them. It returns the last element that differs, or -1.
func compareTiles(r *rand.Rand, p *amx.Program, k int, acc bool, scale [2]float64) (element int, got, want float32) {
	const panels = 3
	const stride = panels*Width + 7
	a := Tiles{Data: make([]uint16, TileSize(k, p.TermsA)), Terms: p.TermsA}
	b := Tiles{Terms: p.TermsB, Stride: TileSize(k, p.TermsB) + 32}
	b.Data = make([]uint16, panels*b.Stride)
	for i, list := range [][]uint16{a.Data, b.Data} {
		for at := range list {
			x := r.NormFloat64()
			if scale[0] < 1 {
				x = 1 + r.Float64()/2
			}
			list[at] = roundedBF16(float32(x * scale[i]))
		}
	}
	rows := amx.Rows * p.RowTiles
	start := normal(r, rows*stride)
	for i := range start {
		start[i] *= float32(scale[0] * scale[1])
	}
	scales := normal(r, TileSteps(k)*Width)
	run := func(mode tileMode) []float32 {
		c := Mat[float32]{Data: slices.Clone(start), Rows: rows, Cols: panels * Width, Stride: stride}
		withTiles(mode, func() {
			if p.Scaled {
				runScaledTiles(p, TileSteps(k), a.Data, b.Data, scales, c, make([]float32, TileRows*Width))
			} else {
				runTiles(p, panels, a, b, k, c, acc)
			}
		})
		return c.Data
	}
	element = -1
	gots := run(hardwareTiles)
	for i, w := range run(modelTiles) {
		if math.Float32bits(gots[i]) != math.Float32bits(w) {
			element, got, want = i, gots[i], w
		}
	}
	return element, got, want
}

// TestTilesOfTheProcessor runs the programs on a processor with AMX.
func TestTilesOfTheProcessor(t *testing.T) {
	if activeTiles != hardwareTiles {
		t.Skip("SKIPPED: no AMX in use:", reason)
	}
	if differ, report := checkHardwareTiles(); differ > 0 {
		t.Errorf("%d values differ, the last: %s", differ, report)
	}
}

// BenchmarkTiles measures products of 32 rows and eight panels (scaled: one), in useful
// operations.
func BenchmarkTiles(b *testing.B) {
	if activeTiles != hardwareTiles {
		b.Skip("SKIPPED: no AMX in use: " + reason)
	}
	for _, k := range []int{64, 320, 576} {
		b.Run(fmt.Sprintf("scaled3x1/k%d", k), func(b *testing.B) {
			left := make([]uint16, TileSize(k, ExactTerms))
			right := make([]uint16, TileSize(k, 1))
			scales := make([]float32, TileSteps(k)*Width)
			buf := make([]float32, 2*TileRows*Width)
			c := Dense(make([]float32, TileRows*Width), TileRows, Width)
			for b.Loop() {
				MulScaledTiles(c, left, right, scales, TileSteps(k), buf)
			}
			operations := 2 * TileRows * Width * float64(k) * float64(b.N)
			b.ReportMetric(operations/b.Elapsed().Seconds()/1e9, "GFLOP/s")
		})
	}
	for _, terms := range [][2]int{{1, 1}, {3, 1}, {3, 3}} {
		for _, k := range []int{64, 96, 128, 320, 576} {
			b.Run(fmt.Sprintf("terms%dx%d/k%d", terms[0], terms[1], k), func(b *testing.B) {
				const panels = 8
				left := Tiles{Data: make([]uint16, TileSize(k, terms[0])), Terms: terms[0]}
				right := Tiles{Data: make([]uint16, panels*TileSize(k, terms[1])), Terms: terms[1], Stride: TileSize(k, terms[1])}
				c := Dense(make([]float32, TileRows*panels*Width), TileRows, panels*Width)
				for b.Loop() {
					MulTiles(c, left, right, k, true)
				}
				operations := 2 * TileRows * panels * Width * float64(k) * float64(b.N)
				b.ReportMetric(operations/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}
