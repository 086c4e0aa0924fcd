package viz

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"html"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgpdf"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/internal/words"
)

// Style says how a figure is drawn. The zero value is the default.
type Style struct {
	Width    float64 // in inches; 0 means the figure's own
	DPI      int     // of PNG files; 0 means 200
	ColorMap string  // of maps, one of ColorMaps; "" means viridis
	Paper    bool    // for a paper, which has its own captions: without title and caption
	// Page is for SVG in a web page: maps are small images that the browser
	// scales, and the figure follows the color scheme of its reader.
	Page bool
}

// dpiOf returns the resolution of PNG files.
func (s Style) dpiOf() int {
	if s.DPI == 0 {
		return 200
	}
	return s.DPI
}

// Check returns an error for an invalid setting, and names it as the command line does.
func (s Style) Check() error {
	switch {
	case s.Width != 0 && !(s.Width >= 2 && s.Width <= 40):
		return fmt.Errorf("width %.3gin: want 2 to 40 inches", s.Width)
	case s.DPI != 0 && (s.DPI < 30 || s.DPI > 2400):
		return fmt.Errorf("dpi %d: want 30 to 2400", s.DPI)
	case s.ColorMap != "" && colorMaps[s.ColorMap] == nil:
		return words.Check("cmap", s.ColorMap, ColorMaps())
	}
	return nil
}

// Formats lists the formats of [Figure.Encode].
var Formats = []string{"png", "svg", "pdf"}

func init() { plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"} }

// Meta says where a figure comes from. Its entries are written into the file.
type Meta map[string]string

// Figure is a drawing that can be encoded in several formats. Encode and Save may be
// called more than once.
type Figure struct {
	Width, Height vg.Length // in the default style
	Meta          Meta
	Style         Style
	entries       int // of a legend
	caption       string
	draw          func(c draw.Canvas, g geometry)
}

// newFigure returns a figure of a size in inches.
func newFigure(w, h float64, meta Meta) *Figure {
	return &Figure{Width: vg.Length(w) * vg.Inch, Height: vg.Length(h) * vg.Inch, Meta: meta}
}

// Caption returns the caption, for a page or a paper that sets it itself.
func (f *Figure) Caption() string { return f.caption }

// geometry is the size of a drawing and the space that its parts get, in inches.
type geometry struct {
	w, h       float64
	head, foot float64 // for the title and the caption
	paper      bool
	share      float64 // of the figure's own width
	colors     *colorMap
	dpi        int // of images within the figure
	page       bool
	legend     legend
}

// legend is the space that the legend gets: a column to the right of the plot, or, in a
// narrow figure, rows below it.
type legend struct {
	columns int     // below the plot; 0: to the right of it
	height  float64 // below the plot, in inches
}

// Sizes of a legend, in inches.
const (
	legendWidth = 1.55
	legendLine  = 0.155
)

// besideLegend returns the part of a figure that the legend leaves to the plot.
func (g geometry) besideLegend() rect {
	if g.legend.columns > 0 {
		return rect{0.05, g.foot + g.legend.height, g.w - 0.15, g.h - g.foot - g.head - g.legend.height}
	}
	return rect{0.1, g.foot, g.w - legendWidth - 0.15, g.h - g.foot - g.head}
}

// entry returns where entry i of the legend begins.
func (g geometry) entry(i int) (x, y float64) {
	if n := g.legend.columns; n > 0 {
		x = 0.15 + float64(i%n)*(g.w-0.2)/float64(n)
		return x, g.foot + g.legend.height - legendLine*(float64(i/n)+0.5)
	}
	return g.w - legendWidth, g.h - g.head - 0.15 - legendLine*float64(i)
}

// geometry returns the size in the figure's style. A narrower figure keeps the sizes of
// its fonts and is less high.
func (f *Figure) geometry() geometry {
	g := geometry{
		w:      float64(f.Width / vg.Inch),
		h:      float64(f.Height / vg.Inch),
		head:   0.35,
		foot:   0.25,
		share:  1,
		colors: findColorMap(f.Style.ColorMap),
		dpi:    f.Style.dpiOf(),
		page:   f.Style.Page,
	}
	if f.Style.Width > 0 {
		g.share = f.Style.Width / g.w
		g.w = f.Style.Width
		g.h *= min(1, 0.4+0.6*g.share)
	}
	if f.entries > 0 && g.narrow() {
		g.legend.columns = max(1, int(g.w/legendWidth))
		rows := (f.entries + g.legend.columns - 1) / g.legend.columns
		g.legend.height = legendLine*float64(rows) + 0.1
		g.h += g.legend.height
	}
	lines := wrap(textStyle(captionSize, false), captionWidth(vg.Length(g.w)*vg.Inch), f.caption)
	more := max(0, 0.08+captionLine*float64(len(lines))-g.foot)
	g.foot += more
	g.h += more
	if f.Style.Paper {
		g.paper = true
		g.h -= g.head + g.foot - 0.15
		g.head = 0.1
		g.foot = 0.05
	}
	return g
}

// labels returns how many labels of an axis fit where n fit at the figure's own width.
func (g geometry) labels(n int) int { return max(2, min(n, int(float64(n)*g.share))) }

// narrow reports whether the figure is much narrower than its texts expect.
func (g geometry) narrow() bool { return g.share < 0.7 }

// pick returns the text that fits: long, or short in a narrow figure.
func (g geometry) pick(long, short string) string {
	if g.narrow() {
		return short
	}
	return long
}

// title writes the title, unless the figure is for a paper.
func (g geometry) title(c draw.Canvas, s string) {
	if !g.paper {
		text(c, 0.12, g.h-0.25, 9, s, true)
	}
}

// caption writes the caption, unless the figure is for a paper.
func (g geometry) caption(c draw.Canvas, s string) {
	if !g.paper {
		caption(c, s)
	}
}

// Save writes the figure to a file. The extension of the path, .png, .svg or .pdf,
// chooses the format. A failed call leaves no file.
func (f *Figure) Save(path string) error {
	data, err := f.Encode(strings.TrimPrefix(filepath.Ext(path), "."))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return outfile.Write(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// Encode draws the figure in one of [Formats]. The text in SVG and PDF is text.
func (f *Figure) Encode(format string) ([]byte, error) {
	var b bytes.Buffer
	g := f.geometry()
	w := vg.Length(g.w) * vg.Inch
	h := vg.Length(g.h) * vg.Inch
	switch format {
	case "png":
		c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(w, h), vgimg.UseDPI(f.Style.dpiOf()))}
		f.draw(draw.New(c), g)
		if _, err := c.WriteTo(&b); err != nil {
			return nil, err
		}
		return withText(b.Bytes(), f.Meta), nil
	case "svg":
		c := vgsvg.New(w, h)
		f.draw(draw.New(c), g)
		if _, err := c.WriteTo(&b); err != nil {
			return nil, err
		}
		svg := bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte(svgFonts))
		if f.Style.Page {
			svg = forPage(svg)
		}
		return withMetadata(svg, f.Meta), nil
	case "pdf":
		c := vgpdf.New(w, h)
		f.draw(draw.New(c), g)
		if _, err := c.WriteTo(&b); err != nil {
			return nil, err
		}
		return withInfo(b.Bytes(), f.Meta), nil
	}
	return nil, words.Check("format", format, Formats)
}

func (m Meta) names() []string {
	var list []string
	for k := range m {
		list = append(list, k)
	}
	slices.Sort(list)
	return list
}

// withText inserts the metadata as iTXt chunks after the header of a PNG file.
func withText(png []byte, m Meta) []byte {
	const header = 8 + 25 // bytes of the signature and the IHDR chunk
	out := slices.Clone(png[:header])
	for _, name := range m.names() {
		body := []byte("iTXt" + name + "\x00\x00\x00\x00\x00" + m[name])
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)-4))
		out = append(out, body...)
		out = binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(body))
	}
	return append(out, png[header:]...)
}

// svgFonts names fonts of the same widths for readers without the first one.
const svgFonts = "font-family:Liberation Sans,Arial,Helvetica,sans-serif;"

// pageStyle is a style sheet that gives the black, white and gray parts of a figure
// other colors where the reader prefers a dark scheme. Colors of data stay.
const pageStyle = `
<style>
image { image-rendering: pixelated }
@media (prefers-color-scheme: dark) {
text { fill: #dfe3e6 !important }
path:not([style*="fill:"]) { fill: #dfe3e6 !important }
path[style*="fill:#FFFFFF"] { fill: #15181b !important }
path[style*="fill:#E1E1E1"] { fill: #3a4046 !important }
path[style*="stroke:#000000"] { stroke: #c3cad0 !important }
path[style*="stroke:#E1E1E1"] { stroke: #343a40 !important }
path[style*="stroke:#787878"] { stroke: #98a1a9 !important }
}
</style>`

// forPage adds the style sheet of a web page, and lets images fill their cells.
func forPage(svg []byte) []byte {
	svg = bytes.ReplaceAll(svg, []byte("<image "), []byte(`<image preserveAspectRatio="none" `))
	return insert(svg, pageStyle)
}

// insert inserts a text after the opening tag of an SVG file.
func insert(svg []byte, text string) []byte {
	start := bytes.Index(svg, []byte("<svg"))
	if start < 0 {
		return svg
	}
	at := start + bytes.IndexByte(svg[start:], '>') + 1
	return slices.Concat(svg[:at], []byte(text), svg[at:])
}

// withMetadata inserts a metadata element after the opening tag of an SVG file.
func withMetadata(svg []byte, m Meta) []byte {
	var b strings.Builder
	b.WriteString("\n<metadata>")
	for _, name := range m.names() {
		fmt.Fprintf(&b, "\n%s: %s", html.EscapeString(name), html.EscapeString(m[name]))
	}
	b.WriteString("\n</metadata>")
	return insert(svg, b.String())
}
