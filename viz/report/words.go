package report

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

// page is what the template shows. The template treats all of it as text and
// escapes it.
type page struct {
	Title    string
	Config   Config
	Captures []capture
	Overall  *rows
	ByLayer  *rows
	Extremes string   // the layers with the lowest and the highest hit rate
	Figures  []figure // of rates and methods
	Methods  *rows
	Missing  string // why methods are not compared
	Prompt   string // id of the prompt that Layers and Text show
	Layers   []figure
	LeftOut  int // figures of layers that were left out to keep the page small
	Text     []piece
	TextCut  int // tokens left out of Text
	Reply    string
	Warnings []analysis.Warning
}

// newPage puts the numbers into words and draws the figures.
func newPage(n *numbers) (*page, error) {
	p := &page{
		Title:    title(n.captures),
		Config:   n.cfg,
		Captures: n.captures,
		Overall:  overallRows(n.overall, n.withoutSinks),
		ByLayer:  layerRows(n.byLayer),
		Missing:  n.methods.missing,
		Prompt:   n.prompt,
		Text:     n.text.pieces,
		TextCut:  n.text.cut,
		Reply:    n.text.reply,
		Warnings: n.warnings,
	}
	p.Extremes = extremes(n.byLayer)
	rates, err := svg(rateCurves(n.byLayer, n.cfg), "Hit rate by layer",
		"The blue line is the hit rate of the vote. The other lines keep equally many positions without looking at the "+
			"attention: random positions, the last ones, and the first four with the last ones. "+
			"The vote is worth the distance of its line from theirs.")
	if err != nil {
		return nil, err
	}
	p.Figures = append(p.Figures, rates)
	if n.methods.missing == "" {
		p.Methods = methodRows(&n.methods)
	}
	if len(n.methods.series()) > 0 {
		kept, err := svg(methodCurves(&n.methods, n.cfg), "Kept attention by method and capacity",
			"Share of the reply's attention that lies on the kept positions of the prefix, for SnapKV and other methods. "+
				"The oracle knows the reply: no selection of the same size keeps more.")
		if err != nil {
			return nil, err
		}
		p.Figures = append(p.Figures, kept)
	}
	p.addHeatmaps(n.heatmaps)
	return p, nil
}

func title(captures []capture) string {
	for _, c := range captures {
		if c.Model.ID != captures[0].Model.ID {
			return "several models"
		}
	}
	return captures[0].Model.ID
}

// addHeatmaps adds the maps of layers and the summaries of hit rates.
func (p *page) addHeatmaps(list []heatmap) {
	only := ""
	if len(p.Captures) > 1 {
		only = " This figure shows " + p.Captures[0].Name + " only."
	}
	for _, h := range list {
		f := figure{Image: image("png", h.png), Width: pngWidth(h.png)}
		switch h.kind {
		case figures.HeadRates:
			f.Name = "Hit rate by layer and head"
			f.About = "Dark heads attend to positions that the window did not vote for. " +
				"Gray: no weight was above the threshold, so there is no rate." + only
			p.Figures = append(p.Figures, f)
		case figures.WindowRates:
			f.Name = "Hit rate by size of the window"
			f.About = "Each column is another number of last prompt rows that vote." + only
			p.Figures = append(p.Figures, f)
		case figures.LayerMap:
			f.Name = fmt.Sprintf("Layer %d", h.layer)
			p.Layers = append(p.Layers, f)
		case figures.OverviewMap:
			f.Name = fmt.Sprintf("Layer %d, the whole map", h.layer)
			p.Layers = append(p.Layers, f)
		}
	}
}

// rows is a table whose cells are text.
type rows struct {
	Head  []string
	Cells [][]string
}

// figure is an image with its texts.
type figure struct {
	Image template.URL // a data: URL of a figure that this package drew
	Width int          // in CSS pixels, so that the letters of all figures have one size
	Name  string
	About string
}

// svg encodes a figure as SVG.
func svg(f *viz.Figure, name, about string) (figure, error) {
	data, err := f.Encode("svg")
	if err != nil {
		return figure{}, err
	}
	width := int(f.Width.Points() * 4 / 3) // CSS pixels per point
	return figure{Image: image("svg", data), Width: width, Name: name, About: about}, nil
}

// image makes a data: URL of a PNG or SVG file.
func image(format string, data []byte) template.URL {
	kind := "image/png"
	if format == "svg" {
		kind = "image/svg+xml"
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data))
}

// pngWidth returns the width of a PNG figure of package viz, which has 200 dots per
// inch, in CSS pixels, of which 96 make an inch.
func pngWidth(data []byte) int { return int(binary.BigEndian.Uint32(data[16:20])) * 96 / 200 }

// number formats a rate or a measure.
func number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%.3f", x)
}

// rateHead is the head of the hit-rate tables, after the first column.
var rateHead = []string{
	"hit rate", "from", "to", "chance", "recent", "sinks + recent", "oracle", "overlap", "kept mass", "attended positions",
}

func rateCells(r *analysis.HitRateRow, first string) []string {
	cells := []string{first}
	for _, x := range []float64{
		r.HitRate, r.Low, r.High, r.Chance, r.Recent, r.SinksRecent, r.Oracle, r.Overlap, r.Mass,
	} {
		cells = append(cells, number(x))
	}
	return append(cells, fmt.Sprint(r.Significant))
}

// overallRows joins the rates of all positions with the rates without the first
// four positions.
func overallRows(counted, leftOut []analysis.HitRateRow) *rows {
	out := &rows{Head: slices.Concat([]string{"first four positions"}, rateHead)}
	add := func(name string, list []analysis.HitRateRow) {
		for i := range list {
			first := name
			if len(list) > 1 {
				first = fmt.Sprintf("%s, %s", name, list[i].Model)
			}
			out.Cells = append(out.Cells, rateCells(&list[i], first))
		}
	}
	add("counted", counted)
	add("left out", leftOut)
	return out
}

// layerRows makes the table of hit rates by layer. With several models, the first
// row of each names it.
func layerRows(list []analysis.HitRateRow) *rows {
	out := &rows{Head: slices.Concat([]string{"layer"}, rateHead)}
	several := slices.ContainsFunc(list, func(r analysis.HitRateRow) bool { return r.Model != list[0].Model })
	model := ""
	for i := range list {
		name := fmt.Sprint(list[i].Layer)
		if several && list[i].Model != model {
			model = list[i].Model
			name = fmt.Sprintf("%s, %s", model, name)
		}
		out.Cells = append(out.Cells, rateCells(&list[i], name))
	}
	return out
}

// extremes names the layers with the lowest and the highest hit rate, and says how many
// are left out because they rest on too little data.
func extremes(list []analysis.HitRateRow) string {
	low, high, few := analysis.Extremes(list, analysis.MinSignificant)
	say := func(r *analysis.HitRateRow) string {
		return fmt.Sprintf("layer %d (%.3f, %d significant positions)", r.Layer, r.HitRate, r.Significant)
	}
	text := "No layer has enough significant positions for a comparison."
	if low != nil {
		text = fmt.Sprintf("Lowest hit rate: %s. Highest: %s.", say(low), say(high))
	}
	if few > 0 {
		text += fmt.Sprintf(" Layers with fewer than %d significant positions, too few for a conclusion: %d.",
			analysis.MinSignificant, few)
	}
	return text
}

// rateCurves draws the hit rate and its baselines by layer, for the first model.
func rateCurves(list []analysis.HitRateRow, cfg Config) *viz.Figure {
	first := &list[0]
	vote := viz.Series{Name: "vote"}
	chance := viz.Series{Name: "chance", Baseline: true}
	recent := viz.Series{Name: "recent", Baseline: true}
	sinks := viz.Series{Name: "sinks + recent", Baseline: true}
	for i := range list {
		row := &list[i]
		if row.Model != first.Model {
			continue
		}
		x := float64(row.Layer)
		vote.X = append(vote.X, x)
		vote.Y = append(vote.Y, row.HitRate)
		vote.Low = append(vote.Low, row.Low)
		vote.High = append(vote.High, row.High)
		chance.X = append(chance.X, x)
		chance.Y = append(chance.Y, row.Chance)
		recent.X = append(recent.X, x)
		recent.Y = append(recent.Y, row.Recent)
		sinks.X = append(sinks.X, x)
		sinks.Y = append(sinks.Y, row.SinksRecent)
	}
	return viz.CurvesFigure(viz.Curves{
		Title:  fmt.Sprintf("hit rate by layer, window %d", cfg.Window),
		XLabel: "layer",
		YLabel: "share of attended positions kept",
		Hi:     1,
		Series: []viz.Series{vote, chance, recent, sinks},
		Caption: fmt.Sprintf("%s, mean over %d prompts; kept: top %.3g %% of the prefix; significant: weight > %.3g. "+
			"The band is a 95 %% bootstrap interval over prompts.", first.Model, first.Prompts, 100*cfg.Top, cfg.Theta),
		Meta: cfg.Origin.Meta(),
	})
}

// methodRows makes the table of what methods keep, by capacity.
func methodRows(c *comparison) *rows {
	out := &rows{Head: []string{"method"}}
	for _, capacity := range c.capacities {
		out.Head = append(out.Head, fmt.Sprint(capacity))
	}
	for _, s := range c.series() {
		cells := []string{s.Name}
		for _, y := range s.Y {
			cells = append(cells, number(y))
		}
		out.Cells = append(out.Cells, cells)
	}
	return out
}

// methodCurves draws what methods keep against the capacity.
func methodCurves(c *comparison, cfg Config) *viz.Figure {
	first := &c.rows[0]
	return viz.CurvesFigure(viz.Curves{
		Title:  "kept attention by method and capacity",
		XLabel: "capacity (positions per head, window included)",
		YLabel: "share of the reply's attention kept",
		LogX:   true,
		Hi:     1,
		Series: c.series(),
		Caption: fmt.Sprintf("%s, mean over %d prompts, all layers and heads; window %d, kernel 5, average pooling; "+
			"bands: 95 %% bootstrap intervals over prompts.", first.Model, first.Prompts, cfg.Window),
		Meta: cfg.Origin.Meta(),
	})
}

// series returns the kept mass of each method that was computed, for the first model.
func (c *comparison) series() []viz.Series {
	var list []viz.Series
	for _, m := range c.methods {
		s := viz.Series{Name: m.Name, Baseline: m.Role != snapkv.Selector}
		for i := range c.rows {
			row := &c.rows[i]
			if row.Method == m.Name && row.Model == c.rows[0].Model {
				s.X = append(s.X, float64(row.Capacity))
				s.Y = append(s.Y, row.Mass)
				if !s.Baseline {
					s.Low = append(s.Low, row.Low)
					s.High = append(s.High, row.High)
				}
			}
		}
		if len(s.X) > 0 {
			list = append(list, s)
		}
	}
	return list
}
