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

// rateColumn is a column of the hit-rate tables.
type rateColumn struct {
	head  string
	value func(r *analysis.HitRateRow) any
}

var rateColumns = []rateColumn{
	{"hit rate", func(r *analysis.HitRateRow) any { return r.HitRate }},
	{"from", func(r *analysis.HitRateRow) any { return r.Low }},
	{"to", func(r *analysis.HitRateRow) any { return r.High }},
	{"chance", func(r *analysis.HitRateRow) any { return r.Chance }},
	{"recent", func(r *analysis.HitRateRow) any { return r.Recent }},
	{"sinks + recent", func(r *analysis.HitRateRow) any { return r.SinksRecent }},
	{"oracle", func(r *analysis.HitRateRow) any { return r.Oracle }},
	{"overlap", func(r *analysis.HitRateRow) any { return r.Overlap }},
	{"kept mass", func(r *analysis.HitRateRow) any { return r.Mass }},
	{"attended positions", func(r *analysis.HitRateRow) any { return r.Significant }},
}

func rateHead(first string) []string {
	head := []string{first}
	for _, c := range rateColumns {
		head = append(head, c.head)
	}
	return head
}

func rateCells(row *analysis.HitRateRow, first string) []string {
	cells := []string{first}
	for _, c := range rateColumns {
		cells = append(cells, number(c.value(row)))
	}
	return cells
}

// overallRows joins the rates of all positions with the rates without the first
// four positions.
func overallRows(counted, leftOut []analysis.HitRateRow) *rows {
	out := &rows{Head: rateHead("first four positions")}
	add := func(name string, list []analysis.HitRateRow) {
		for i := range list {
			first := name
			if len(list) > 1 {
				first = fmt.Sprintf("%s, %v", name, list[i].Model)
			}
			out.Cells = append(out.Cells, rateCells(&list[i], first))
		}
	}
	add("counted", counted)
	add("left out", leftOut)
	return out
}

func layerRows(list []analysis.HitRateRow) *rows {
	out := &rows{Head: rateHead("layer")}
	model := ""
	several := modelsOf(list) > 1
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

func modelsOf(list []analysis.HitRateRow) int {
	seen := map[string]bool{}
	for i := range list {
		seen[list[i].Model] = true
	}
	return len(seen)
}

// extremes names the layers of lowest and highest hit rate.
func extremes(list []analysis.HitRateRow) (low, high string) {
	var lo, hi *analysis.HitRateRow
	for i := range list {
		row := &list[i]
		if math.IsNaN(row.HitRate) {
			continue
		}
		if lo == nil || row.HitRate < lo.HitRate {
			lo = row
		}
		if hi == nil || row.HitRate > hi.HitRate {
			hi = row
		}
	}
	if lo == nil {
		return "–", "–"
	}
	say := func(r *analysis.HitRateRow) string { return fmt.Sprintf("layer %d (%.3f)", r.Layer, r.HitRate) }
	return say(lo), say(hi)
}

// curves draws the hit rate and its baselines by layer.
func curves(list []analysis.HitRateRow, cfg Config) *viz.Figure {
	first := &list[0]
	k := viz.Curves{
		Title:  fmt.Sprintf("hit rate by layer, window %d", cfg.Window),
		XLabel: "layer",
		YLabel: "share of attended positions kept",
		Lo:     0,
		Hi:     1,
		Caption: fmt.Sprintf("%s, mean over %d prompts; top %.3g %% of the prefix, weight > %.3g; the band is a 95 %% bootstrap interval over prompts.",
			first.Model, first.Prompts, 100*cfg.Top, cfg.Theta),
		Meta: cfg.Origin.Meta(),
	}
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
	k.Series = []viz.Series{vote, chance, recent, sinks}
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
