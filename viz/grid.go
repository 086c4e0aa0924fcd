// Package viz draws figures from plain numbers: it opens no dumps and computes
// no rates. It is the only package that imports gonum/plot, apart from its own
// subpackages.
//
// Each kind of figure has a struct that holds its numbers and texts, and a
// function that draws it:
//
//	Curves    CurvesFigure    lines of several series, for example a rate by layer
//	Scatter   ScatterFigure   points of several series on logarithmic axes
//	Summary   SummaryFigure   a small map of rates, layer x head or layer x window
//	Layer     LayerFigure     a layer of a prompt: the window's vote above the reply's attention
//	Overview  OverviewFigure  the pooled attention map of a layer
//
// The result is a [Figure], which is encoded as PNG or SVG:
//
//	f := viz.CurvesFigure(viz.Curves{Title: "hit rate by layer", Series: series, Hi: 1})
//	err := f.Save("rates.svg")
//
// Package viz/figures computes the numbers of the standard figures from dumps.
package viz

import (
	"image"
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Grid is a matrix of values in row-major order. Row 0 is drawn at the top, and
// NaN, which means "not defined", is drawn gray.
type Grid struct {
	Rows, Cols int
	Values     []float64
}

// NewGrid returns a grid in which every value is NaN.
func NewGrid(rows, cols int) Grid {
	g := Grid{rows, cols, make([]float64, rows*cols)}
	for i := range g.Values {
		g.Values[i] = math.NaN()
	}
	return g
}

func (g Grid) at(r, c int) float64 { return g.Values[r*g.Cols+c] }

// Set sets the value at row r and column c.
func (g Grid) Set(r, c int, v float64) { g.Values[r*g.Cols+c] = v }

// max returns the largest positive value, or 0 if there is none.
func (g Grid) max() float64 {
	top := 0.0
	for _, v := range g.Values {
		if v > top {
			top = v
		}
	}
	return top
}

// maxPool reduces a grid to at most rows x cols cells. Each cell is the maximum of
// the values it covers, so that a single bright cell stays visible.
func (g Grid) maxPool(rows, cols int) Grid {
	rows = min(rows, g.Rows)
	cols = min(cols, g.Cols)
	out := NewGrid(rows, cols)
	for r := range g.Rows {
		for c := range g.Cols {
			v := g.at(r, c)
			i := (r*rows/g.Rows)*cols + c*cols/g.Cols
			if o := out.Values[i]; !math.IsNaN(v) && (math.IsNaN(o) || v > o) {
				out.Values[i] = v
			}
		}
	}
	return out
}

// Grids up to these sizes are drawn as rectangles. Larger ones are drawn as an
// image, because a vector file of so many rectangles would take megabytes.
const (
	maxCellRows = 128
	maxCellCols = 512
	maxCells    = 16 << 10
)

// cells plots a grid as solid cells, without seams and without interpolation.
type cells struct {
	g     Grid
	color func(v float64) color.RGBA
	dpi   int // of the image that replaces many cells
	// pixels draws an image with a pixel for each cell, which a browser scales. Cells
	// without a value show what is behind the image.
	pixels bool
	// none marks cells, [row, column], that stand for nothing and are left blank; nil:
	// none.
	none []bool
}

// DataRange implements plot.DataRanger. Column c covers [c, c+1].
func (h cells) DataRange() (xmin, xmax, ymin, ymax float64) {
	return 0, float64(h.g.Cols), 0, float64(h.g.Rows)
}

// Plot implements plot.Plotter.
func (h cells) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	if h.pixels {
		c.DrawImage(h.area(tx, ty), h.pixelImage())
		return
	}
	if h.g.Rows > maxCellRows || h.g.Cols > maxCellCols || h.g.Rows*h.g.Cols > maxCells {
		h.image(c, tx, ty)
		return
	}
	const overlap = vg.Length(0.3) // hides the seams between neighboring cells
	for r := range h.g.Rows {
		for k := range h.g.Cols {
			if h.none != nil && h.none[r*h.g.Cols+k] {
				continue
			}
			x0, x1 := tx(float64(k)), tx(float64(k+1))
			y0, y1 := ty(float64(h.g.Rows-r-1)), ty(float64(h.g.Rows-r))
			if k < h.g.Cols-1 {
				x1 += overlap
			}
			if r > 0 {
				y1 += overlap
			}
			corners := []vg.Point{{X: x0, Y: y0}, {X: x1, Y: y0}, {X: x1, Y: y1}, {X: x0, Y: y1}}
			c.FillPolygon(h.color(h.g.at(r, k)), corners)
		}
	}
}

// image draws the grid as one image in the resolution of the figure, so that no
// viewer needs to interpolate.
func (h cells) image(c draw.Canvas, tx, ty func(float64) vg.Length) {
	area := h.area(tx, ty)
	width := int(float64(area.Max.X-area.Min.X) / 72 * float64(h.dpi))
	height := int(float64(area.Max.Y-area.Min.Y) / 72 * float64(h.dpi))
	g := h.g.maxPool(height, width)
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			img.SetRGBA(x, y, h.color(g.at(y*g.Rows/height, x*g.Cols/width)))
		}
	}
	c.DrawImage(area, img)
}

// area returns the rectangle that the grid covers.
func (h cells) area(tx, ty func(float64) vg.Length) vg.Rectangle {
	return vg.Rectangle{
		Min: vg.Point{X: tx(0), Y: ty(0)},
		Max: vg.Point{X: tx(float64(h.g.Cols)), Y: ty(float64(h.g.Rows))},
	}
}

// maxPixelRows is the number of rows of an image of pixels. Cells of more rows share
// pixels, so that the page of a long reply stays small.
const maxPixelRows = 160

// pixelImage returns the grid as an image with a palette, which takes less space than one
// with full colors.
func (h cells) pixelImage() image.Image {
	g := h.g.maxPool(maxPixelRows, h.g.Cols)
	indices := map[color.RGBA]uint8{}
	img := image.NewPaletted(image.Rect(0, 0, g.Cols, g.Rows), color.Palette{color.Transparent})
	for i, v := range g.Values {
		if math.IsNaN(v) {
			continue
		}
		c := h.color(v)
		at, known := indices[c]
		if !known && len(img.Palette) < 256 {
			at = uint8(len(img.Palette))
			indices[c] = at
			img.Palette = append(img.Palette, c)
		}
		if !known && at == 0 {
			at = uint8(img.Palette.Index(c))
		}
		img.Pix[i] = at
	}
	return img
}

// scale maps values to positions in the color map.
type scale struct {
	log    bool
	misses bool // of rates, spaced by the logarithm of 1 - rate
	lo, hi float64
	colors *colorMap
}

// linearScale returns a scale from 0 to 1.
func linearScale(colors *colorMap) scale { return scale{hi: 1, colors: colors} }

// missScale returns a scale of rates that resolves 0.99 from 1: every tenth of the
// misses takes as much of the color map as the one before it.
func missScale(colors *colorMap) scale { return scale{misses: true, hi: 1, colors: colors} }

// missDecades is the number of tenths of the misses that missScale tells apart. Rates
// from 0.999 on have the same color.
const missDecades = 3

// logScale returns a scale of the four decades below the largest value.
func logScale(top float64, colors *colorMap) scale {
	if top <= 0 {
		top = 1
	}
	return scale{log: true, lo: top * 1e-4, hi: top, colors: colors}
}

// position returns where v lies in the scale: 0 at lo, 1 at hi. NaN stays NaN. A
// linear scale does not clamp values outside its range; a logarithmic one clamps
// values below lo to 0.
func (s scale) position(v float64) float64 {
	if math.IsNaN(v) {
		return v
	}
	if s.misses {
		return min(1, -math.Log10(max(1-v, 1e-9))/missDecades)
	}
	if !s.log {
		return (v - s.lo) / (s.hi - s.lo)
	}
	if v <= s.lo {
		return 0
	}
	return math.Log(v/s.lo) / math.Log(s.hi/s.lo)
}

func (s scale) color(v float64) color.RGBA { return s.colors.at(s.position(v)) }
