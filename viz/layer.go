package viz

import (
	"fmt"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Layer is what the figure of one layer and prompt shows.
type Layer struct {
	Title, Caption string
	Vote           Grid // [head, key]: mean weight over the window's rows, prefix keys
	Generated      Grid // [generated token, key]: mean weight over heads, the same keys
	Voted          []bool
	Attended       []bool // as many positions of largest mean weight
	Window         int
	Meta           Meta
}

// sinks is the number of first positions that are drawn apart, wider.
const sinks = 4

// columns maps the figure's columns to keys: the sinks first, each several
// columns wide, a gap, then the other keys max-pooled.
type columns struct {
	keys, sinkWidth, gap, bins int
}

func newColumns(keys int) columns {
	c := columns{keys: keys, bins: min(keys-min(sinks, keys), 460)}
	c.sinkWidth = max(1, c.bins/90)
	c.gap = c.sinkWidth
	return c
}

func (c columns) count() int { return min(sinks, c.keys)*c.sinkWidth + c.gap + c.bins }

// column is the column where key j is drawn.
func (c columns) column(j int) int {
	s := min(sinks, c.keys)
	if j < s {
		return j * c.sinkWidth
	}
	return s*c.sinkWidth + c.gap + (j-s)*c.bins/(c.keys-s)
}

// spread pools a row of keys into columns, each the largest of its values.
func (c columns) spread(g Grid) Grid {
	out := NewGrid(g.Rows, c.count())
	for r := range g.Rows {
		for j := range g.Cols {
			at, width := c.column(j), 1
			if j < sinks {
				width = c.sinkWidth
			}
			for k := at; k < at+width; k++ {
				if v := g.At(r, j); !(out.At(r, k) >= v) {
					out.Set(r, k, v)
				}
			}
		}
	}
	return out
}

func (c columns) ticks() plot.ConstantTicks {
	ticks := []plot.Tick{{Value: float64(min(sinks, c.keys)*c.sinkWidth) / 2, Label: "0-3"}}
	step := 100
	for c.keys/step > 8 {
		step *= 2
		if c.keys/step > 8 {
			step = step * 5 / 2
		}
	}
	for j := step; j < c.keys; j += step {
		ticks = append(ticks, plot.Tick{Value: float64(c.column(j)), Label: strconv.Itoa(j)})
	}
	return ticks
}

// Colours of the strip: what was only voted for, only attended to, and both
// (Okabe and Ito's colour-blind safe palette).
var (
	votedColor    = color.RGBA{230, 159, 0, 255}
	attendedColor = color.RGBA{86, 180, 233, 255}
	bothColor     = color.RGBA{0, 110, 80, 255}
)

// strip has one row for voted only, both, attended only.
func (l *Layer) strip(c columns) Grid {
	g := NewGrid(3, c.count())
	for j := range l.Voted {
		row := -1
		switch {
		case l.Voted[j] && l.Attended[j]:
			row = 1
		case l.Voted[j]:
			row = 0
		case l.Attended[j]:
			row = 2
		}
		if row < 0 {
			continue
		}
		width := 1
		if j < sinks {
			width = c.sinkWidth
		}
		for k := c.column(j); k < c.column(j)+width; k++ {
			g.Set(row, k, float64(row))
		}
	}
	return g
}

func stripColor(v float64) color.RGBA {
	switch v {
	case 0:
		return votedColor
	case 1:
		return bothColor
	case 2:
		return attendedColor
	}
	return color.RGBA{245, 245, 245, 255}
}

// LayerFigure draws the window's vote over what generation attended to.
func LayerFigure(l Layer) *Figure {
	const w, h = 7.2, 5.4
	f := &Figure{Width: w * vg.Inch, Height: h * vg.Inch, Meta: l.Meta}
	f.draw = func(c draw.Canvas) {
		cols := newColumns(l.Vote.Cols)
		text(c, 0.12, h-0.25, 10, l.Title, true)
		caption(c, 6.5, l.Caption)
		vote, gen := LogScale(l.Vote.Max()), LogScale(l.Generated.Max())
		left, wide := 0.12, 6.1
		l.panel(c, rect{left, 3.3, wide, 1.75}, cols.spread(l.Vote), vote, cols,
			fmt.Sprintf("what the window votes for: mean weight of the last %d prompt rows", l.Window), "query head", "")
		l.stripPanel(c, rect{left, 2.62, wide, 0.68}, cols)
		l.panel(c, rect{left, 0.25, wide, 2.35}, cols.spread(l.Generated), gen, cols,
			"what generation attends to: weight, mean over heads", "generated token", "key position (first four, the sinks, drawn wider)")
		colorBar(c, rect{6.32, 3.36, 0.8, 1.5}, vote, "weight")
		colorBar(c, rect{6.32, 0.62, 0.8, 1.75}, gen, "weight")
	}
	return f
}

// labelWidth is the room for the labels of the y axis: panels must align.
const labelWidth = 0.62

func (l *Layer) panel(c draw.Canvas, r rect, g Grid, s Scale, cols columns, title, y, x string) {
	p := newPlot(title, x, y)
	p.Add(cells{g, s.color})
	p.X.Tick.Marker = cols.ticks()
	p.Y.Tick.Marker = indexTicks(g.Rows, 9, true, strconv.Itoa)
	drawAligned(c, r, p)
}

func (l *Layer) stripPanel(c draw.Canvas, r rect, cols columns) {
	p := newPlot("", "", "")
	p.Add(cells{l.strip(cols), stripColor})
	p.X.Tick.Marker = plot.ConstantTicks(nil)
	p.Y.Tick.Marker = plot.ConstantTicks([]plot.Tick{{Value: 2.5, Label: "voted only"}, {Value: 1.5, Label: "both"}, {Value: 0.5, Label: "attended only"}})
	p.Y.Tick.Label.Font.Size = 6
	drawAligned(c, r, p)
}

// drawAligned draws a plot so that its data begin labelWidth from the left.
func drawAligned(c draw.Canvas, r rect, p *plot.Plot) {
	area := r.of(c)
	data := p.DataCanvas(area)
	shift := area.Min.X + labelWidth*vg.Inch - data.Min.X
	area.Min.X += shift
	p.Draw(area)
}
