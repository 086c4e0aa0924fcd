package viz

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Scatter holds points of several series on two logarithmic axes, and the line
// ln y = Intercept + Slope ln x.
type Scatter struct {
	Title, Caption   string
	XLabel, YLabel   string
	Series           []Series // points that are not positive are left out
	Intercept, Slope float64
	Meta             Meta
}

// ScatterFigure draws the points and the line.
func ScatterFigure(k Scatter) *Figure {
	f := newFigure(6.6, 4.0, k.Meta)
	f.caption = k.Caption
	f.entries = len(k.Series)
	f.draw = func(c draw.Canvas, g geometry) {
		g.title(c, k.Title)
		g.caption(c, f.caption)
		glyphs := k.glyphs()
		k.plot(glyphs).Draw(g.besideLegend().of(c))
		for i, s := range k.Series {
			x, y := g.entry(i)
			mark := glyphs[i]
			mark.Radius = vg.Points(2.2)
			c.DrawGlyph(mark, point(c, x+0.15, y))
			text(c, x+0.32, y-0.04, 7, s.Name, false)
		}
	}
	return f
}

// plot makes the plot of points and line, without the legend.
func (k *Scatter) plot(glyphs []draw.GlyphStyle) *plot.Plot {
	p := newPlot("", k.XLabel, k.YLabel)
	p.X.Scale = plot.LogScale{}
	p.Y.Scale = plot.LogScale{}
	p.X.Tick.Marker = plot.LogTicks{Prec: 1}
	p.Y.Tick.Marker = plot.LogTicks{Prec: 1}
	xmin, xmax := math.Inf(1), math.Inf(-1)
	ymin, ymax := math.Inf(1), math.Inf(-1)
	for i, s := range k.Series {
		var xy plotter.XYs
		for j, x := range s.X {
			y := s.Y[j]
			if x > 0 && y > 0 {
				xy = append(xy, plotter.XY{X: x, Y: y})
				xmin, xmax = min(xmin, x), max(xmax, x)
				ymin, ymax = min(ymin, y), max(ymax, y)
			}
		}
		if points, err := plotter.NewScatter(xy); err == nil && len(xy) > 0 {
			points.GlyphStyle = glyphs[i]
			p.Add(points)
		}
	}
	if xmin < xmax {
		if line, err := plotter.NewLine(plotter.XYs{k.onLine(xmin), k.onLine(xmax)}); err == nil {
			line.LineStyle = draw.LineStyle{Color: color.Black, Width: vg.Points(0.8), Dashes: dashes[1]}
			p.Add(line)
		}
	}
	if ymin < ymax {
		p.X.Min, p.X.Max = decade(xmin, math.Floor), decade(xmax, math.Ceil)
		p.Y.Min, p.Y.Max = decade(ymin, math.Floor), decade(ymax, math.Ceil)
	}
	return p
}

// onLine returns the point of the line at x.
func (k *Scatter) onLine(x float64) plotter.XY {
	return plotter.XY{X: x, Y: math.Exp(k.Intercept + k.Slope*math.Log(x))}
}

// decade rounds x to a power of ten, down or up as round does.
func decade(x float64, round func(float64) float64) float64 {
	return math.Pow(10, round(math.Log10(x)))
}

// glyphs returns a marker for each series: colored shapes, crosses for baselines.
func (k *Scatter) glyphs() []draw.GlyphStyle {
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.TriangleGlyph{}, draw.SquareGlyph{}}
	baselineShapes := []draw.GlyphDrawer{draw.CrossGlyph{}, draw.PlusGlyph{}}
	out := make([]draw.GlyphStyle, len(k.Series))
	for i, style := range lineStyles(k.Series) {
		out[i] = draw.GlyphStyle{
			Color:  withAlpha(style.Color, 170),
			Radius: vg.Points(1.5),
			Shape:  shapes[i/len(hues)%len(shapes)],
		}
		if k.Series[i].Baseline {
			out[i].Shape = baselineShapes[i%2]
		}
	}
	return out
}
