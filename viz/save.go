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
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/attnscope/attnscope/internal/outfile"
)

const dpi = 200 // of PNG files

func init() { plot.DefaultFont = font.Font{Typeface: "Liberation", Variant: "Sans"} }

// Meta says where a figure comes from. Its entries are written into the file.
type Meta map[string]string

// Figure is a drawing that can be encoded in several formats. Encode and Save may be
// called more than once.
type Figure struct {
	Width, Height vg.Length
	Meta          Meta
	draw          func(c draw.Canvas)
}

// Save writes the figure to a file. The extension of the path, .png or .svg, chooses
// the format. A failed call leaves no file.
func (f *Figure) Save(path string) error {
	data, err := f.Encode(strings.TrimPrefix(filepath.Ext(path), "."))
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return outfile.Write(path, func(w io.Writer) error { _, err := w.Write(data); return err })
}

// Encode draws the figure in the format "png" (200 dots per inch) or "svg".
func (f *Figure) Encode(format string) ([]byte, error) {
	var b bytes.Buffer
	switch format {
	case "png":
		c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(f.Width, f.Height), vgimg.UseDPI(dpi))}
		f.draw(draw.New(c))
		if _, err := c.WriteTo(&b); err != nil {
			return nil, err
		}
		return withText(b.Bytes(), f.Meta), nil
	case "svg":
		c := vgsvg.New(f.Width, f.Height)
		f.draw(draw.New(c))
		if _, err := c.WriteTo(&b); err != nil {
			return nil, err
		}
		return withMetadata(b.Bytes(), f.Meta), nil
	}
	return nil, fmt.Errorf("format %q: want png or svg", format)
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

// withMetadata inserts a metadata element after the opening tag of an SVG file.
func withMetadata(svg []byte, m Meta) []byte {
	start := bytes.Index(svg, []byte("<svg"))
	if start < 0 {
		return svg
	}
	at := start + bytes.IndexByte(svg[start:], '>') + 1
	var b strings.Builder
	b.WriteString("\n<metadata>")
	for _, name := range m.names() {
		fmt.Fprintf(&b, "\n%s: %s", html.EscapeString(name), html.EscapeString(m[name]))
	}
	b.WriteString("\n</metadata>")
	return slices.Concat(svg[:at], []byte(b.String()), svg[at:])
}
