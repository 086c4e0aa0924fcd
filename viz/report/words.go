package report

import (
	"encoding/base64"
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/words"
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
	Answers  []answer // the summary
	Sizes    *rows    // hit rates by size of the window
	Longest  int      // the largest of these windows
	Summary  figure
	Overall  *rows
	ByLayer  *rows
	Learned  bool     // a model has learned sinks
	Holes    []string // which layers have no attention, by model
	Rates    []figure
	Methods  *rows
	Settings string // of the methods
	Kept     []figure
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
		Answers:  answers(n),
		Sizes:    sizeRows(n),
		Longest:  n.all.sizes[len(n.all.sizes)-1].Window,
		Overall:  overallRows(n.all.overall, n.without.overall, n.cfg),
		ByLayer:  layerRows(n.all.byLayer, n.without.byLayer, n.models(), n.cfg),
		Learned:  hasSinks(n.all.byLayer),
		Holes:    holes(n.captures),
		Missing:  n.methods.missing,
		Prompt:   n.prompt,
		Layers:   n.layers,
		Text:     n.text.pieces,
		TextCut:  n.text.cut,
		Reply:    n.text.reply,
		Warnings: n.warnings,
	}
	if err := p.drawRates(n); err != nil {
		return nil, err
	}
	if n.methods.missing == "" {
		p.Methods = methodRows(&n.methods)
		p.Settings = n.methods.settings
	}
	if len(n.methods.series()) > 0 {
		kept, err := svg(methodCurves(&n.methods, n.cfg), "Kept attention by method and capacity",
			"Share of the reply's attention that lies on the kept positions of the prefix, for SnapKV and other methods. "+
				"The oracle knows the reply: no selection of the same size keeps more.")
		if err != nil {
			return nil, err
		}
		p.Kept = append(p.Kept, kept)
	}
	return p, nil
}

// drawRates draws the hit rates by layer, head and window.
func (p *page) drawRates(n *numbers) error {
	var err error
	p.Summary, err = svg(rateCurves(n.all.byLayer, n.without.byLayer, n.cfg), "Hit rate by layer",
		"The lines without markers show rules that keep the same number of positions without looking at the attention: "+
			"random positions, the last ones, and the first four with the last ones. The distance between the lines "+
			"shows what the vote is worth.")
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name, about string
		draw        func(m *figures.RateMap, r rates) *viz.Figure
	}{
		{
			"Hit rate by layer and head",
			"Dark heads attend to positions that the window did not vote for.",
			func(m *figures.RateMap, r rates) *viz.Figure { return m.Heads(r.byHead) },
		},
		{
			"Hit rate by size of the window",
			"Each column is a size of the window: the number of last prompt rows that vote.",
			func(m *figures.RateMap, r rates) *viz.Figure { return m.Windows(r.sizesByLayer) },
		},
	} {
		for _, r := range []struct {
			rates
			skip int
		}{{n.all, 0}, {n.without, n.cfg.SkipFirst}} {
			name := kind.name
			if r.skip > 0 {
				name += fmt.Sprintf(", without the first %d positions", r.skip)
			}
			m := figures.RateMap{SkipFirst: r.skip, MinSignificant: n.cfg.MinSignificant, Model: &n.captures[0].Model, Meta: n.cfg.Origin.Meta()}
			f, err := svg(kind.draw(&m, r.rates), name, kind.about)
			if err != nil {
				return err
			}
			p.Rates = append(p.Rates, f)
		}
	}
	return nil
}

func title(captures []capture) string {
	for _, c := range captures {
		if c.Model.ID != captures[0].Model.ID {
			return "several models"
		}
	}
	return captures[0].Model.ID
}

// rows is a table whose cells are text.
type rows struct {
	Head  []string
	Cells [][]cell
}

// cell is a cell of a table.
type cell struct {
	Text string
	Few  bool // rests on too few positions for a conclusion
}

// figure is an image with its texts.
type figure struct {
	Image template.URL // a data: URL of a figure that this package drew
	Width int          // in CSS pixels, so that the letters of all figures have one size
	Name  string
	About string
}

// svg encodes a figure as SVG. Its caption becomes text of the page.
func svg(f *viz.Figure, name, about string) (figure, error) {
	f.Style.Page = true
	f.Style.Paper = true
	data, err := f.Encode("svg")
	if err != nil {
		return figure{}, err
	}
	return figure{
		Image: template.URL("data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(data)),
		Width: int(f.Width.Points() * 4 / 3), // CSS pixels per point
		Name:  name,
		About: strings.TrimSpace(about + " " + f.Caption()),
	}, nil
}

// number formats a rate or a measure.
func number(x float64) string {
	if math.IsNaN(x) {
		return "–"
	}
	return fmt.Sprintf("%.3f", x)
}

// baselineHead returns the head of the hit-rate tables after the rates.
func baselineHead(learned bool) []string {
	list := []string{"chance", "recent", "sinks + recent", "oracle", "overlap", "kept mass"}
	if learned {
		list = append(list, "learned sink")
	}
	return list
}

// hasSinks reports whether some rows are of models with learned sinks.
func hasSinks(list []analysis.HitRateRow) bool {
	return slices.ContainsFunc(list, func(r analysis.HitRateRow) bool { return r.Sink > 0 })
}

// rateCells returns the rate with its interval and the number of positions that it rests
// on.
func rateCells(r *analysis.HitRateRow, cfg Config) []cell {
	few := r.Significant < cfg.MinSignificant
	return []cell{
		{number(r.HitRate), few},
		{number(r.Low), few},
		{number(r.High), few},
		{fmt.Sprint(r.Significant), few},
	}
}

// baselineCells returns the columns of baselineHead.
func baselineCells(r *analysis.HitRateRow, cfg Config, learned bool) []cell {
	var list []cell
	for _, x := range []float64{r.Chance, r.Recent, r.SinksRecent, r.Oracle, r.Overlap, r.Mass} {
		list = append(list, cell{number(x), r.Significant < cfg.MinSignificant})
	}
	if learned { // which does not rest on significant positions
		list = append(list, cell{Text: number(r.Sink)})
	}
	return list
}

// overallRows joins the rates of all positions with the rates without the first
// positions.
func overallRows(all, without []analysis.HitRateRow, cfg Config) *rows {
	learned := hasSinks(all)
	out := &rows{Head: slices.Concat(
		[]string{"first positions", "hit rate", "from", "to", "attended positions"}, baselineHead(learned),
	)}
	add := func(name string, list []analysis.HitRateRow) {
		for i := range list {
			first := name
			if len(list) > 1 {
				first = fmt.Sprintf("%s, %s", name, list[i].Model)
			}
			out.Cells = append(out.Cells, slices.Concat([]cell{{Text: first}}, rateCells(&list[i], cfg), baselineCells(&list[i], cfg, learned)))
		}
	}
	add("counted", all)
	add(fmt.Sprintf("first %d left out", cfg.SkipFirst), without)
	return out
}

// layerRows makes the table of hit rates by layer, with and without the first positions.
// With several models, the first row of each names it.
//
// Layers without attention have rows that say so.
func layerRows(all, without []analysis.HitRateRow, models map[string]*dumps.ModelInfo, cfg Config) *rows {
	learned := hasSinks(all)
	out := &rows{Head: slices.Concat(
		[]string{"layer", "hit rate", "from", "to", "attended positions"},
		[]string{fmt.Sprintf("without the first %d", cfg.SkipFirst), "from", "to", "attended positions"},
		baselineHead(learned),
	)}
	several := slices.ContainsFunc(all, func(r analysis.HitRateRow) bool { return r.Model != all[0].Model })
	model := ""
	next := 0 // layer of the model
	name := func(layer int, id string) cell {
		text := fmt.Sprint(layer)
		if several && id != model {
			text = fmt.Sprintf("%s, %s", id, text)
		}
		model = id
		return cell{Text: text}
	}
	noRows := func(id string, to int) {
		for ; next < to; next++ {
			if s := models[id].Layer(next); !s.HasAttention() {
				out.Cells = append(out.Cells, []cell{name(next, id), {Text: "no attention"}})
			}
		}
	}
	for i := range all {
		if i > 0 && all[i].Model != all[i-1].Model {
			noRows(all[i-1].Model, models[all[i-1].Model].Layers)
			next = 0
		}
		noRows(all[i].Model, all[i].Layer)
		out.Cells = append(out.Cells, slices.Concat(
			[]cell{name(all[i].Layer, all[i].Model)},
			rateCells(&all[i], cfg), rateCells(&without[i], cfg), baselineCells(&all[i], cfg, learned),
		))
	}
	if n := len(all); n > 0 {
		noRows(all[n-1].Model, models[all[n-1].Model].Layers)
	}
	return out
}

// holes says for each model which layers have no attention.
func holes(captures []capture) []string {
	var list []string
	for _, c := range captures {
		if text := c.Model.Holes(); text != "" && !slices.Contains(list, text) {
			list = append(list, text)
		}
	}
	return list
}

// models returns the models of the dumps by their ids.
func (n *numbers) models() map[string]*dumps.ModelInfo {
	list := map[string]*dumps.ModelInfo{}
	for i := range n.captures {
		list[n.captures[i].Model.ID] = &n.captures[i].Model
	}
	return list
}

// rateLine makes a line of values by layer, for the first model. Values that rest on too
// few positions are left out.
func rateLine(
	name string, baseline bool, list []analysis.HitRateRow, cfg Config, value func(r *analysis.HitRateRow) float64,
) viz.Series {
	s := viz.Series{Name: name, Baseline: baseline}
	for i := range list {
		r := &list[i]
		if r.Model != list[0].Model {
			continue
		}
		y := math.NaN()
		low := math.NaN()
		high := math.NaN()
		if r.Significant >= cfg.MinSignificant {
			y = value(r)
			low = r.Low
			high = r.High
		}
		s.X = append(s.X, float64(r.Layer))
		s.Y = append(s.Y, y)
		if !baseline {
			s.Low = append(s.Low, low)
			s.High = append(s.High, high)
		}
	}
	return s
}

// rateCurves draws the hit rates and the baselines by layer, for the first model. Rates
// that rest on too few positions are left out.
func rateCurves(all, without []analysis.HitRateRow, cfg Config) *viz.Figure {
	first := &all[0]
	line := func(name string, baseline bool, list []analysis.HitRateRow, value func(r *analysis.HitRateRow) float64) viz.Series {
		return rateLine(name, baseline, list, cfg, value)
	}
	rate := func(r *analysis.HitRateRow) float64 { return r.HitRate }
	return viz.CurvesFigure(viz.Curves{
		Title:  fmt.Sprintf("hit rate by layer, window %d", cfg.Window),
		XLabel: "layer",
		YLabel: "share of attended positions kept",
		Hi:     1,
		Series: []viz.Series{
			line(fmt.Sprintf("without the first %d", cfg.SkipFirst), false, without, rate),
			line("all positions", false, all, rate),
			line("chance", true, all, func(r *analysis.HitRateRow) float64 { return r.Chance }),
			line("recent", true, all, func(r *analysis.HitRateRow) float64 { return r.Recent }),
			line("sinks + recent", true, all, func(r *analysis.HitRateRow) float64 { return r.SinksRecent }),
		},
		Caption: fmt.Sprintf("%s, mean over %s; kept: top %.3g %% of the prefix; significant: weight > %.3g. "+
			"Bands: 95 %% bootstrap intervals over prompts. No point: fewer than %s.",
			first.Model, words.Count(first.Prompts, "prompt"), 100*cfg.Top, cfg.Theta,
			words.Count(cfg.MinSignificant, "attended position")),
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
		cells := []cell{{Text: s.Name}}
		for _, y := range s.Y {
			cells = append(cells, cell{Text: number(y)})
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
		Caption: fmt.Sprintf("%s, mean over %s, all layers and heads; %s; "+
			"bands: 95 %% bootstrap intervals over prompts.",
			first.Model, words.Count(first.Prompts, "prompt"), c.settings),
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
