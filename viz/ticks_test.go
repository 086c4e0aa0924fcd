package viz

import (
	"slices"
	"strings"
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
)

func TestTicks(t *testing.T) {
	labels := func(ticks plot.ConstantTicks) (list []string) {
		for _, tick := range ticks {
			list = append(list, tick.Label)
		}
		return list
	}
	for _, c := range []struct {
		name      string
		got, want []string
	}{
		{"a rate", labels(evenTicks(0, 1)), []string{"0", "0.2", "0.4", "0.6", "0.8", "1"}},
		{"seconds", labels(evenTicks(0, 8.4)), []string{"0", "1", "2", "3", "4", "5", "6", "7", "8"}},
		{"between", labels(evenTicks(0.31, 0.52)), []string{"0.35", "0.4", "0.45", "0.5"}},
		{"large", labels(evenTicks(0, 1500)), []string{"0", "200", "400", "600", "800", "1000", "1200", "1400"}},
		{"decades", labels(decadeTicks(0.003, 1.5)), []string{"0.005", "0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: ticks %v, want %v", c.name, c.got, c.want)
		}
	}
}

// TestLogarithmLeavesOutZero: a zero is a gap of a logarithmic line, and the
// caller's series stays as it was.
func TestLogarithmLeavesOutZero(t *testing.T) {
	in := []Series{{X: []float64{1, 2}, Y: []float64{0, 3}, Low: []float64{-1, 2}, High: []float64{1, 4}}}
	out := positive(in)
	if y := out[0].Y; y[0] == y[0] || y[1] != 3 || out[0].Low[0] == out[0].Low[0] || out[0].High[0] != 1 {
		t.Errorf("positive gives %v", out)
	}
	if in[0].Y[0] != 0 || in[0].Low[0] != -1 {
		t.Errorf("the series given was changed: %v", in)
	}
}

// TestCaptionsFit: no line of a caption is wider than its figure, no word is lost.
func TestCaptionsFit(t *testing.T) {
	style, words := textStyle(6, false), strings.Repeat("top 5 % of the prefix, weight > 0.05; ", 9)
	for _, width := range []vg.Length{2 * vg.Inch, 6 * vg.Inch, 40 * vg.Inch} {
		lines := wrap(style, width, words)
		for _, line := range lines {
			if style.Width(line) > width {
				t.Errorf("width %v: %q is %v wide", width, line, style.Width(line))
			}
		}
		if got := strings.Join(lines, " "); got != strings.TrimSpace(words) {
			t.Errorf("width %v: the lines say %q", width, got)
		}
		if want := int(style.Width(words)/width) + 1; len(lines) < want || len(lines) > want+1 {
			t.Errorf("width %v: %d lines, want about %d", width, len(lines), want)
		}
	}
}

// TestTicksOfX: whole numbers have whole ticks, and others as many as fit, also below 1.
func TestTicksOfX(t *testing.T) {
	for _, c := range []struct {
		x     []float64
		first string
		n     int
	}{
		{[]float64{1, 2, 4}, "1", 4},
		{[]float64{0.1, 0.3, 0.95}, "0.1", 9},
		{[]float64{7.2, 35.9}, "10", 6},
	} {
		k := Curves{Series: []Series{{X: c.x, Y: make([]float64, len(c.x))}}}
		p := plot.New()
		k.axes(p)
		ticks := p.X.Tick.Marker.Ticks(p.X.Min, p.X.Max)
		if len(ticks) != c.n || ticks[0].Label != c.first {
			t.Errorf("%v: %d ticks from %s, want %d from %s", c.x, len(ticks), ticks[0].Label, c.n, c.first)
		}
	}
}
