package viz

import (
	"image/color"
	"maps"
	"math"
	"slices"

	"gonum.org/v1/plot/palette"
	"gonum.org/v1/plot/palette/moreland"
)

// colorMap holds the colors of a map.
type colorMap struct {
	values  [256][3]uint8 // from the lowest value to the highest, as red, green and blue
	missing color.RGBA    // of cells without a value
}

// colorMaps are the color maps by the name that --cmap takes. All rise in lightness,
// so that they can be printed in gray.
var colorMaps = map[string]func() *colorMap{
	"viridis":   func() *colorMap { return &colorMap{viridis, lightGray} },
	"gray":      gray,
	"kindlmann": func() *colorMap { return sampled(moreland.Kindlmann()) },
	"blackbody": func() *colorMap { return sampled(moreland.BlackBody()) },
}

// ColorMaps returns the names of the color maps in alphabetical order: viridis (van der
// Walt and Smith), gray from black to white, and kindlmann and blackbody (Moreland,
// "Why we use bad color maps and what you can do about it", 2016).
func ColorMaps() []string { return slices.Sorted(maps.Keys(colorMaps)) }

// findColorMap returns a color map by its name; "" is viridis.
func findColorMap(name string) *colorMap {
	if find := colorMaps[name]; find != nil {
		return find()
	}
	return colorMaps["viridis"]()
}

func gray() *colorMap {
	m := colorMap{missing: color.RGBA{200, 216, 240, 255}} // light blue, which is not on the scale
	for i := range m.values {
		m.values[i] = [3]uint8{uint8(i), uint8(i), uint8(i)}
	}
	return &m
}

// sampled samples a color map of gonum/plot.
func sampled(from palette.ColorMap) *colorMap {
	from.SetMin(0)
	from.SetMax(1)
	m := colorMap{missing: lightGray}
	for i := range m.values {
		c, err := from.At(float64(i) / float64(len(m.values)-1))
		if err != nil {
			continue // the range is [0, 1]
		}
		r, g, b, _ := c.RGBA()
		m.values[i] = [3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}
	}
	return &m
}

// lightGray is the color of cells without a value, unless the color map has grays.
var lightGray = color.RGBA{225, 225, 225, 255}

// at returns the color of a position in [0, 1], which it clamps. NaN has a color of its
// own.
func (m *colorMap) at(x float64) color.RGBA {
	if math.IsNaN(x) {
		return m.missing
	}
	c := m.values[int(math.Round(255*math.Min(1, math.Max(0, x))))]
	return color.RGBA{c[0], c[1], c[2], 255}
}
