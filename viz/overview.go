package viz

import (
	"strconv"

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
	f := newFigure(6.6, 5.9, o.Meta)
	f.caption = o.Caption
	f.draw = func(c draw.Canvas, g geometry) {
		s := logScale(o.Map.max(), g.colors)
		g.title(c, o.Title)
		g.caption(c, f.caption)
		p := newPlot("", "key position", "query position")
		p.Add(cells{g: o.Map, color: s.color, dpi: g.dpi, pixels: g.page})
		label := func(i int) string { return strconv.Itoa(i * o.Tokens / o.Map.Cols) }
		p.X.Tick.Marker = indexTicks(o.Map.Cols, g.labels(8), false, label)
		p.Y.Tick.Marker = indexTicks(o.Map.Rows, 8, true, label)
		panel := rect{0.1, g.foot, g.w - 1.2, g.h - g.foot - g.head}
		p.Draw(panel.of(c))
		colorBar(c, besides(c, p, panel, g.w-1.05), s, "largest weight", g)
	}
	return f
}
