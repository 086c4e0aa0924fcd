package viz

import (
	"strconv"

	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Overview holds the attention map of a whole prompt, pooled into square cells.
type Overview struct {
	Title, Caption string
	Map            Grid // [query, key]: the largest weight in each cell
	Tokens         int  // length of the prompt, which both axes show
	Meta           Meta
}

// OverviewFigure draws the map on a logarithmic color scale.
func OverviewFigure(o Overview) *Figure {
	const w, h = 6.6, 5.9
	f := &Figure{Width: w * vg.Inch, Height: h * vg.Inch, Meta: o.Meta}
	f.draw = func(c draw.Canvas) {
		s := logScale(o.Map.max())
		text(c, 0.12, h-0.25, 9, o.Title, true)
		caption(c, 6, o.Caption)
		p := newPlot("", "key position", "query position")
		p.Add(cells{o.Map, s.color})
		label := func(i int) string { return strconv.Itoa(i * o.Tokens / o.Map.Cols) }
		p.X.Tick.Marker = indexTicks(o.Map.Cols, 8, false, label)
		p.Y.Tick.Marker = indexTicks(o.Map.Rows, 8, true, label)
		p.Draw(rect{0.1, 0.25, w - 1.2, h - 0.6}.of(c))
		colorBar(c, rect{w - 1.05, 1.2, 0.85, h - 2.4}, s, "largest weight")
	}
	return f
}
