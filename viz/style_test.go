package viz

import (
	"bytes"
	"image/png"
	"math"
	"strings"
	"testing"
)

// TestMissScale: each tenth of the misses takes as much of the color map.
func TestMissScale(t *testing.T) {
	s := missScale(findColorMap(""))
	for rate, want := range map[float64]float64{0: 0, 0.9: 1.0 / 3, 0.99: 2.0 / 3, 0.999: 1, 1: 1} {
		if got := s.position(rate); math.Abs(got-want) > 1e-9 {
			t.Errorf("rate %g is at %g, want %g", rate, got, want)
		}
	}
	if got := s.position(math.NaN()); !math.IsNaN(got) {
		t.Errorf("no rate is at %g", got)
	}
}

// TestFewAreNotColored: a rate that rests on too little data does not show its color.
func TestFewAreNotColored(t *testing.T) {
	g := NewGrid(1, 2)
	copy(g.Values, []float64{0, 1})
	s := Summary{Rates: g, Few: []bool{true, false}, Columns: []string{"0", "1"}, Layers: []int{0}, Misses: true}
	got := pixels(t, SummaryFigure(s))
	s.Few = nil
	all := pixels(t, SummaryFigure(s))
	dark := [3]uint8{68, 1, 84}
	if got[dark] > all[dark]/4 { // what is left is in the color bar
		t.Errorf("%d dark pixels with the rate hatched, %d without", got[dark], all[dark])
	}
	if got[[3]uint8{225, 225, 225}] < 10000 {
		t.Error("the cell is not gray")
	}
}

// pixels counts the pixels of a figure by color.
func pixels(t *testing.T, f *Figure) map[[3]uint8]int {
	t.Helper()
	data, err := f.Encode("png")
	if err != nil {
		t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count := map[[3]uint8]int{}
	for y := range img.Bounds().Dy() {
		for x := range img.Bounds().Dx() {
			r, g, b, _ := img.At(x, y).RGBA()
			count[[3]uint8{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8)}]++
		}
	}
	return count
}

// TestStyle: width and resolution set the size of a PNG, and a figure for a paper has
// neither title nor caption.
func TestStyle(t *testing.T) {
	f := CurvesFigure(Curves{Title: "THE TITLE", Caption: "THE CAPTION", Series: []Series{{Name: "THE LINE", X: []float64{1, 2}, Y: []float64{1, 2}}}})
	f.Style = Style{Width: 3.3, DPI: 100}
	data, err := f.Encode("png")
	if err != nil {
		t.Fatal(err)
	}
	if img, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || img.Width != 330 {
		t.Errorf("%d pixels wide (%v), want 330", img.Width, err)
	}
	for _, paper := range []bool{false, true} {
		f.Style.Paper = paper
		svg, err := f.Encode("svg")
		if err != nil {
			t.Fatal(err)
		}
		text := string(svg)
		if strings.Contains(text, "THE TITLE") == paper || strings.Contains(text, "THE CAPTION") == paper || !strings.Contains(text, ">THE LINE<") {
			t.Errorf("paper %v: title, caption or legend are wrong in %.300s", paper, text)
		}
	}
	for _, bad := range []Style{{Width: 0.1}, {Width: math.NaN()}, {DPI: 1}, {ColorMap: "jet"}} {
		if err := bad.Check(); err == nil {
			t.Errorf("%+v: no error", bad)
		}
	}
}

// TestPDFHasItsMetadata: the metadata are read back, the same figure gives the same
// bytes, and the update of the file points to where its objects are.
func TestPDFHasItsMetadata(t *testing.T) {
	f := SummaryFigure(Summary{
		Rates: NewGrid(1, 1), Columns: []string{"0"}, Layers: []int{0}, Meta: Meta{"model": "a (b)\n\xc3\xa9", "command": "x"},
	})
	first, err := f.Encode("pdf")
	if err != nil {
		t.Fatal(err)
	}
	if second, _ := f.Encode("pdf"); !bytes.Equal(first, second) {
		t.Error("the same figure gives other bytes")
	}
	if m := readInfo(first); len(m) != 2 || m["model"] != "a (b)\n\xc3\xa9" || m["command"] != "x" {
		t.Errorf("read back %q", m)
	}
	starts := pdfStart.FindAllSubmatch(first, -1)
	at := 0
	for _, digit := range starts[len(starts)-1][1] {
		at = 10*at + int(digit-'0')
	}
	if !bytes.HasPrefix(first[at:], []byte("xref\n")) {
		t.Errorf("the last startxref points to %q", first[at:at+10])
	}
}

// TestColorMapsRise: every color map gets lighter from its lowest to its highest value.
func TestColorMapsRise(t *testing.T) {
	for _, name := range ColorMaps() {
		m := findColorMap(name)
		before := -1.0
		for i := 0; i < 256; i += 15 {
			c := m.values[i]
			light := 0.299*float64(c[0]) + 0.587*float64(c[1]) + 0.114*float64(c[2])
			if light < before {
				t.Errorf("%s: entry %d has lightness %.1f, less than %.1f", name, i, light, before)
			}
			before = light
		}
	}
}
