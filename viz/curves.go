package viz

import (
	"image/color"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Series is one line of Curves or one set of points of Scatter.
type Series struct {
	Name      string
	X, Y      []float64 // equally long; NaN in Y interrupts the line
	Low, High []float64 // bounds of a band around the line; nil draws no band
	Baseline  bool      // drawn thin, gray and dashed
}

// Curves is a line figure with one panel. The legend is to the right of it, in the
// order of the series.
type Curves struct {
	Title, Caption string
	XLabel, YLabel string
	LogX, LogY     bool
	Lo, Hi         float64 // range of y; both 0 take it from the data
	Series         []Series
	Meta           Meta
}

// hues are the colors of the series, those of Okabe and Ito ("Color universal
// design", 2008) without yellow, so that color-blind readers can tell them apart.
// Once all are used, they repeat with the next entry of dashes.
var hues = []color.RGBA{
	{0, 114, 178, 255},
	{213, 94, 0, 255},
	{0, 158, 115, 255},
	{204, 121, 167, 255},
	{230, 159, 0, 255},
	{86, 180, 233, 255},
	{0, 0, 0, 255},
}

var (
	longDashes = []vg.Length{vg.Points(4), vg.Points(1.5)}
	dotted     = []vg.Length{vg.Points(1.2), vg.Points(1.2)}
	dashDots   = []vg.Length{vg.Points(5), vg.Points(1.5), vg.Points(1), vg.Points(1.5)}

	dashes         = [][]vg.Length{nil, longDashes, dotted}
	baselineDashes = [][]vg.Length{longDashes, dotted, nil, dashDots}
)

// CurvesFigure draws the curves.
func CurvesFigure(k Curves) *Figure {
	f := newFigure(6.6, 3.4, k.Meta)
	f.caption = k.Caption
	f.entries = len(k.Series)
	if k.LogY {
		k.Series = positive(k.Series)
	}
	f.draw = func(c draw.Canvas, g geometry) {
		g.title(c, k.Title)
		g.caption(c, f.caption)
		p := newPlot("", k.XLabel, k.YLabel)
		k.axes(p)
		styles := lineStyles(k.Series)
		marks := markers(k.Series, styles)
		for i, s := range k.Series {
			s.band(p, styles[i].Color)
		}
		for i, s := range k.Series {
			s.line(p, styles[i], marks[i])
		}
		p.Draw(g.besideLegend().of(c))
		for i, s := range k.Series {
			x, y := g.entry(i)
			from := point(c, x, y)
			to := point(c, x+0.25, y)
			c.StrokeLine2(styles[i], from.X, from.Y, to.X, to.Y)
			if !s.Baseline {
				c.DrawGlyph(marks[i], point(c, x+0.125, y))
			}
			text(c, x+0.32, y-0.04, 7, s.Name, false)
		}
	}
	return f
}

// lineStyles returns a style for each series. Baselines have styles of their own.
func lineStyles(list []Series) []draw.LineStyle {
	out := make([]draw.LineStyle, len(list))
	lines := 0
	baselines := 0
	for i, s := range list {
		if s.Baseline {
			out[i] = draw.LineStyle{
				Color:  color.RGBA{120, 120, 120, 255},
				Width:  vg.Points(0.8),
				Dashes: baselineDashes[baselines%len(baselineDashes)],
			}
			baselines++
			continue
		}
		out[i] = draw.LineStyle{
			Color:  hues[lines%len(hues)],
			Width:  vg.Points(1.2),
			Dashes: dashes[lines/len(hues)%len(dashes)],
		}
		lines++
	}
	return out
}

// shapes are the markers of the series. Their number and that of the hues have no
// common divisor, so that many series differ in hue or marker.
var shapes = []draw.GlyphDrawer{
	draw.CircleGlyph{}, draw.SquareGlyph{}, draw.TriangleGlyph{}, draw.PyramidGlyph{}, draw.RingGlyph{}, draw.BoxGlyph{},
}

// markers returns a marker for each series, in the color of its line.
func markers(list []Series, styles []draw.LineStyle) []draw.GlyphStyle {
	out := make([]draw.GlyphStyle, len(list))
	lines := 0
	for i, s := range list {
		out[i] = draw.GlyphStyle{Color: styles[i].Color, Radius: vg.Points(1.8), Shape: shapes[lines%len(shapes)]}
		if !s.Baseline {
			lines++
		}
	}
	return out
}

// axes sets the ranges and the ticks of both axes.
func (k *Curves) axes(p *plot.Plot) {
	grid := plotter.NewGrid()
	grid.Vertical.Color = color.Gray{225}
	grid.Horizontal.Color = color.Gray{225}
	p.Add(grid)

	p.Y.Min, p.Y.Max = k.rangeOfY()
	p.Y.Tick.Marker = evenTicks(p.Y.Min, p.Y.Max)
	if k.LogY {
		p.Y.Scale = plot.LogScale{}
		p.Y.Tick.Marker = decadeTicks(p.Y.Min, p.Y.Max)
	}

	xs := k.xs()
	if len(xs) == 0 {
		return
	}
	p.X.Min, p.X.Max = xs[0], xs[len(xs)-1]
	if p.X.Min == p.X.Max {
		p.X.Min, p.X.Max = p.X.Min*0.9-0.1, p.X.Max*1.1+0.1
	}
	if !k.LogX {
		p.X.Tick.Marker = wholeTicks(p.X.Min, p.X.Max)
		if slices.ContainsFunc(xs, func(x float64) bool { return x != math.Trunc(x) }) {
			p.X.Tick.Marker = evenTicks(p.X.Min, p.X.Max)
		}
		return
	}
	p.X.Scale = plot.LogScale{}
	var ticks []plot.Tick
	for _, x := range xs {
		ticks = append(ticks, plot.Tick{Value: x, Label: plainNumber(x)})
	}
	p.X.Tick.Marker = plot.ConstantTicks(ticks)
}

// rangeOfY returns the range of the y axis, which is never empty.
func (k *Curves) rangeOfY() (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, s := range k.Series {
		for _, y := range s.Y {
			if !math.IsNaN(y) {
				lo, hi = min(lo, y), max(hi, y)
			}
		}
	}
	if k.Lo != 0 || k.Hi != 0 {
		lo, hi = k.Lo, k.Hi
	}
	switch {
	case lo > hi && k.LogY: // no data
		return 0.1, 1
	case lo > hi:
		return 0, 1
	case lo == hi && k.LogY:
		return lo / 2, 2 * hi
	case lo == hi:
		return lo - 0.5, hi + 0.5
	}
	return lo, hi
}

// xs returns the distinct x values of all series in ascending order.
func (k *Curves) xs() []float64 {
	var xs []float64
	for _, s := range k.Series {
		for _, x := range s.X[:len(s.Y)] {
			if !slices.Contains(xs, x) {
				xs = append(xs, x)
			}
		}
	}
	slices.Sort(xs)
	return xs
}

// positive returns copies of the series in which NaN replaces the values that have
// no logarithm.
func positive(list []Series) []Series {
	out := slices.Clone(list)
	for i := range out {
		for _, values := range []*[]float64{&out[i].Y, &out[i].Low, &out[i].High} {
			*values = slices.Clone(*values)
			for j, v := range *values {
				if v <= 0 {
					(*values)[j] = math.NaN()
				}
			}
		}
	}
	return out
}

// widened returns a short horizontal line in place of a point: 4 % of the x axis to both
// sides.
func widened(p *plot.Plot, at plotter.XY) plotter.XYs {
	const part = 0.04
	if _, log := p.X.Scale.(plot.LogScale); log {
		factor := math.Pow(p.X.Max/p.X.Min, part)
		return plotter.XYs{{X: at.X / factor, Y: at.Y}, {X: at.X * factor, Y: at.Y}}
	}
	d := part * (p.X.Max - p.X.Min)
	return plotter.XYs{{X: at.X - d, Y: at.Y}, {X: at.X + d, Y: at.Y}}
}

// line draws a series. Missing values split it into several pieces.
func (s *Series) line(p *plot.Plot, style draw.LineStyle, mark draw.GlyphStyle) {
	for lo := 0; lo < len(s.Y); lo++ {
		var xy plotter.XYs
		for ; lo < len(s.Y) && !math.IsNaN(s.Y[lo]); lo++ {
			xy = append(xy, plotter.XY{X: s.X[lo], Y: s.Y[lo]})
		}
		if len(xy) == 0 {
			continue
		}
		if s.Baseline && len(xy) == 1 { // it has no marker
			xy = widened(p, xy[0])
		}
		if l, err := plotter.NewLine(xy); err == nil {
			l.LineStyle = style
			p.Add(l)
		}
		if !s.Baseline && len(s.Y) <= 40 {
			if points, err := plotter.NewScatter(xy); err == nil {
				points.GlyphStyle = mark
				p.Add(points)
			}
		}
	}
}

// band fills the interval between Low and High. Missing values split it into several
// pieces, as they split the line.
func (s *Series) band(p *plot.Plot, c color.Color) {
	if len(s.Low) != len(s.X) || len(s.High) != len(s.X) {
		return
	}
	for _, piece := range s.bandPieces() {
		fillBand(p, piece, c)
	}
}

// bandPieces returns the outlines of the pieces of the band.
func (s *Series) bandPieces() []plotter.XYs {
	var pieces []plotter.XYs
	for lo := 0; lo < len(s.X); lo++ {
		var upper, lower plotter.XYs
		for ; lo < len(s.X) && !math.IsNaN(s.Low[lo]) && !math.IsNaN(s.High[lo]); lo++ {
			upper = append(upper, plotter.XY{X: s.X[lo], Y: s.High[lo]})
			lower = append(lower, plotter.XY{X: s.X[lo], Y: s.Low[lo]})
		}
		if len(upper) > 1 {
			slices.Reverse(lower)
			pieces = append(pieces, append(upper, lower...))
		}
	}
	return pieces
}

func fillBand(p *plot.Plot, outline plotter.XYs, c color.Color) {
	area, err := plotter.NewPolygon(outline)
	if err != nil {
		return
	}
	area.Color = withAlpha(c, 38)
	area.LineStyle.Width = 0
	p.Add(area)
}

// withAlpha returns an opaque color with another opacity.
func withAlpha(c color.Color, alpha uint8) color.NRGBA {
	r, g, b, _ := c.RGBA()
	return color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), alpha}
}
