package viz

import (
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Summary holds a small map of rates with a row for each layer.
type Summary struct {
	Title, Caption string
	XLabel, YLabel string   // an empty YLabel means "layer"
	Columns        []string // labels of the columns
	Rates          Grid     // [layer, column], in [0, 1]; NaN where there is no rate
	Few            []bool   // [layer, column]: cells that rest on too little data; nil: none
	None           []bool   // [layer, column]: cells that stand for nothing, because there is no such head; nil: none
	NoAttention    []bool   // [layer]: layers without attention, which say so; nil: none
	Misses         bool     // space the colors so that 0.99 differs from 1, as for hit rates
	Layers         []int    // labels of the rows
	BarTitle       string   // title of the color bar
	Meta           Meta
}

// SummaryFigure draws the rates on a color scale from 0 to 1. Cells that rest on too
// little data are hatched. The size of the figure grows with the number of rows and
// columns.
func SummaryFigure(s Summary) *Figure {
	w := 2.1 + 0.28*float64(max(6, min(32, s.Rates.Cols)))
	h := 1.3 + 0.125*float64(max(16, min(80, s.Rates.Rows)))
	f := newFigure(w, h, s.Meta)
	f.caption = s.Caption
	f.draw = func(c draw.Canvas, g geometry) {
		rates := linearScale(g.colors)
		if s.Misses {
			rates = missScale(g.colors)
		}
		g.title(c, s.Title)
		g.caption(c, f.caption)
		ylabel := "layer"
		if s.YLabel != "" {
			ylabel = s.YLabel
		}
		p := newPlot("", s.XLabel, ylabel)
		p.Add(cells{g: s.enough(), color: rates.color, dpi: g.dpi, none: s.blank()})
		if s.NoAttention != nil {
			p.Add(holes{s.Rates, s.NoAttention})
		}
		if s.Few != nil {
			p.Add(hatching{s.Rates, s.Few})
		}
		p.X.Tick.Marker = indexTicks(s.Rates.Cols, g.labels(16), false, func(i int) string { return s.Columns[i] })
		p.Y.Tick.Marker = indexTicks(s.Rates.Rows, 16, true, func(i int) string { return strconv.Itoa(s.Layers[i]) })
		panel := rect{0.1, g.foot, g.w - 1.1, g.h - g.foot - g.head}
		p.Draw(panel.of(c))
		colorBar(c, besides(c, p, panel, g.w-0.98), rates, s.BarTitle, g)
	}
	return f
}

// blank marks the cells that are not drawn; nil: none.
func (s *Summary) blank() []bool {
	if s.None == nil && s.NoAttention == nil {
		return nil
	}
	list := make([]bool, len(s.Rates.Values))
	for i := range list {
		list[i] = s.None != nil && s.None[i] || s.NoAttention != nil && s.NoAttention[i/s.Rates.Cols]
	}
	return list
}

// holes writes "no attention" into the rows of layers that have none, if there is room.
type holes struct {
	g    Grid
	rows []bool
}

// DataRange implements plot.DataRanger.
func (h holes) DataRange() (xmin, xmax, ymin, ymax float64) { return cells{g: h.g}.DataRange() }

// Plot implements plot.Plotter.
func (h holes) Plot(c draw.Canvas, p *plot.Plot) {
	const size = 5.5 // points
	tx, ty := p.Transforms(&c)
	style := textStyle(size, false)
	style.Color = color.Gray{110}
	style.XAlign = draw.XCenter
	style.YAlign = draw.YCenter
	line := draw.LineStyle{Color: color.Gray{190}, Width: vg.Points(0.4)}
	for r, none := range h.rows {
		if !none {
			continue
		}
		lo, hi := ty(float64(h.g.Rows-r-1)), ty(float64(h.g.Rows-r))
		left, right := tx(0), tx(float64(h.g.Cols))
		middle := vg.Point{X: (left + right) / 2, Y: (lo + hi) / 2}
		width := vg.Length(0)
		if hi-lo >= vg.Points(size) {
			c.FillText(style, middle, "no attention")
			width = style.Width("no attention") + vg.Points(4)
		}
		c.StrokeLine2(line, left, middle.Y, middle.X-width/2, middle.Y)
		c.StrokeLine2(line, middle.X+width/2, middle.Y, right, middle.Y)
	}
}

// enough returns the rates without those that rest on too little data.
func (s *Summary) enough() Grid {
	if s.Few == nil {
		return s.Rates
	}
	g := NewGrid(s.Rates.Rows, s.Rates.Cols)
	for i, v := range s.Rates.Values {
		if !s.Few[i] {
			g.Values[i] = v
		}
	}
	return g
}

// hatching draws diagonal lines over cells that rest on too little data.
type hatching struct {
	g   Grid
	few []bool
}

// DataRange implements plot.DataRanger.
func (h hatching) DataRange() (xmin, xmax, ymin, ymax float64) { return cells{g: h.g}.DataRange() }

// Plot implements plot.Plotter.
func (h hatching) Plot(c draw.Canvas, p *plot.Plot) {
	tx, ty := p.Transforms(&c)
	lines := draw.LineStyle{Color: color.Gray{150}, Width: vg.Points(0.4)}
	for r := range h.g.Rows {
		for k := range h.g.Cols {
			if !h.few[r*h.g.Cols+k] {
				continue
			}
			lo := vg.Point{X: tx(float64(k)), Y: ty(float64(h.g.Rows - r - 1))}
			hi := vg.Point{X: tx(float64(k + 1)), Y: ty(float64(h.g.Rows - r))}
			hatch(c, lines, lo, hi)
		}
	}
}

// hatch draws diagonal lines, three points apart, within the rectangle from lo to hi.
func hatch(c draw.Canvas, style draw.LineStyle, lo, hi vg.Point) {
	const step = vg.Length(3)
	height := hi.Y - lo.Y
	for x := lo.X - height + step/2; x < hi.X; x += step {
		from := vg.Point{X: x, Y: lo.Y} // rises to the right at 45 degrees
		to := vg.Point{X: x + height, Y: hi.Y}
		if from.X < lo.X {
			from = vg.Point{X: lo.X, Y: lo.Y + lo.X - x}
		}
		if to.X > hi.X {
			to = vg.Point{X: hi.X, Y: lo.Y + hi.X - x}
		}
		c.StrokeLine2(style, from.X, from.Y, to.X, to.Y)
	}
}
