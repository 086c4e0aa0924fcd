//go:build cuda

package cuda

import (
	"fmt"
	"math"
	"testing"

	"gorgonia.org/cu"
)

// attentionCase is a pass of n queries behind before slots.
type attentionCase struct {
	heads, stores, n, before int
	kdim, vdim               int
	window, sinkKeys         int
	cap                      float32
	sinks                    bool
	cut                      bool // positions with gaps, other counts for each store
}

var attentionCases = []attentionCase{
	{heads: 2, stores: 1, n: 5, kdim: 16, vdim: 16},
	{heads: 3, stores: 3, n: 70, before: 3, kdim: 64, vdim: 64},
	{heads: 4, stores: 1, n: 1, before: 130, kdim: 80, vdim: 48},
	{heads: 2, stores: 2, n: 33, before: 100, kdim: 20, vdim: 12, window: 40},
	{heads: 2, stores: 1, n: 66, before: 70, kdim: 128, vdim: 128, window: 50, sinkKeys: 4, cap: 5},
	{heads: 1, stores: 1, n: 20, before: 45, kdim: 256, vdim: 256, sinks: true, cap: 3},
	{heads: 2, stores: 1, n: 40, before: 90, kdim: 64, vdim: 64, cap: 4},
	{heads: 9, stores: 1, n: 2, before: 40, kdim: 8, vdim: 8, cap: 2, sinks: true, window: 7},
	{heads: 4, stores: 2, n: 3, before: 90, kdim: 64, vdim: 64, cut: true, window: 64},
	{heads: 2, stores: 2, n: 4, before: 60, kdim: 22, vdim: 30, cut: true, sinkKeys: 20, window: 30},
	{heads: 6, stores: 2, n: 100, before: 5, kdim: 64, vdim: 48, sinks: true}, // blocks begin within a group of heads
	{heads: 14, stores: 2, n: 40, before: 9, kdim: 32, vdim: 32, window: 20},
}

// world is a case on the card, with its truth in float64.
type world struct {
	attentionCase
	attention
	counts  []int
	weights [][][]float64 // [head][row][slot]
	peak    [][]float64
	lse     [][]float64
	out     []float64
}

func (b *bench) world(c attentionCase, t dtype) *world {
	const room = 240
	w := &world{attentionCase: c}
	keys := c.before + c.n
	q := round(t, randoms(b.r, c.n*c.heads*c.kdim))
	k, v := make([]float32, c.stores*room*c.kdim), make([]float32, c.stores*room*c.vdim)
	for i := range k {
		k[i] = float32(math.NaN()) // what no slot holds must not be read, or not matter
	}
	for i := range v {
		v[i] = float32(math.NaN())
	}
	pos := make([]int32, c.stores*room)
	counts := make([]int32, c.stores)
	pos0 := c.before
	if c.cut {
		pos0 = 3 * c.before
	}
	for s := range c.stores {
		counts[s] = int32(keys)
		if c.cut {
			counts[s] -= int32(17 * s)
		}
		old := int(counts[s]) - c.n
		for j := range int(counts[s]) {
			pos[s*room+j] = int32(j)
			if c.cut && j < old {
				pos[s*room+j] = int32(3*j + j%2)
			} else if c.cut {
				pos[s*room+j] = int32(pos0 + j - old)
			}
		}
		copy(k[s*room*c.kdim:], round(t, randoms(b.r, int(counts[s])*c.kdim)))
		copy(v[s*room*c.vdim:], round(t, randoms(b.r, int(counts[s])*c.vdim)))
		w.counts = append(w.counts, int(counts[s]))
	}
	sinks := randoms(b.r, c.heads)
	scale := float32(1.5 / math.Sqrt(float64(c.kdim)))

	w.out = make([]float64, c.n*c.heads*c.vdim)
	for h := range c.heads {
		s := h / (c.heads / c.stores)
		var rows [][]float64
		var peaks, lses []float64
		for i := range c.n {
			row := make([]float64, counts[s])
			top := math.Inf(-1)
			for j := range row {
				dot := 0.0
				for d := range c.kdim {
					dot += float64(q[(i*c.heads+h)*c.kdim+d]) * float64(k[(s*room+j)*c.kdim+d])
				}
				dot *= float64(scale)
				if c.cap > 0 {
					dot = float64(c.cap) * math.Tanh(dot/float64(c.cap))
				}
				p := int(pos[s*room+j])
				if j > int(counts[s])-c.n+i || c.window > 0 && p <= pos0+i-c.window && p >= c.sinkKeys {
					dot = math.Inf(-1)
				}
				row[j], top = dot, max(top, dot)
			}
			sum := 0.0
			if c.sinks {
				top = max(top, float64(sinks[h]))
				sum = math.Exp(float64(sinks[h]) - top)
			}
			for j := range row {
				row[j] = math.Exp(row[j] - top)
				sum += row[j]
			}
			for j := range row {
				row[j] /= sum
				for d := range c.vdim {
					if row[j] > 0 {
						w.out[(i*c.heads+h)*c.vdim+d] += row[j] * float64(v[(s*room+j)*c.vdim+d])
					}
				}
			}
			rows, peaks, lses = append(rows, row), append(peaks, top), append(lses, top+math.Log(sum))
		}
		w.weights, w.peak, w.lse = append(w.weights, rows), append(w.peak, peaks), append(w.lse, lses)
	}

	w.attention = attention{
		cache: cache{
			T: t, K: b.upAs(t, k), V: b.upAs(t, v), Keys: keys, Room: room, Stores: c.stores, Heads: c.heads, KeyDim: c.kdim, ValueDim: c.vdim,
			Scale: scale, Cap: c.cap, Window: c.window, SinkKeys: c.sinkKeys,
		},
		Q: b.upAs(t, q), Out: b.roomAs(t, c.n*c.heads*c.vdim), Stat: floats(b, 2*c.heads*c.n), LSE: floats(b, c.heads*c.n), N: c.n, Pos0: pos0,
	}
	if c.cut {
		w.Counts, w.Pos = up(b, counts), up(b, pos)
	}
	if c.sinks {
		w.Sinks = up(b, sinks)
	}
	return w
}

func floats(b *bench, n int) cu.DevicePtr { return room[float32](b, n) }

// outTolerance allows for weights and output that were rounded to t.
func outTolerance(t dtype) float64 {
	if t == f32 {
		return 3e-6
	}
	return 3 * t.ulp()
}

func flat(x [][]float64) []float64 {
	var out []float64
	for _, r := range x {
		out = append(out, r...)
	}
	return out
}

// row is a row of weights over [key0, key0+width).
func (w *world) row(h, i, key0, width int) []float64 {
	out := make([]float64, width)
	for j := range out {
		if key0+j < len(w.weights[h][i]) {
			out[j] = w.weights[h][i][key0+j]
		}
	}
	return out
}

func TestAttention(t *testing.T) {
	for _, d := range dtypes {
		for _, c := range attentionCases {
			t.Run(fmt.Sprintf("%s/%+v", d, c), func(t *testing.T) {
				b := onCard(t)
				w := b.world(c, d)
				b.must(b.attend(w.attention))
				near(t, "out", b.downAs(d, w.Out, len(w.out)), w.out, outTolerance(d), outTolerance(d))
				near(t, "log-sum-exp", down[float32](b, w.LSE, c.heads*c.n), flat(w.lse), 3e-6, 1e-6)
				b.checkRows(w)
				if !c.cut {
					b.checkSums(w)
				}
			})
		}
	}
}

// checkRows asks for some rows of some heads.
func (b *bench) checkRows(w *world) {
	c := w.attentionCase
	list := []int32{int32(c.heads - 1), 0}
	keys := c.before + c.n
	o := attentionRowsOut{Row0: c.n / 3, Rows: c.n - c.n/3, Key0: min(2, keys-1), Listed: len(list), List: up(b, list)}
	o.Width = keys - o.Key0 + 3
	o.Ld, o.LdHead = o.Width+1, o.Rows+1
	if c.n < 4 { // all heads, from the first
		o.Listed, o.List, list = c.heads, 0, nil
		for h := range c.heads {
			list = append(list, int32(h))
		}
	}
	n := o.Listed * o.LdHead * o.Ld
	zeros := make([]float32, n)
	o.W = up(b, zeros)
	b.must(b.attendRows(w.attention, o))
	got := down[float32](b, o.W, n)
	// Dropped to halves, as the writer of dumps rounds with its fine precision.
	drop := dropTable(0.95e-4, 4.9e-4, 6)
	o.W, o.Drop = up(b, make([]uint16, n)), up(b, drop[:])
	b.must(b.attendRows(w.attention, o))
	halves := b.downAs(f16, o.W, n)
	for at, h := range list {
		for r := range o.Rows {
			place := fmt.Sprintf("head %d, row %d", h, o.Row0+r)
			from := (at*o.LdHead + r) * o.Ld
			near(b.t, place, got[from:from+o.Width], w.row(int(h), o.Row0+r, o.Key0, o.Width), 5e-6, 3e-6)
			equal(b.t, place+", beside the row", got[from+o.Width:from+o.Ld], make([]float32, 1))
			want := make([]float32, o.Width)
			for j := range want {
				want[j] = dropped(got[from+j], &drop)
			}
			equal(b.t, place+", halves", halves[from:from+o.Width], want)
		}
	}
}

// checkSums asks for sums over some of the rows, over windows that begin inside of
// them and end before, and for the pooled picture.
func (b *bench) checkSums(w *world) {
	c := w.attentionCase
	keys := c.before + c.n
	list := []int32{int32(c.heads - 1), 0}
	o := attentionSumsOut{LdTotal: keys + 2, LdWindow: keys + 1, WinStart: w.Pos0 + c.n/4, WinSize: max(1, c.n/5), WinCount: 3, Side: 1 + c.kdim%7, Prompt: keys, List: up(b, list), Listed: 2, Row0: c.n / 6, Rows: c.n - c.n/6}
	zero := func() {
		o.Total, o.Windows = up(b, make([]int64, 2*o.LdTotal)), up(b, make([]int64, 2*o.WinCount*o.LdWindow))
		o.Cells = up(b, make([]float32, 2*o.Side*o.Side))
	}
	zero()
	b.must(b.attendSums(w.attention, o))
	total, windows := down[int64](b, o.Total, 2*o.LdTotal), down[int64](b, o.Windows, 2*o.WinCount*o.LdWindow)
	cells := down[float32](b, o.Cells, 2*o.Side*o.Side)
	for at, h := range list {
		wantT, wantC := make([]float64, o.LdTotal), make([]float64, o.Side*o.Side)
		wantW := make([]float64, o.WinCount*o.LdWindow)
		for i := o.Row0; i < o.Row0+o.Rows; i++ {
			p := w.Pos0 + i
			win := (p-o.WinStart+10*o.WinSize)/o.WinSize - 10
			for j, v := range w.weights[h][i] {
				wantT[j] += v
				if win >= 0 && win < o.WinCount {
					wantW[win*o.LdWindow+j] += v
				}
				cell := &wantC[p*o.Side/o.Prompt*o.Side+j*o.Side/o.Prompt]
				*cell = max(*cell, v)
			}
		}
		fixed := func(x []int64) []float64 {
			out := make([]float64, len(x))
			for i, v := range x {
				out[i] = float64(v) / (1 << 40)
			}
			return out
		}
		near(b.t, fmt.Sprintf("total of head %d", h), fixed(total[at*o.LdTotal:(at+1)*o.LdTotal]), wantT, 5e-6, 5e-6)
		near(b.t, fmt.Sprintf("windows of head %d", h), fixed(windows[at*len(wantW):(at+1)*len(wantW)]), wantW, 5e-6, 5e-6)
		near(b.t, fmt.Sprintf("cells of head %d", h), cells[at*len(wantC):(at+1)*len(wantC)], wantC, 5e-6, 3e-6)
	}
	if o.Rows < 3 {
		return
	}
	// The same rows in two calls: not a bit may change.
	zero()
	all := o.Rows
	o.Rows = all / 2
	b.must(b.attendSums(w.attention, o))
	o.Row0, o.Rows = o.Row0+o.Rows, all-o.Rows
	b.must(b.attendSums(w.attention, o))
	near(b.t, "total in two calls", fixedFloats(down[int64](b, o.Total, 2*o.LdTotal)), fixedFloats(total), 3e-7, 1e-6)
	equal(b.t, "cells in two calls", down[float32](b, o.Cells, 2*o.Side*o.Side), cells)
}

// TestSumsOfAWindowThatEndsInATile: queries after the last window do not count, although
// they are in a tile whose first query does.
func TestSumsOfAWindowThatEndsInATile(t *testing.T) {
	const n, start, size = 100, 10, 65
	for _, d := range dtypes {
		b := onCard(t)
		w := b.world(attentionCase{heads: 1, stores: 1, n: n, kdim: 16, vdim: 16}, d)
		b.must(b.attend(w.attention))
		o := attentionSumsOut{
			Windows: up(b, make([]int64, n)), LdWindow: n, WinStart: start, WinSize: size, WinCount: 1, Listed: 1, Rows: n,
		}
		b.must(b.attendSums(w.attention, o))
		want := make([]float64, n)
		for _, row := range w.weights[0][start : start+size] {
			for j, v := range row {
				want[j] += v
			}
		}
		near(t, d.String(), fixedFloats(down[int64](b, o.Windows, n)), want, 5e-6, 5e-6)
	}
}

func fixedFloats(x []int64) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = float64(v) / (1 << 40)
	}
	return out
}

// dropTable says, by float32 exponent, how many bits a half's rounding takes off:
// the fewest mantissa bits, from least on, with an error of at most absolute plus
// relative times the weight.
func dropTable(absolute, relative float64, least int) (drop [256]uint8) {
	for e := range drop {
		unit := math.Ldexp(1, e-127)
		m := 10
		for m > least && unit*math.Ldexp(1, -m) <= absolute+relative*unit {
			m--
		}
		drop[e] = uint8(13 + 10 - m)
	}
	return drop
}

func dropped(v float32, drop *[256]uint8) float32 {
	u := math.Float32bits(v)
	switch e := u >> 23; {
	case e < 127-24:
		return 0
	case e < 127-14:
		return float32(math.RoundToEven(float64(v)*(1<<24))) / (1 << 24)
	default:
		d := drop[e]
		u += 1<<(d-1) - 1 + u>>d&1
		return math.Float32frombits(u >> d << d)
	}
}

// A prompt read in one pass and in several must give the same bits: outputs,
// rows, and sums whose passes end where tiles do.
func TestAttentionDoesNotDependOnPasses(t *testing.T) {
	b := onCard(t)
	for _, d := range dtypes {
		c := attentionCase{heads: 2, stores: 1, n: 160, kdim: 32, vdim: 32, window: 90}
		w := b.world(c, d)
		o := attentionSumsOut{LdTotal: c.n, Listed: 2, Rows: c.n, Total: up(b, make([]int64, 2*c.n))}
		b.must(b.attend(w.attention))
		b.must(b.attendSums(w.attention, o))
		out, total := b.downAs(d, w.Out, len(w.out)), down[int64](b, o.Total, 2*c.n)
		o.Total = up(b, make([]int64, 2*c.n))
		w.Out = b.roomAs(d, len(w.out))
		for at, n := range map[int]int{0: 64, 64: 64, 128: 32} {
			part := w.attention
			part.N, part.Pos0, part.Keys = n, at, at+n
			part.Q += cu.DevicePtr(int64(at*c.heads*c.kdim) * d.bytes())
			part.Out += cu.DevicePtr(int64(at*c.heads*c.vdim) * d.bytes())
			part.Stat = room[float32](b, 2*c.heads*n)
			part.LSE = 0
			b.must(b.attend(part))
			o.Rows = n
			b.must(b.attendSums(part, o))
		}
		equal(t, "out "+d.String(), b.downAs(d, w.Out, len(w.out)), out)
		equal(t, "total "+d.String(), down[int64](b, o.Total, 2*c.n), total)
	}
}

func TestDecode(t *testing.T) {
	for _, d := range dtypes {
		for _, c := range attentionCases {
			c.n = min(c.n, 3)
			t.Run(fmt.Sprintf("%s/%+v", d, c), func(t *testing.T) {
				b := onCard(t)
				w := b.world(c, d)
				for _, part := range []int{0, 32} {
					a := decode{attention: w.attention, Part: part, LdW: w.Keys + 2}
					a.Stat = 0
					a.Work = room[uint8](b, int(decodeWork(&w.cache, c.n, part)))
					n := c.heads * c.n * a.LdW
					a.W = up(b, make([]float32, n))
					b.must(b.decode(a))
					near(t, "out", b.downAs(d, w.Out, len(w.out)), w.out, 3e-6+d.ulp(), 3e-6+d.ulp())
					near(t, "log-sum-exp", down[float32](b, w.LSE, c.heads*c.n), flat(w.lse), 3e-6, 1e-6)
					rows := down[float32](b, a.W, n)
					drop := dropTable(2.9e-3, 0, 4)
					a.W, a.Drop, a.LSE = up(b, make([]uint16, n)), up(b, drop[:]), 0
					b.must(b.decode(a))
					halves := b.downAs(f16, a.W, n)
					for h := range c.heads {
						for i := range c.n {
							from := (h*c.n + i) * a.LdW
							near(t, fmt.Sprintf("head %d, row %d", h, i), rows[from:from+a.LdW], w.row(h, i, 0, a.LdW), 5e-6, 3e-6)
							for j := range a.LdW {
								if want := dropped(rows[from+j], &drop); halves[from+j] != want {
									t.Fatalf("head %d, row %d, key %d: half %g, want %g", h, i, j, halves[from+j], want)
								}
							}
						}
					}
				}
			})
		}
	}
}
