package viz

import (
	"image/color"
	"math"
	"slices"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
)

// Series is one line of Curves. Low and High draw a band; nil: none.
type Series struct {
	Name      string
	X, Y      []float64 // NaN interrupts the line
	Low, High []float64
	Baseline  bool // drawn thin, grey and dashed
}

// Curves is a line figure in the style of a paper: one panel, the legend beside
// it in the order of the series.
type Curves struct {
	Title, Caption string
	XLabel, YLabel string
	LogX, LogY     bool
	Lo, Hi         float64 // of y; both 0: from the data
	Series         []Series
	Meta           Meta
}

// hues tell series apart, also for readers who see fewer colours (Okabe and Ito,
// "Color universal design", 2008, without its yellow); dashes tell the next round apart.
var hues = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255}, {230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255},
}

var dashes = [][]vg.Length{nil, {vg.Points(4), vg.Points(1.5)}, {vg.Points(1.2), vg.Points(1.2)}}

var baseDashes = [][]vg.Length{{vg.Points(4), vg.Points(1.5)}, {vg.Points(1.2), vg.Points(1.2)}, nil, {vg.Points(5), vg.Points(1.5), vg.Points(1), vg.Points(1.5)}}

// CurvesFigure draws the curves.
func CurvesFigure(k Curves) *Figure {
	const w, h, legend = 6.6, 3.4, 1.55
	f := &Figure{Width: w * vg.Inch, Height: h * vg.Inch, Meta: k.Meta}
	if k.LogY {
		k.Series = positive(k.Series)
	}
	f.draw = func(c draw.Canvas) {
		text(c, 0.12, h-0.25, 9, k.Title, true)
		caption(c, 6, k.Caption)
		p := newPlot("", k.XLabel, k.YLabel)
		k.axes(p)
		styles := k.styles()
		for i, s := range k.Series {
			s.band(p, styles[i].Color)
		}
		for i, s := range k.Series {
			s.line(p, styles[i])
		}
		p.Draw(rect{0.1, 0.25, w - legend - 0.15, h - 0.6}.of(c))
		for i, s := range k.Series {
			y := h - 0.5 - 0.155*float64(i)
			at := func(x float64) vg.Point {
				return vg.Point{X: c.Min.X + vg.Length(x)*vg.Inch, Y: c.Min.Y + vg.Length(y)*vg.Inch}
			}
			c.StrokeLine2(styles[i], at(w-legend).X, at(w-legend).Y, at(w-legend+0.25).X, at(w-legend+0.25).Y)
			text(c, w-legend+0.32, y-0.04, 7, s.Name, false)
		}
	}
	return f
}

func (k *Curves) styles() []draw.LineStyle {
	out, n, base := make([]draw.LineStyle, len(k.Series)), 0, 0
	for i, s := range k.Series {
		if s.Baseline {
			out[i] = draw.LineStyle{Color: color.RGBA{120, 120, 120, 255}, Width: vg.Points(0.8), Dashes: baseDashes[base%len(baseDashes)]}
			base++
			continue
		}
		out[i] = draw.LineStyle{Color: hues[n%len(hues)], Width: vg.Points(1.2), Dashes: dashes[n/len(hues)%len(dashes)]}
		n++
	}
	return out
}

func (k *Curves) axes(p *plot.Plot) {
	lo, hi, xs := math.Inf(1), math.Inf(-1), []float64{}
	for _, s := range k.Series {
		for i, y := range s.Y {
			if y == y {
				lo, hi = min(lo, y), max(hi, y)
			}
			if !slices.Contains(xs, s.X[i]) {
				xs = append(xs, s.X[i])
			}
		}
	}
	if k.Lo != 0 || k.Hi != 0 {
		lo, hi = k.Lo, k.Hi
	}
	if lo > hi {
		lo, hi = 0, 1
		if k.LogY {
			lo = 0.1
		}
	}
	switch {
	case lo == hi && k.LogY:
		lo, hi = lo/2, 2*hi
	case lo == hi:
		lo, hi = lo-0.5, hi+0.5
	}
	slices.Sort(xs)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{225}, color.Gray{225}
	p.Add(grid)
	p.Y.Min, p.Y.Max = lo, hi
	p.Y.Tick.Marker = evenTicks(lo, hi)
	if k.LogY {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, decadeTicks(lo, hi)
	}
	if len(xs) == 0 {
		return
	}
	p.X.Min, p.X.Max = xs[0], xs[len(xs)-1]
	if p.X.Min == p.X.Max {
		p.X.Min, p.X.Max = p.X.Min*0.9-0.1, p.X.Max*1.1+0.1
	}
	if !k.LogX {
		p.X.Tick.Marker = wholeTicks(p.X.Min, p.X.Max)
	}
	if k.LogX {
		p.X.Scale = plot.LogScale{}
		var ticks []plot.Tick
		for _, x := range xs {
			ticks = append(ticks, plot.Tick{Value: x, Label: plainNumber(x)})
		}
		p.X.Tick.Marker = plot.ConstantTicks(ticks)
	}
}

// positive is the series without what a logarithm does not take.
func positive(list []Series) []Series {
	out := slices.Clone(list)
	for i := range out {
		for _, x := range []*[]float64{&out[i].Y, &out[i].Low, &out[i].High} {
			*x = slices.Clone(*x)
			for j, v := range *x {
				if v <= 0 {
					(*x)[j] = math.NaN()
				}
			}
		}
	}
	return out
}

// evenTicks are four to nine steps of 1, 2 or 5 times a power of ten.
func evenTicks(lo, hi float64) plot.ConstantTicks {
	unit := math.Pow(10, math.Floor(math.Log10(hi-lo))-1)
	step := unit
	for _, m := range []float64{1, 2, 5, 10, 20, 50} {
		if step = m * unit; (hi-lo)/step <= 9 {
			break
		}
	}
	var ticks []plot.Tick
	for n := math.Ceil(lo/step - 1e-9); n*step <= hi+1e-9*step; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: shortNumber(n * step)})
	}
	return ticks
}

// decadeTicks are 1, 2 and 5 times the powers of ten.
func decadeTicks(lo, hi float64) plot.ConstantTicks {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(lo)); e <= math.Log10(hi); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: v, Label: shortNumber(v)})
			}
		}
	}
	return ticks
}

// plainNumber writes a number without an exponent.
func plainNumber(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// shortNumber is without what rounding left behind.
func shortNumber(v float64) string {
	short, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return plainNumber(short + 0) // not -0
}

// wholeTicks labels whole numbers, at most about fifteen of them.
func wholeTicks(lo, hi float64) plot.ConstantTicks {
	step := 1.0
	for _, s := range []float64{1, 2, 5, 10, 20, 50, 100, 1000} {
		if step = s; (hi-lo)/s <= 15 {
			break
		}
	}
	var ticks []plot.Tick
	for x := math.Ceil(lo/step) * step; x <= hi; x += step {
		ticks = append(ticks, plot.Tick{Value: x, Label: plainNumber(x)})
	}
	return ticks
}

// line draws a series, in pieces where it has no value.
func (s *Series) line(p *plot.Plot, style draw.LineStyle) {
	for lo := 0; lo < len(s.Y); lo++ {
		var xy plotter.XYs
		for ; lo < len(s.Y) && s.Y[lo] == s.Y[lo]; lo++ {
			xy = append(xy, plotter.XY{X: s.X[lo], Y: s.Y[lo]})
		}
		if len(xy) == 0 {
			continue
		}
		if l, err := plotter.NewLine(xy); err == nil {
			l.LineStyle = style
			p.Add(l)
		}
		if !s.Baseline && len(s.Y) <= 40 {
			if dots, err := plotter.NewScatter(xy); err == nil {
				dots.GlyphStyle = draw.GlyphStyle{Color: style.Color, Radius: vg.Points(1.6), Shape: draw.CircleGlyph{}}
				p.Add(dots)
			}
		}
	}
}

// band draws the interval between Low and High.
func (s *Series) band(p *plot.Plot, c color.Color) {
	if len(s.Low) != len(s.X) || len(s.High) != len(s.X) {
		return
	}
	var up, down plotter.XYs
	for i := range s.X {
		if s.Low[i] == s.Low[i] && s.High[i] == s.High[i] {
			up = append(up, plotter.XY{X: s.X[i], Y: s.High[i]})
			down = append(down, plotter.XY{X: s.X[i], Y: s.Low[i]})
		}
	}
	if len(up) < 2 {
		return
	}
	slices.Reverse(down)
	poly, err := plotter.NewPolygon(append(up, down...))
	if err != nil {
		return
	}
	r, g, b, _ := c.RGBA()
	poly.Color = color.NRGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 38}
	poly.LineStyle.Width = 0
	p.Add(poly)
}
