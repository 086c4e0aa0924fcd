// Package viz draws figures: per-layer heatmaps and summaries. It is the only
// importer of gonum/plot. What it draws is given as plain numbers.
package viz

import (
	"image"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Grid is a matrix of values, row 0 at the top; NaN is drawn grey.
type Grid struct {
	Rows, Cols int
	Values     []float64
}

// NewGrid makes a grid of NaN.
func NewGrid(rows, cols int) Grid {
	g := Grid{rows, cols, make([]float64, rows*cols)}
	for i := range g.Values {
		g.Values[i] = math.NaN()
	}
	return g
}

// At is the value in a row and column.
func (g Grid) At(r, c int) float64 { return g.Values[r*g.Cols+c] }

// Set sets a value.
func (g Grid) Set(r, c int, v float64) { g.Values[r*g.Cols+c] = v }

// Max is the largest defined value, 0 of none.
func (g Grid) Max() float64 {
	top := 0.0
	for _, v := range g.Values {
		if v > top {
			top = v
		}
	}
	return top
}

// MaxPool reduces a grid to at most rows x cols cells, each the largest value
// of what it covers: a single bright cell stays visible.
func (g Grid) MaxPool(rows, cols int) Grid {
	rows, cols = min(rows, g.Rows), min(cols, g.Cols)
	out := NewGrid(rows, cols)
	for r := range g.Rows {
		for c := range g.Cols {
			v := g.At(r, c)
			at := (r*rows/g.Rows)*cols + c*cols/g.Cols
			if o := out.Values[at]; !math.IsNaN(v) && (math.IsNaN(o) || v > o) {
				out.Values[at] = v
			}
		}
	}
	return out
}

// Maps with more cells than this, or more than 128 x 512, are drawn as an
// image, smaller ones as rectangles: a vector file of more is megabytes.
const (
	maxCellRows = 128
	maxCellCols = 512
	maxCells    = 16 << 10
)

// cells plots a grid: solid cells without seams, nothing interpolated.
type cells struct {
	g     Grid
	color func(v float64) color.RGBA
}

// DataRange is that of the cells' borders: column c covers [c, c+1].
func (h cells) DataRange() (xmin, xmax, ymin, ymax float64) {
	return 0, float64(h.g.Cols), 0, float64(h.g.Rows)
}

// Plot implements plot.Plotter.
func (h cells) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	if h.g.Rows > maxCellRows || h.g.Cols > maxCellCols || h.g.Rows*h.g.Cols > maxCells {
		h.image(c, tx, ty)
		return
	}
	const over = vg.Length(0.3)
	for r := range h.g.Rows {
		for k := range h.g.Cols {
			x0, x1 := tx(float64(k)), tx(float64(k+1))
			y1, y0 := ty(float64(h.g.Rows-r)), ty(float64(h.g.Rows-r-1))
			if k < h.g.Cols-1 {
				x1 += over
			}
			if r > 0 {
				y1 += over
			}
			c.FillPolygon(h.color(h.g.At(r, k)), []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}})
		}
	}
}

// image draws the grid as one picture, a pixel of the figure for each of its
// own, so that no viewer needs to interpolate.
func (h cells) image(c draw.Canvas, tx, ty func(float64) vg.Length) {
	rect := vg.Rectangle{Min: vg.Point{X: tx(0), Y: ty(0)}, Max: vg.Point{X: tx(float64(h.g.Cols)), Y: ty(float64(h.g.Rows))}}
	w := int(float64(rect.Max.X-rect.Min.X) / 72 * dpi)
	t := int(float64(rect.Max.Y-rect.Min.Y) / 72 * dpi)
	g := h.g.MaxPool(t, w)
	img := image.NewRGBA(image.Rect(0, 0, w, t))
	for y := range t {
		for x := range w {
			img.SetRGBA(x, y, h.color(g.At(y*g.Rows/t, x*g.Cols/w)))
		}
	}
	c.DrawImage(rect, img)
}

// Scale maps values to shares of the colour map.
type Scale struct {
	Log    bool
	Lo, Hi float64
}

// LogScale covers the four decades below the largest value.
func LogScale(top float64) Scale {
	if top <= 0 {
		top = 1
	}
	return Scale{true, top * 1e-4, top}
}

// Share is the place of v in the scale, in [0, 1]; NaN stays NaN.
func (s Scale) Share(v float64) float64 {
	if math.IsNaN(v) {
		return v
	}
	if !s.Log {
		return (v - s.Lo) / (s.Hi - s.Lo)
	}
	if v <= s.Lo {
		return 0
	}
	return math.Log(v/s.Lo) / math.Log(s.Hi/s.Lo)
}

func (s Scale) color(v float64) color.RGBA { return colorOf(s.Share(v)) }
