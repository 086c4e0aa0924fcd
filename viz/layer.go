package viz

import (
	"fmt"
	"image/color"
	"slices"
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
	// VoteSinks and GeneratedSinks are the shares that learned sinks take of the rows of
	// Vote and Generated, which are no keys; nil: the model has none.
	VoteSinks, GeneratedSinks []float64
	Window                    int // rows of the observation window
	Meta                      Meta
}

// sinks is the number of leading positions, the attention sinks, that are drawn
// wider and apart from the rest.
const sinks = 4

// learnedWidth is the number of columns of the shares of learned sinks.
const learnedWidth = 3

// columns maps keys to the columns of the figure: first the sinks, each several
// columns wide, then a gap, then the other keys, max-pooled. The shares of learned sinks,
// if there are any, follow after another gap.
type columns struct {
	keys, sinkWidth, gap, bins int
	learned                    bool
}

func newColumns(keys int, learned bool) columns {
	c := columns{keys: keys, bins: min(keys-min(sinks, keys), 460), learned: learned}
	c.sinkWidth = max(1, c.bins/90)
	c.gap = c.sinkWidth
	return c
}

func (c columns) count() int {
	n := c.ofKeys()
	if c.learned {
		n += c.gap + learnedWidth*c.sinkWidth
	}
	return n
}

// ofKeys returns the number of columns of the keys.
func (c columns) ofKeys() int { return min(sinks, c.keys)*c.sinkWidth + c.gap + c.bins }

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

// spread distributes the keys of each row over the columns. A column that several keys
// share shows the largest of their values. learned has the shares of learned sinks by
// row, or is nil.
func (c columns) spread(g Grid, learned []float64) Grid {
	out := NewGrid(g.Rows, c.count())
	for r := range g.Rows {
		for k := c.ofKeys() + c.gap; k < c.count() && r < len(learned); k++ {
			out.Set(r, k, learned[r])
		}
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

// ticks labels about n positions.
func (c columns) ticks(n int) plot.ConstantTicks {
	ticks := []plot.Tick{{Value: float64(min(sinks, c.keys)*c.sinkWidth) / 2, Label: "0-3"}}
	step := 100
	for c.keys/step > n {
		step *= 2
		if c.keys/step > n {
			step = step * 5 / 2
		}
	}
	for j := step; j < c.keys; j += step {
		ticks = append(ticks, plot.Tick{Value: float64(c.column(j)), Label: strconv.Itoa(j)})
	}
	if c.learned {
		last := len(ticks) - 1
		if last > 0 && ticks[last].Value > float64(c.ofKeys())-float64(c.bins)/12 {
			ticks = ticks[:last] // which would lie below the next label
		}
		ticks = append(ticks, plot.Tick{Value: float64(c.ofKeys()+c.gap+c.count()) / 2, Label: "sink"})
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
// generated tokens, with a strip between them that shows where both agree. Both maps
// have the same color scale.
func LayerFigure(l Layer) *Figure {
	const left = 0.12
	f := newFigure(7.2, 5.4, l.Meta)
	f.caption = l.Caption
	f.draw = func(c draw.Canvas, g geometry) {
		g.title(c, l.Title)
		g.caption(c, f.caption)
		cols := newColumns(l.Vote.Cols, l.VoteSinks != nil)
		weights := logScale(slices.Max(slices.Concat([]float64{l.Vote.max(), l.Generated.max()}, l.VoteSinks, l.GeneratedSinks)), g.colors)
		vote := keyPanel{
			grid:   cols.spread(l.Vote, l.VoteSinks),
			scale:  weights,
			cols:   cols,
			title:  g.pick(fmt.Sprintf("votes of the window: weight, mean over the last %d prompt rows", l.Window), "votes of the window"),
			ylabel: "query head",
			size:   g,
		}
		generated := keyPanel{
			grid:   cols.spread(l.Generated, l.GeneratedSinks),
			scale:  weights,
			cols:   cols,
			title:  g.pick("attention of the generated tokens: weight, mean over heads", "attention of the generated tokens"),
			ylabel: "generated token",
			xlabel: g.pick(fmt.Sprintf("key position (without the %d of the window; the first four are drawn wider)", l.Window),
				"key position, window left out"),
			size: g,
		}
		bar := 0.98 // for the color bar
		if g.narrow() {
			bar = 0.8
		}
		width := g.w - left - bar
		height := g.h - g.head - g.foot
		strip := 0.68
		const gap = 0.07 // below the strip
		upper := (height - strip) * 0.43
		lower := height - strip - upper
		generatedArea := rect{left, g.foot, width, lower}
		voteArea := rect{left, g.foot + lower + strip, width, upper}
		bottom := generated.draw(c, generatedArea)
		drawStrip(c, rect{left, g.foot + lower + gap, width, strip - gap}, l.strip(cols), g)
		top := vote.draw(c, voteArea)
		from := besides(c, bottom, generatedArea, g.w-bar+0.05)
		from.w = bar - 0.12
		to := besides(c, top, voteArea, 0)
		from.h = to.y + to.h - from.y // from the foot of the lower panel to the head of the upper one
		colorBar(c, from, weights, "weight", g)
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
	size                  geometry
}

// draw draws the panel and returns it as a plot.
func (k *keyPanel) draw(c draw.Canvas, r rect) *plot.Plot {
	p := newPlot(k.title, k.xlabel, k.ylabel)
	p.Add(cells{g: k.grid, color: k.scale.color, dpi: k.size.dpi, pixels: k.size.page})
	p.X.Tick.Marker = k.cols.ticks(k.size.labels(8))
	p.Y.Tick.Marker = indexTicks(k.grid.Rows, min(9, int(r.h/0.18)), true, strconv.Itoa)
	drawAligned(c, r, p)
	return p
}

func drawStrip(c draw.Canvas, r rect, strip Grid, g geometry) {
	p := newPlot("", "", "")
	p.Add(cells{g: strip, color: stripColor, dpi: g.dpi, pixels: g.page})
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
