package viz

import (
	"bytes"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestViridisEntries(t *testing.T) {
	for share, want := range map[float64]color.RGBA{0: {68, 1, 84, 255}, 1: {253, 231, 37, 255}, 0.5: {33, 145, 140, 255}, -3: {68, 1, 84, 255}} {
		if got := findColorMap("").at(share); math.Abs(float64(got.R)-float64(want.R)) > 1 || math.Abs(float64(got.G)-float64(want.G)) > 1 || math.Abs(float64(got.B)-float64(want.B)) > 1 {
			t.Errorf("color at %g is %v, want %v", share, got, want)
		}
	}
}

func TestMaxPoolKeepsTheBrightCell(t *testing.T) {
	g := NewGrid(100, 1000)
	for i := range g.Values {
		g.Values[i] = 0
	}
	g.Set(57, 733, 1)
	p := g.maxPool(10, 100)
	if p.Rows != 10 || p.Cols != 100 || p.at(5, 73) != 1 || p.max() != 1 {
		t.Errorf("%d x %d with %g at (5, 73), want 10 x 100 with 1", p.Rows, p.Cols, p.at(5, 73))
	}
}

func TestFigureShowsCellColors(t *testing.T) {
	g := NewGrid(2, 2)
	copy(g.Values, []float64{0, 1, 0.5, math.NaN()})
	f := SummaryFigure(Summary{Title: "t", Rates: g, Columns: []string{"0", "1"}, Layers: []int{0, 1}, Meta: Meta{"model": "a<b>"}})
	dir := t.TempDir()
	if err := f.Save(filepath.Join(dir, "x.png")); err != nil {
		t.Fatal(err)
	}
	data, _ := os.ReadFile(filepath.Join(dir, "x.png"))
	img, err := png.Decode(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	count := map[color.RGBA]int{}
	for y := img.Bounds().Min.Y; y < img.Bounds().Max.Y; y++ {
		for x := img.Bounds().Min.X; x < img.Bounds().Max.X; x++ {
			r, g, b, a := img.At(x, y).RGBA()
			count[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), uint8(a >> 8)}]++
		}
	}
	for _, v := range g.Values {
		if n := count[findColorMap("").at(v)]; n < 10000 {
			t.Errorf("the color of %g covers %d pixels, want a quarter of the map", v, n)
		}
	}
	if !bytes.Contains(data, []byte("iTXtmodel\x00")) {
		t.Error("the PNG does not name the model")
	}
	if err := f.Save(filepath.Join(dir, "x.svg")); err != nil {
		t.Fatal(err)
	}
	svg, _ := os.ReadFile(filepath.Join(dir, "x.svg"))
	if !strings.Contains(string(svg), "model: a&lt;b&gt;") {
		t.Error("the SVG does not name the model, as text")
	}
}
