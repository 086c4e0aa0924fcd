package report

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"html/template"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// rows is a table as text.
type rows struct {
	Head  []string
	Cells [][]string
}

// figure is a picture with its words.
type figure struct {
	Image template.URL // data:, made here from our own figures
	Width int          // in CSS pixels, so that letters are of one size
	Name  string
	About string
}

// image makes a data address of a PNG or SVG.
func image(format string, data []byte) template.URL {
	kind := "image/png"
	if format == "svg" {
		kind = "image/svg+xml"
	}
	return template.URL("data:" + kind + ";base64," + base64.StdEncoding.EncodeToString(data))
}

// pngWidth is the width of one of our PNG figures, of 200 dots an inch, in CSS
// pixels of 96.
func pngWidth(data []byte) int { return int(binary.BigEndian.Uint32(data[16:20])) * 96 / 200 }

func number(v any) string {
	switch x := v.(type) {
	case float64:
		if math.IsNaN(x) {
			return "–"
		}
		return fmt.Sprintf("%.3f", x)
	default:
		return fmt.Sprint(x)
	}
}

// rateColumns are the columns of the hit-rate tables, with the words over them.
var rateColumns = [][2]string{
	{"hit_rate", "hit rate"},
	{"ci_low", "from"},
	{"ci_high", "to"},
	{"chance", "chance"},
	{"recent", "recent"},
	{"sinks_recent", "sinks + recent"},
	{"oracle", "oracle"},
	{"overlap", "overlap"},
	{"mass", "kept mass"},
	{"significant", "attended positions"},
}

func rateHead(first string) []string {
	head := []string{first}
	for _, c := range rateColumns {
		head = append(head, c[1])
	}
	return head
}

func rateCells(t *table.Table, row []any, first string) []string {
	cells := []string{first}
	for _, c := range rateColumns {
		cells = append(cells, number(row[t.Column(c[0])]))
	}
	return cells
}

// overallRows joins the table with all positions and the one without the first four.
func overallRows(list []*table.Table) *rows {
	out := &rows{Head: rateHead("first four positions")}
	for i, t := range list {
		for _, row := range t.Rows {
			name := []string{"counted", "left out"}[i]
			if len(t.Rows) > 1 {
				name = fmt.Sprintf("%s, %v", name, row[t.Column("model")])
			}
			out.Cells = append(out.Cells, rateCells(t, row, name))
		}
	}
	return out
}

func layerRows(t *table.Table) *rows {
	out := &rows{Head: rateHead("layer")}
	model := ""
	several := modelsOf(t) > 1
	for _, row := range t.Rows {
		name := fmt.Sprint(row[t.Column("layer")])
		if m := fmt.Sprint(row[t.Column("model")]); several && m != model {
			name, model = fmt.Sprintf("%s, %s", m, name), m
		}
		out.Cells = append(out.Cells, rateCells(t, row, name))
	}
	return out
}

func modelsOf(t *table.Table) int {
	seen := map[any]bool{}
	for _, row := range t.Rows {
		seen[row[t.Column("model")]] = true
	}
	return len(seen)
}

// extremes names the layers of lowest and highest hit rate.
func extremes(t *table.Table) (low, high string) {
	lo, hi := -1, -1
	rate := func(i int) float64 { return t.Rows[i][t.Column("hit_rate")].(float64) }
	for i := range t.Rows {
		if math.IsNaN(rate(i)) {
			continue
		}
		if lo < 0 || rate(i) < rate(lo) {
			lo = i
		}
		if hi < 0 || rate(i) > rate(hi) {
			hi = i
		}
	}
	if lo < 0 {
		return "–", "–"
	}
	say := func(i int) string { return fmt.Sprintf("layer %v (%.3f)", t.Rows[i][t.Column("layer")], rate(i)) }
	return say(lo), say(hi)
}

// curves draws the hit rate and its baselines by layer.
func curves(t *table.Table, cfg Config) *viz.Figure {
	k := viz.Curves{
		Title: fmt.Sprintf("hit rate by layer, window %d", cfg.Window), XLabel: "layer", YLabel: "share of attended positions kept", Lo: 0, Hi: 1,
		Caption: fmt.Sprintf("%v, mean over %v prompts; top %.3g %% of the prefix, weight > %.3g; the band is a 95 %% bootstrap interval over prompts.",
			t.Rows[0][t.Column("model")], t.Rows[0][t.Column("prompts")], 100*cfg.Top, cfg.Theta),
		Meta: cfg.Origin.Meta(),
	}
	for _, c := range []struct {
		column, name string
		base         bool
	}{{"hit_rate", "vote", false}, {"chance", "chance", true}, {"recent", "recent", true}, {"sinks_recent", "sinks + recent", true}} {
		s := viz.Series{Name: c.name, Baseline: c.base}
		for _, row := range t.Rows {
			if row[t.Column("model")] != t.Rows[0][t.Column("model")] {
				continue
			}
			s.X, s.Y = append(s.X, float64(row[t.Column("layer")].(int))), append(s.Y, row[t.Column(c.column)].(float64))
			if !c.base {
				s.Low, s.High = append(s.Low, row[t.Column("ci_low")].(float64)), append(s.High, row[t.Column("ci_high")].(float64))
			}
		}
		k.Series = append(k.Series, s)
	}
	return viz.CurvesFigure(k)
}

// methods compares what SnapKV and rivals keep; a dump that has not recorded
// enough for it leaves the section out and says why.
func (p *page) methods(ctx context.Context, paths []string) {
	var capacities []int
	shortest := math.MaxInt
	for _, c := range p.Captures {
		for _, q := range c.Prompts {
			if q.ReplyTokens > 0 && q.PromptTokens > p.Config.Window {
				shortest = min(shortest, q.PromptTokens)
			}
		}
	}
	for c := 64; c < shortest && c <= 4096; c *= 2 {
		if c > p.Config.Window {
			capacities = append(capacities, c)
		}
	}
	if len(capacities) == 0 {
		p.Missing = "the prompts are too short for it"
		return
	}
	cfg := analysis.MethodConfig{Thetas: []float64{p.Config.Theta}, Span: 128, Lenient: true}
	for _, name := range []string{"snapkv", "h2o", "streamingllm", "tova", "pyramidkv", "recent", "random", "oracle"} {
		if m, err := snapkv.FindMethod(name); err == nil {
			cfg.Methods = append(cfg.Methods, m)
		}
	}
	for _, c := range capacities {
		cfg.Configs = append(cfg.Configs, snapkv.Config{Window: p.Config.Window, Capacity: c, Kernel: 5, Pooling: "avgpool", Group: "head"})
	}
	t, warnings, err := analysis.Methods(ctx, paths, cfg)
	if err != nil {
		p.Missing = err.Error()
		return
	}
	p.Warnings = append(p.Warnings, warnings...)
	k := viz.Curves{
		Title: "kept attention by method and capacity", XLabel: "capacity (positions a head, window included)", YLabel: "share of the reply's attention kept", LogX: true,
		Lo: 0, Hi: 1,
		Caption: fmt.Sprintf("%v, mean over %v prompts, all layers and heads; window %d, kernel 5, average pooling; bands: 95 %% bootstrap intervals over prompts.",
			t.Rows[0][t.Column("model")], t.Rows[0][t.Column("prompts")], p.Config.Window), Meta: p.Config.Origin.Meta(),
	}
	p.Methods = &rows{Head: []string{"method"}}
	for _, c := range capacities {
		p.Methods.Head = append(p.Methods.Head, fmt.Sprint(c))
	}
	for _, m := range cfg.Methods {
		s := viz.Series{Name: m.Name, Baseline: slices.Contains([]string{"recent", "random", "oracle"}, m.Name)}
		line := []string{m.Name}
		for _, row := range t.Rows {
			if row[t.Column("method")] == m.Name && row[t.Column("model")] == t.Rows[0][t.Column("model")] {
				s.X, s.Y = append(s.X, float64(row[t.Column("capacity")].(int))), append(s.Y, row[t.Column("mass")].(float64))
				if !s.Baseline {
					s.Low, s.High = append(s.Low, row[t.Column("mass_low")].(float64)), append(s.High, row[t.Column("mass_high")].(float64))
				}
				line = append(line, number(row[t.Column("mass")]))
			}
		}
		if len(s.X) > 0 {
			k.Series = append(k.Series, s)
			p.Methods.Cells = append(p.Methods.Cells, line)
		}
	}
	plot := viz.CurvesFigure(k)
	if data, err := plot.Encode("svg"); err == nil && len(k.Series) > 0 {
		p.Figures = append(p.Figures, figure{image("svg", data), int(plot.Width.Points() * 4 / 3), "What methods keep", "Share of the reply's attention that lies on kept positions of the prefix, for SnapKV and rivals. The oracle knows the reply: no selection of that size keeps more."})
	}
}
