package simd

import (
	"fmt"
	"math"
	"strings"
	"unsafe"

	"github.com/attnscope/attnscope/internal/simd/amx"
)

// TileRows is the largest number of rows of a product by tiles, TileDepth the number of
// values of the inner dimension per step. See package amx for the layouts.
const (
	TileRows  = 2 * amx.Rows
	TileDepth = amx.Depth
)

// Numbers of bfloat16 terms per packed value: a value rounded to bfloat16, or one split
// into three terms whose sum is the float32 exactly.
const (
	RoundedTerm = 1
	ExactTerms  = 3
)

// tileMode tells what computes products by tiles.
type tileMode int

const (
	noTiles       tileMode = iota
	hardwareTiles          // AMX
	modelTiles             // the Go model of package amx
)

// activeTiles is the mode in use.
var activeTiles = noTiles

// splits packs the operands of products by tiles. A nil function is plain Go.
type splits struct {
	row   [ExactTerms + 1]func(steps int, dst *uint16, x *float32) // by terms
	pairs func(pairs int, dst *uint16, x *float32)
	join  func(pairs int, dst *uint16, x *uint16)
	// groups packs groups of quantized panels, by Quant.index.
	groups [4]func(groups int, b unsafe.Pointer, dst *uint16, scales, offsets *float32)
}

// HasTiles reports whether products by tiles are in use: the processor has AMX and the
// system permits it, or the Go model replaces them.
func HasTiles() bool { return activeTiles != noTiles }

// TileSteps returns the number of steps of an inner dimension.
func TileSteps(k int) int { return (k + TileDepth - 1) / TileDepth }

// TileSize returns the number of uint16 values of a packed operand: up to 32 rows or
// columns, with k values each.
func TileSize(k, terms int) int { return TileSteps(k) * terms * amx.BlockBytes / 2 }

// PackTileRows packs at most TileRows rows of A, [rows, k], as one or three terms per
// value. Values beyond k are zero. Rows beyond a.Rows are not written.
func PackTileRows(dst []uint16, a Mat[float32], terms int) {
	const block = amx.BlockBytes / 2
	whole := a.Cols / TileDepth
	tail := a.Cols % TileDepth
	_ = dst[TileSize(a.Cols, terms)-1]
	for r := range a.Rows {
		row := a.Data[r*a.Stride : r*a.Stride+a.Cols]
		to := dst[r*TileDepth:]
		if whole > 0 {
			if f := active.splits.row[terms]; f != nil {
				f(whole, &to[0], &row[0])
			} else {
				splitRowPortable(to, row[:whole*TileDepth], terms)
			}
		}
		if tail > 0 {
			var last [TileDepth]float32
			copy(last[:], row[whole*TileDepth:])
			splitRowPortable(to[whole*terms*block:], last[:], terms)
		}
	}
}

// splitRowPortable packs one row, whose length is a multiple of TileDepth.
func splitRowPortable(to []uint16, row []float32, terms int) {
	const block = amx.BlockBytes / 2
	for x, v := range row {
		at := x/TileDepth*terms*block + x%TileDepth
		for t := range terms {
			h := roundedBF16(v)
			to[at+t*block] = h
			v -= bf16(h)
		}
	}
}

// PackTilePanel packs a panel of B, [k][Width] float32 values, as three terms per value.
// Values beyond k are zero.
func PackTilePanel(dst []uint16, panel []float32, k int) {
	for s := range TileSteps(k) {
		rows := min(TileDepth, k-s*TileDepth)
		to := dst[s*ExactTerms*amx.BlockBytes/2:][:ExactTerms*amx.BlockBytes/2]
		if rows < TileDepth {
			clear(to)
		}
		from := panel[s*TileDepth*Width:][:rows*Width]
		done := 0
		if active.splits.pairs != nil && rows > 1 {
			active.splits.pairs(rows/2, &to[0], &from[0])
			done = rows &^ 1
		}
		splitPairsPortable(to, from, done)
	}
}

// splitPairsPortable packs rows [done, ...) of one step of a panel.
func splitPairsPortable(to []uint16, from []float32, done int) {
	for x := done * Width; x < len(from); x++ {
		v := from[x]
		k := x / Width
		for t := range ExactTerms {
			h := roundedBF16(v)
			to[t*amx.BlockBytes/2+k/2*2*Width+x%Width*2+k%2] = h
			v -= bf16(h)
		}
	}
}

// PackTilePanelBF16 packs a panel of B, [k][Width] bfloat16 values, as one term per
// value. Values beyond k are zero.
func PackTilePanelBF16(dst, panel []uint16, k int) {
	dst = dst[:TileSize(k, 1)]
	done := 0
	if active.splits.join != nil && k > 1 {
		active.splits.join(k/2, &dst[0], &panel[0])
		done = k &^ 1
	}
	clear(dst[done*Width:])
	for x := done * Width; x < k*Width; x++ {
		dst[x/Width/2*2*Width+x%Width*2+x/Width%2] = panel[x]
	}
}

// ScalesWithTiles reports whether panels of this format are operands of MulScaledTiles:
// their groups must be steps.
func (q Quant) ScalesWithTiles() bool { return q.Group == TileDepth }

// Center returns the integer that PackTiles subtracts from the integers of a group, and
// the rest of the offset: scale*q + offset = scale*(q - center) + rest. The center is the
// integer whose weight is nearest to 0, so that the rest is smallest.
func (q Quant) Center(scale, offset float32) (center, rest float32) {
	most := float32(int(1)<<q.Bits - 1)
	center = float32(math.RoundToEven(float64(-offset / scale)))
	if !(center > 0) { // or no number, because the scale is 0
		center = 0
	}
	center = min(center, most)
	return center, float32(float64(float64(center)*float64(scale)) + float64(offset))
}

// PackTiles packs the first groups of a panel as the operand B of MulScaledTiles:
// integers less their center, as one term each, and scales and rests of offsets,
// [groups][Width]. It needs ScalesWithTiles.
func (q Quant) PackTiles(dst []uint16, scales, rests []float32, panel []byte, groups int) {
	const block = amx.BlockBytes / 2
	_ = dst[groups*block-1]
	_ = scales[groups*Width-1]
	_ = rests[groups*Width-1]
	_ = panel[groups*q.GroupBytes()-1]
	if f := active.splits.groups[q.index()]; f != nil {
		f(groups, unsafe.Pointer(&panel[0]), &dst[0], &scales[0], &rests[0])
		return
	}
	for g := range groups {
		group := panel[g*q.GroupBytes():]
		data := group[q.head():]
		for r := range Width {
			scale := q.scale(group, r)
			center, rest := q.Center(scale, q.scale(group, Width+r))
			scales[g*Width+r] = scale
			rests[g*Width+r] = rest
			for k := range q.Group {
				v := float32(q.integer(data, k, r)) - center
				dst[g*block+k/2*2*Width+2*r+k%2] = roundedBF16(v)
			}
		}
	}
}

// MulScaledTiles computes C += Σ_g (A_g·B_g)∘s_g over the groups g of the inner
// dimension, for A packed with three terms and B and its scales packed by PackTiles. buf
// has 2*TileRows*Width floats. It needs HasTiles.
//
//	c  [rows, cols]  rows <= TileRows, cols <= Width
func MulScaledTiles(c Mat[float32], a, b []uint16, scales []float32, groups int, buf []float32) {
	if c.Rows == 0 || groups == 0 {
		return
	}
	rowTiles := (c.Rows + amx.Rows - 1) / amx.Rows
	program := amx.Find(rowTiles, ExactTerms, 1, true)
	_ = a[TileSize(groups*TileDepth, ExactTerms)-1]
	_ = b[TileSize(groups*TileDepth, 1)-1]
	_ = scales[groups*Width-1]
	if c.Rows == rowTiles*amx.Rows && c.Cols == Width {
		_ = c.Data[(c.Rows-1)*c.Stride+c.Cols-1]
		runScaledTiles(program, groups, a, b, scales, c, buf)
		return
	}
	whole := Dense(buf[TileRows*Width:], TileRows, Width)
	for r := range c.Rows {
		copy(whole.Data[r*Width:], c.Data[r*c.Stride:r*c.Stride+c.Cols])
	}
	runScaledTiles(program, groups, a, b, scales, whole, buf)
	for r := range c.Rows {
		copy(c.Data[r*c.Stride:r*c.Stride+c.Cols], whole.Data[r*Width:])
	}
}

// runScaledTiles runs a scaled program on the processor or in Go.
func runScaledTiles(p *amx.Program, steps int, a, b []uint16, scales []float32, c Mat[float32], buf []float32) {
	if activeTiles == modelTiles {
		p.RunScaled(steps, a, b, scales, c.Data, c.Stride)
		return
	}
	_ = buf[TileRows*Width-1]
	runScaledHardwareTiles(p, steps, &a[0], &b[0], &scales[0], &c.Data[0], c.Stride, &buf[0])
}

// Tiles is a packed operand of a product by tiles: a block of rows of A, or panels of B.
type Tiles struct {
	Data   []uint16
	Terms  int // of each value
	Stride int // values of Data from one panel of B to the next
}

// MulTiles computes C = A·B, or C += A·B with acc, for packed operands with 1 and 1, 3 and
// 1, or 3 and 3 terms. It needs HasTiles.
//
//	c  [rows, cols]  rows <= TileRows
//	k  the inner dimension
func MulTiles(c Mat[float32], a, b Tiles, k int, acc bool) {
	if c.Rows == 0 || c.Cols == 0 || k == 0 {
		return
	}
	rowTiles := (c.Rows + amx.Rows - 1) / amx.Rows
	program := amx.Find(rowTiles, a.Terms, b.Terms, false)
	_ = a.Data[TileSize(k, a.Terms)-1]
	_ = b.Data[(Panels(c.Cols)-1)*b.Stride+TileSize(k, b.Terms)-1]
	whole := c.Cols / Width // panels of which all columns are wanted
	if c.Rows < rowTiles*amx.Rows {
		whole = 0
	}
	if whole > 0 {
		_ = c.Data[(c.Rows-1)*c.Stride+whole*Width-1]
		runTiles(program, whole, a, b, k, c, acc)
	}
	if whole == Panels(c.Cols) {
		return // before buf is cleared
	}
	var buf [TileRows * Width]float32
	for j := whole; j < Panels(c.Cols); j++ {
		part := c.Sub(0, j*Width, c.Rows, min(Width, c.Cols-j*Width))
		for r := 0; acc && r < part.Rows; r++ {
			copy(buf[r*Width:], part.Data[r*part.Stride:r*part.Stride+part.Cols])
		}
		panel := b
		panel.Data = b.Data[j*b.Stride:]
		runTiles(program, 1, a, panel, k, Dense(buf[:], TileRows, Width), acc)
		for r := range part.Rows {
			copy(part.Data[r*part.Stride:r*part.Stride+part.Cols], buf[r*Width:])
		}
	}
}

// runTiles runs a program for some panels on the processor or in Go.
func runTiles(p *amx.Program, panels int, a, b Tiles, k int, c Mat[float32], acc bool) {
	steps := TileSteps(k)
	if activeTiles == modelTiles {
		for j := range panels {
			p.Run(steps, a.Data, b.Data[j*b.Stride:], c.Data[j*Width:], c.Stride, acc)
		}
		return
	}
	flag := 0
	if acc {
		flag = 1
	}
	skip := 2 * (b.Stride - TileSize(k, b.Terms)) // bytes
	runHardwareTiles(p, steps, panels, &a.Data[0], &b.Data[0], skip, &c.Data[0], c.Stride, flag)
}

// reason tells in a few words why the kernels in use were chosen; Features prints it.
var reason string

// setting is the error of a value of ATTNSCOPE_CPU that is not known.
var setting error

// CheckSetting returns an error if the environment variable ATTNSCOPE_CPU has an unknown
// value.
func CheckSetting() error { return setting }

func unknownSetting(value string, known ...string) error {
	return fmt.Errorf("environment variable ATTNSCOPE_CPU: unknown value %q; known values: %s",
		value, strings.Join(known, ", "))
}
