package viz

import (
	"fmt"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Layer holds what the figure of one layer of one prompt shows. All columns are
// positions of the prefix, the prompt without its observation window.
type Layer struct {
	Title, Caption string
	Vote           Grid   // [head, key]: weight, averaged over the rows of the window
	Generated      Grid   // [generated token, key]: weight, averaged over heads
	Voted          []bool // [key]: among the positions with the most votes
	Attended       []bool // [key]: among equally many positions with the largest generated attention
	Window         int    // rows of the observation window
	Meta           Meta
}

// sinks is the number of leading positions, the attention sinks, that are drawn
// wider and apart from the rest.
const sinks = 4

// columns maps keys to the columns of the figure: first the sinks, each several
// columns wide, then a gap, then the other keys, max-pooled.
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

// column returns the first column of key j.
func (c columns) column(j int) int {
	s := min(sinks, c.keys)
	if j < s {
		return j * c.sinkWidth
	}
	return s*c.sinkWidth + c.gap + (j-s)*c.bins/(c.keys-s)
}

// width returns how many columns key j takes.
func (c columns) width(j int) int {
	if j < sinks {
		return c.sinkWidth
	}
	return 1
}

// spread distributes the keys of each row over the columns. A column that several
// keys share shows the largest of their values.
func (c columns) spread(g Grid) Grid {
	out := NewGrid(g.Rows, c.count())
	for r := range g.Rows {
		for j := range g.Cols {
			first := c.column(j)
			for k := first; k < first+c.width(j); k++ {
				if v := g.at(r, j); !(out.at(r, k) >= v) {
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

// Colors of the strip between the two panels, from the color-blind safe palette
// of Okabe and Ito.
var (
	votedColor    = color.RGBA{230, 159, 0, 255}
	attendedColor = color.RGBA{86, 180, 233, 255}
	bothColor     = color.RGBA{0, 110, 80, 255}
)

// strip returns a grid with one row each for positions that were only voted for,
// both voted for and attended to, and only attended to. A marked cell holds the
// number of its row.
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
		first := c.column(j)
		for k := first; k < first+c.width(j); k++ {
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

// LayerFigure draws the votes of the observation window above the attention of the
// generated tokens, with a strip between them that shows where both agree.
func LayerFigure(l Layer) *Figure {
	const w, h = 7.2, 5.4
	const left, width = 0.12, 6.1
	f := &Figure{Width: w * vg.Inch, Height: h * vg.Inch, Meta: l.Meta}
	f.draw = func(c draw.Canvas) {
		text(c, 0.12, h-0.25, 10, l.Title, true)
		caption(c, 6.5, l.Caption)
		cols := newColumns(l.Vote.Cols)
		vote := keyPanel{
			grid:   cols.spread(l.Vote),
			scale:  logScale(l.Vote.max()),
			cols:   cols,
			title:  fmt.Sprintf("votes of the window: weight, mean over the last %d prompt rows", l.Window),
			ylabel: "query head",
		}
		generated := keyPanel{
			grid:   cols.spread(l.Generated),
			scale:  logScale(l.Generated.max()),
			cols:   cols,
			title:  "attention of the generated tokens: weight, mean over heads",
			ylabel: "generated token",
			xlabel: "key position (the first four, the attention sinks, are drawn wider)",
		}
		vote.draw(c, rect{left, 3.3, width, 1.75})
		drawStrip(c, rect{left, 2.62, width, 0.68}, l.strip(cols))
		generated.draw(c, rect{left, 0.25, width, 2.35})
		colorBar(c, rect{6.32, 3.36, 0.8, 1.5}, vote.scale, "weight")
		colorBar(c, rect{6.32, 0.62, 0.8, 1.75}, generated.scale, "weight")
	}
	return f
}

// labelWidth is the space for the labels of the y axis, in inches. It is the same
// for all panels, so that their data align.
const labelWidth = 0.62

// keyPanel is a map whose columns are those of a layer's figure.
type keyPanel struct {
	grid                  Grid
	scale                 scale
	cols                  columns
	title, ylabel, xlabel string
}

func (k *keyPanel) draw(c draw.Canvas, r rect) {
	p := newPlot(k.title, k.xlabel, k.ylabel)
	p.Add(cells{k.grid, k.scale.color})
	p.X.Tick.Marker = k.cols.ticks()
	p.Y.Tick.Marker = indexTicks(k.grid.Rows, 9, true, strconv.Itoa)
	drawAligned(c, r, p)
}

func drawStrip(c draw.Canvas, r rect, strip Grid) {
	p := newPlot("", "", "")
	p.Add(cells{strip, stripColor})
	p.X.Tick.Marker = plot.ConstantTicks(nil)
	p.Y.Tick.Marker = plot.ConstantTicks([]plot.Tick{
		{Value: 2.5, Label: "voted only"},
		{Value: 1.5, Label: "both"},
		{Value: 0.5, Label: "attended only"},
	})
	p.Y.Tick.Label.Font.Size = 6
	drawAligned(c, r, p)
}

// drawAligned draws a plot whose data begin labelWidth from the left edge of r.
func drawAligned(c draw.Canvas, r rect, p *plot.Plot) {
	area := r.of(c)
	data := p.DataCanvas(area)
	shift := area.Min.X + labelWidth*vg.Inch - data.Min.X
	area.Min.X += shift
	p.Draw(area)
}
