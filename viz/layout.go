package viz

import (
	"fmt"
	"image/color"
	"math"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// rect is a part of a figure. Its origin is the lower left corner of the figure,
// and its unit is the inch.
type rect struct{ x, y, w, h float64 }

// point converts inches from the lower left corner of a canvas to its coordinates.
func point(c draw.Canvas, x, y float64) vg.Point {
	return vg.Point{X: c.Min.X + vg.Length(x)*vg.Inch, Y: c.Min.Y + vg.Length(y)*vg.Inch}
}

// of returns the part of the canvas that the rectangle covers.
func (r rect) of(c draw.Canvas) draw.Canvas {
	lo := point(c, r.x, r.y)
	hi := vg.Point{X: lo.X + vg.Length(r.w)*vg.Inch, Y: lo.Y + vg.Length(r.h)*vg.Inch}
	return draw.Canvas{Canvas: c.Canvas, Rectangle: vg.Rectangle{Min: lo, Max: hi}}
}

// newPlot makes a plot in the style that all figures share.
func newPlot(title, xlabel, ylabel string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle.Font.Size = 9
	p.Title.Padding = 4
	p.X.Label.Text = xlabel
	p.Y.Label.Text = ylabel
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle.Font.Size = 8
		a.Tick.Label.Font.Size = 7
		a.Padding = 0
		a.LineStyle.Width = 0.5
		a.Tick.LineStyle.Width = 0.5
		a.Tick.Length = 3
	}
	return p
}

// text writes a line with its lower left corner at (x, y), in inches. The font
// size is in points.
func text(c draw.Canvas, x, y, size float64, s string, bold bool) {
	c.FillText(textStyle(size, bold), point(c, x, y), s)
}

func textStyle(size float64, bold bool) draw.TextStyle {
	style := plot.New().Title.TextStyle
	style.Font.Size = vg.Length(size)
	style.Color = color.Black
	style.XAlign = draw.XLeft
	style.YAlign = draw.YBottom
	if bold {
		style.Font.Weight = 2
	}
	return style
}

// Sizes of the caption: of its letters, in points, and the others in inches.
const (
	captionSize = 6
	captionLine = 1.3 * captionSize / 72
	captionLeft = 0.12
)

// captionWidth returns the width of a line of the caption of a figure.
func captionWidth(figure vg.Length) vg.Length { return figure - 2*captionLeft*vg.Inch }

// caption writes the small print at the foot of a figure, in as many lines as its
// width requires.
func caption(c draw.Canvas, s string) {
	const foot = 0.06
	lines := wrap(textStyle(captionSize, false), captionWidth(c.Max.X-c.Min.X), s)
	for i, line := range lines {
		text(c, captionLeft, foot+float64(len(lines)-1-i)*captionLine, captionSize, line, false)
	}
}

// wrap breaks a text between words into lines that are not wider than width. A
// single word that is wider gets a line of its own.
func wrap(style draw.TextStyle, width vg.Length, s string) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(s) {
		if longer := strings.TrimSpace(line + " " + word); line == "" || style.Width(longer) <= width {
			line = longer
			continue
		}
		lines = append(lines, line)
		line = word
	}
	return append(lines, line)
}

// barWidth is the width of a color bar with its labels, in inches.
const barWidth = 0.8

// colorWidth is the width of the colors of a color bar, in inches.
const colorWidth = 0.15

// colorBar draws a color scale, with its title, as a narrow plot. r holds the height of
// the bar itself; its labels are to the left of it.
func colorBar(c draw.Canvas, r rect, s scale, title string, size geometry) {
	const steps = 128
	g := NewGrid(steps, 1)
	for i := range steps {
		g.Set(i, 0, 1-(float64(i)+0.5)/steps)
	}
	p := newPlot("", "", title)
	p.X.Tick.Marker = plot.ConstantTicks(nil)
	p.X.LineStyle.Width = 0
	p.Add(cells{g: g, color: s.colors.at, pixels: size.page})
	var ticks []plot.Tick
	switch {
	case s.misses:
		for _, v := range []float64{0, 0.5, 0.9, 0.99, 0.999} {
			label := fmt.Sprint(v)
			if v == 0.999 {
				label = "0.999+" // the scale ends here
			}
			ticks = append(ticks, plot.Tick{Value: s.position(v) * steps, Label: label})
		}
	case s.log:
		for e := math.Ceil(math.Log10(s.lo)); e <= math.Log10(s.hi); e++ {
			at := s.position(math.Pow(10, e)) * steps
			ticks = append(ticks, plot.Tick{Value: at, Label: fmt.Sprintf("1e%d", int(e))})
		}
	default:
		for i := 0; i <= 4; i++ {
			v := s.lo + (s.hi-s.lo)*float64(i)/4
			ticks = append(ticks, plot.Tick{Value: float64(i) / 4 * steps, Label: fmt.Sprintf("%.2g", v)})
		}
	}
	p.Y.Tick.Marker = plot.ConstantTicks(ticks)
	area := r.of(c)
	data := p.DataCanvas(area)
	area.Min.Y -= data.Min.Y - area.Min.Y
	area.Max.Y += area.Max.Y - data.Max.Y
	area.Max.X -= max(0, data.Max.X-data.Min.X-colorWidth*vg.Inch)
	p.Draw(area)
}

// besides returns the rectangle of a color bar that is as high as the data of a plot in
// r, with its left edge at x.
func besides(c draw.Canvas, p *plot.Plot, r rect, x float64) rect {
	area := r.of(c)
	data := p.DataCanvas(area)
	low := float64((data.Min.Y - area.Min.Y) / vg.Inch)
	high := float64((data.Max.Y - area.Min.Y) / vg.Inch)
	return rect{x, r.y + low, barWidth, high - low}
}

// indexTicks labels the centers of the cells 0..n-1. It labels every step-th cell,
// with the smallest round step that gives about want labels. flip counts from the
// top, as the rows of a grid do.
func indexTicks(n, want int, flip bool, label func(i int) string) plot.ConstantTicks {
	step := 1
	for _, s := range []int{1, 2, 5, 10, 20, 25, 50, 100, 200, 500, 1000, 2000, 5000, 10000} {
		if step = s; n/s <= want {
			break
		}
	}
	var ticks []plot.Tick
	for i := 0; i < n; i += step {
		at := float64(i) + 0.5
		if flip {
			at = float64(n) - at
		}
		ticks = append(ticks, plot.Tick{Value: at, Label: label(i)})
	}
	return ticks
}
