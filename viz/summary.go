package viz

import (
	"strconv"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Summary holds a small map of rates with a row for each layer.
type Summary struct {
	Title, Caption string
	XLabel, YLabel string   // an empty YLabel means "layer"
	Columns        []string // labels of the columns
	Rates          Grid     // [layer, column], in [0, 1]; NaN where there is no rate
	Layers         []int    // labels of the rows
	BarTitle       string   // title of the color bar
	Meta           Meta
}

// SummaryFigure draws the rates on a linear color scale from 0 to 1. The size of
// the figure grows with the number of rows and columns.
func SummaryFigure(s Summary) *Figure {
	w := 2.1 + 0.28*float64(max(6, min(32, s.Rates.Cols)))
	h := 1.3 + 0.125*float64(max(16, min(80, s.Rates.Rows)))
	f := &Figure{Width: vg.Length(w) * vg.Inch, Height: vg.Length(h) * vg.Inch, Meta: s.Meta}
	f.draw = func(c draw.Canvas) {
		rates := scale{lo: 0, hi: 1}
		text(c, 0.12, h-0.25, 9, s.Title, true)
		caption(c, 6, s.Caption)
		ylabel := "layer"
		if s.YLabel != "" {
			ylabel = s.YLabel
		}
		p := newPlot("", s.XLabel, ylabel)
		p.Add(cells{s.Rates, rates.color})
		p.X.Tick.Marker = indexTicks(s.Rates.Cols, 16, false, func(i int) string { return s.Columns[i] })
		p.Y.Tick.Marker = indexTicks(s.Rates.Rows, 16, true, func(i int) string { return strconv.Itoa(s.Layers[i]) })
		p.Draw(rect{0.1, 0.25, w - 1.1, h - 0.6}.of(c))
		colorBar(c, rect{w - 0.98, 0.6, 0.78, h - 1.1}, rates, s.BarTitle)
	}
	return f
}
