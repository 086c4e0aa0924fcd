package viz

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Scatter shows points of several series on logarithmic axes, with the line
// ln y = Intercept + Slope ln x.
type Scatter struct {
	Title, Caption   string
	XLabel, YLabel   string
	Series           []Series
	Intercept, Slope float64
	Meta             Meta
}

// ScatterFigure draws the points.
func ScatterFigure(k Scatter) *Figure {
	const w, h, legend = 6.6, 4.0, 1.55
	f := &Figure{Width: w * vg.Inch, Height: h * vg.Inch, Meta: k.Meta}
	f.draw = func(c draw.Canvas) {
		text(c, 0.12, h-0.25, 9, k.Title, true)
		caption(c, 6, k.Caption)
		p := newPlot("", k.XLabel, k.YLabel)
		p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
		p.X.Tick.Marker, p.Y.Tick.Marker = plot.LogTicks{Prec: 1}, plot.LogTicks{Prec: 1}
		lo, hi, low, high := math.Inf(1), math.Inf(-1), math.Inf(1), math.Inf(-1)
		styles := (&Curves{Series: k.Series}).styles()
		shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.TriangleGlyph{}, draw.SquareGlyph{}}
		glyphs := make([]draw.GlyphStyle, len(k.Series))
		for i, s := range k.Series {
			var xy plotter.XYs
			for j := range s.X {
				if s.X[j] > 0 && s.Y[j] > 0 {
					xy = append(xy, plotter.XY{X: s.X[j], Y: s.Y[j]})
					lo, hi = min(lo, s.X[j]), max(hi, s.X[j])
					low, high = min(low, s.Y[j]), max(high, s.Y[j])
				}
			}
			r, g, b, _ := styles[i].Color.RGBA()
			glyphs[i] = draw.GlyphStyle{Color: color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 170}, Radius: vg.Points(1.5), Shape: shapes[i/len(hues)%len(shapes)]}
			if s.Baseline {
				glyphs[i].Shape = []draw.GlyphDrawer{draw.CrossGlyph{}, draw.PlusGlyph{}}[i%2]
			}
			if dots, err := plotter.NewScatter(xy); err == nil && len(xy) > 0 {
				dots.GlyphStyle = glyphs[i]
				p.Add(dots)
			}
		}
		if lo < hi {
			line, err := plotter.NewLine(plotter.XYs{{X: lo, Y: math.Exp(k.Intercept + k.Slope*math.Log(lo))}, {X: hi, Y: math.Exp(k.Intercept + k.Slope*math.Log(hi))}})
			if err == nil {
				line.LineStyle = draw.LineStyle{Color: color.Black, Width: vg.Points(0.8), Dashes: dashes[1]}
				p.Add(line)
			}
		}
		if low < high {
			decade := func(x float64, round func(float64) float64) float64 { return math.Pow(10, round(math.Log10(x))) }
			p.X.Min, p.X.Max = decade(lo, math.Floor), decade(hi, math.Ceil)
			p.Y.Min, p.Y.Max = decade(low, math.Floor), decade(high, math.Ceil)
		}
		p.Draw(rect{0.1, 0.25, w - legend - 0.15, h - 0.6}.of(c))
		for i, s := range k.Series {
			y := h - 0.5 - 0.155*float64(i)
			g := glyphs[i]
			g.Radius = vg.Points(2.2)
			c.DrawGlyph(g, vg.Point{X: c.Min.X + vg.Length(w-legend+0.15)*vg.Inch, Y: c.Min.Y + vg.Length(y)*vg.Inch})
			text(c, w-legend+0.32, y-0.04, 7, s.Name, false)
		}
	}
	return f
}
