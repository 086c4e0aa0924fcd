// Package figures computes the numbers of the standard figures from dumps and
// results, and writes the figures into a folder. Package viz draws them.
package figures

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz"
)

// HeatmapConfig says what Heatmaps draws.
type HeatmapConfig struct {
	Prompt  string // id, "all", or empty for the first that is longer than the window
	Window  int
	Top     float64
	Theta   float64
	Layers  []int             // nil: all recorded
	Formats []string          // png, svg
	Origin  viz.Origin        // for the files' metadata
	Warn    func(text string) // of prompts that are left out; may be nil
}

// Heatmaps draws the figures of one dump into dir and returns their paths:
// PROMPT/layer-NN for each layer, layers-heads and layers-windows over all
// prompts.
func Heatmaps(ctx context.Context, paths []string, dir string, cfg HeatmapConfig) ([]string, error) {
	d := &drawer{dir: dir, cfg: cfg}
	for _, path := range paths {
		if err := d.dump(ctx, path); err != nil {
			return d.written, err
		}
	}
	return d.written, d.summaries(ctx, paths)
}

type drawer struct {
	dir     string
	cfg     HeatmapConfig
	written []string
	meta    viz.Meta
	model   string
	prompts int
	windows int // recorded rows, the least of all dumps
	found   bool
	folders map[string]string // of the prompts drawn: folder to id
}

// folder is where a prompt's figures go: its id made safe, told apart from
// another id that looks the same then.
func (d *drawer) folder(id string) string {
	name := SafeName(id)
	if other, taken := d.folders[name]; taken && other != id {
		name = tellApart(name, id)
	}
	if d.folders == nil {
		d.folders = map[string]string{}
	}
	d.folders[name] = id
	return name
}

func (d *drawer) save(f *viz.Figure, name string) error {
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f.Meta = f.Meta.With("figure", filepath.ToSlash(name))
	for _, format := range d.cfg.Formats {
		if err := f.Save(path + "." + format); err != nil {
			return err
		}
		d.written = append(d.written, path+"."+format)
	}
	return nil
}

func (d *drawer) dump(ctx context.Context, path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	h := r.Header()
	if d.cfg.Window > h.Plan.WindowRows {
		return fmt.Errorf("%s: window %d, but the last %d prompt rows were recorded: capture with --window-rows %d", path, d.cfg.Window, h.Plan.WindowRows, d.cfg.Window)
	}
	d.model = h.Model.ID
	d.meta = d.cfg.Origin.Meta().With("model", h.Model.ID).With("model_sha256", h.Model.SHA256).With("manifest_sha256", h.SHA256())
	d.prompts += len(r.Prompts())
	if d.windows == 0 || h.Plan.WindowRows < d.windows {
		d.windows = h.Plan.WindowRows
	}
	for i := range r.Prompts() {
		id := r.Prompts()[i].ID
		if d.cfg.Prompt != "all" && (d.cfg.Prompt != "" && d.cfg.Prompt != id || d.found) {
			continue
		}
		if n := r.Prompts()[i].PromptTokens; n <= d.cfg.Window && d.cfg.Prompt != id {
			if d.cfg.Warn != nil {
				d.cfg.Warn(fmt.Sprintf("%s: prompt %q has %d tokens and is left out: window %d leaves no prefix", path, id, n, d.cfg.Window))
			}
			continue
		}
		d.found = true
		for _, layer := range h.Plan.Layers {
			if d.cfg.Layers != nil && !slices.Contains(d.cfg.Layers, layer) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := d.layer(r, i, layer); err != nil {
				return err
			}
		}
	}
	if !d.found && (d.cfg.Prompt == "" || d.cfg.Prompt == "all") && len(r.Prompts()) > 0 {
		return fmt.Errorf("%s: no prompt is longer than the window of %d: choose a smaller --window", path, d.cfg.Window)
	}
	if !d.found && d.cfg.Prompt != "" {
		return fmt.Errorf("%s: no prompt %q; attnscope info %s lists them", path, d.cfg.Prompt, path)
	}
	return nil
}

// SafeName turns a prompt id into a file name.
func SafeName(id string) string {
	s := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '_'
	}, id)
	if s = strings.TrimLeft(s, "."); s == "" || len(s) > 100 || s != id {
		s = s[:min(len(s), 80)]
		if strings.ContainsAny(strings.ReplaceAll(id, "/", "_"), "\\\x00") || s != strings.ReplaceAll(id, "/", "_") {
			s = tellApart(s, id)
		}
	}
	return s
}

// tellApart adds to a name what no other id adds.
func tellApart(name, id string) string {
	sum := sha256.Sum256([]byte(id))
	return name + "-" + hex.EncodeToString(sum[:4])
}

func (d *drawer) layer(r *dumps.Reader, prompt, layer int) error {
	h, p := r.Header(), &r.Prompts()[prompt]
	prefix := p.PromptTokens - d.cfg.Window
	if prefix < 1 {
		return fmt.Errorf("%s: prompt %q has %d tokens: window %d leaves no prefix", r.Path(), p.ID, p.PromptTokens, d.cfg.Window)
	}
	rows, err := r.Weights(prompt, layer, dumps.Prefill)
	if err != nil {
		return err
	}
	gen, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return err
	}
	l := viz.Layer{Window: d.cfg.Window, Vote: viz.NewGrid(rows.Heads, prefix), Generated: viz.NewGrid(max(1, gen.Rows), prefix)}
	all, mean := make([]float64, prefix), make([]float64, prefix)
	for head := range rows.Heads {
		for j, v := range snapkv.Vote(rows.Head(head), rows.Rows, rows.Keys, d.cfg.Window, prefix) {
			l.Vote.Set(head, j, v/float64(d.cfg.Window))
			all[j] += v
		}
	}
	for t := range gen.Rows {
		for j := range prefix {
			sum := 0.0
			for head := range gen.Heads {
				sum += float64(gen.Data[(head*gen.Rows+t)*gen.Keys+j])
			}
			l.Generated.Set(t, j, sum/float64(gen.Heads))
			mean[j] += sum
		}
	}
	k := hitrate.Budget(d.cfg.Top, prefix)
	voted, attended := snapkv.TopK(all, k), snapkv.TopK(mean, k)
	l.Voted, l.Attended = marks(voted, prefix), marks(attended, prefix)
	l.Title = fmt.Sprintf("%s, layer %d: prompt %s", h.Model.ID, layer, p.ID)
	l.Caption = fmt.Sprintf("%d prompt tokens, %d reply tokens. Strip: the %d positions (%.3g %% of the prefix) of largest vote and of largest generated attention, heads averaged; %.0f %% are shared.",
		p.PromptTokens, p.ReplyTokens, k, 100*d.cfg.Top, 100*float64(hitrate.Overlap(voted, attended))/math.Max(1, float64(k)))
	l.Meta = viz.Meta{"prompt": p.ID, "layer": fmt.Sprint(layer)}
	for name, v := range d.meta {
		l.Meta[name] = v
	}
	if err := d.save(viz.LayerFigure(l), filepath.Join(d.folder(p.ID), fmt.Sprintf("layer-%02d", layer))); err != nil {
		return err
	}
	if h.Plan.Overview < 1 {
		return nil
	}
	return d.overview(r, prompt, layer, l.Meta)
}

// overview draws the pooled picture of a layer's whole map, the largest weight
// over heads.
func (d *drawer) overview(r *dumps.Reader, prompt, layer int, meta viz.Meta) error {
	cells, side, err := r.Overview(prompt, layer)
	if err != nil {
		return err
	}
	p := &r.Prompts()[prompt]
	g := viz.NewGrid(side, side)
	for i := range g.Values {
		g.Values[i] = 0
	}
	for i, v := range cells {
		at := i % (side * side)
		g.Values[at] = max(g.Values[at], float64(v))
	}
	o := viz.Overview{
		Map: g, Tokens: p.PromptTokens, Title: fmt.Sprintf("%s, layer %d: prompt %s, the whole map", r.Header().Model.ID, layer, p.ID), Meta: meta,
		Caption: fmt.Sprintf("%d tokens in %d x %d cells, each the largest weight of its queries and keys over all heads.", p.PromptTokens, side, side),
	}
	return d.save(viz.OverviewFigure(o), filepath.Join(d.folder(p.ID), fmt.Sprintf("overview-%02d", layer)))
}

func marks(keep []int32, n int) []bool {
	m := make([]bool, n)
	for _, j := range keep {
		m[j] = true
	}
	return m
}

// summaries draws hit rates by layer and head, and by layer and window.
func (d *drawer) summaries(ctx context.Context, paths []string) error {
	cfg := analysis.Paper
	cfg.Windows, cfg.Tops, cfg.Thetas, cfg.By = []int{d.cfg.Window}, []float64{d.cfg.Top}, []float64{d.cfg.Theta}, []analysis.By{analysis.ByLayer, analysis.ByHead}
	caption := fmt.Sprintf("%s, mean over %d prompts; top %.3g %% of the prefix, weight > %.3g. Grey: nothing was that large.", d.model, d.prompts, 100*d.cfg.Top, d.cfg.Theta)
	s := viz.Summary{Title: fmt.Sprintf("hit rate, window %d", d.cfg.Window), Caption: caption, XLabel: "query head", BarTitle: "hit rate"}
	if err := d.summary(ctx, paths, cfg, s, func(r *analysis.HitRateRow) int { return r.Head }, "layers-heads"); err != nil {
		return err
	}
	cfg.By, cfg.Windows = []analysis.By{analysis.ByLayer}, nil
	for w := 1; w <= d.windows; w *= 2 {
		cfg.Windows = append(cfg.Windows, w)
	}
	if !slices.Contains(cfg.Windows, d.cfg.Window) {
		cfg.Windows = append(cfg.Windows, d.cfg.Window)
		slices.Sort(cfg.Windows)
	}
	s.Title, s.XLabel = "hit rate by size of the observation window", "observation window (prompt rows)"
	return d.summary(ctx, paths, cfg, s, func(r *analysis.HitRateRow) int { return r.Window }, "layers-windows")
}

// summary draws hit rates by layer and by what column says of a row.
func (d *drawer) summary(ctx context.Context, paths []string, cfg analysis.HitRateConfig, s viz.Summary, column func(*analysis.HitRateRow) int, name string) error {
	rows, _, err := analysis.HitRates(ctx, paths, cfg)
	if errors.Is(err, analysis.ErrNothing) {
		return nil // no reply, no rates, no summary
	}
	if err != nil {
		return err
	}
	var columns []int
	for i := range rows {
		if l := rows[i].Layer; !slices.Contains(s.Layers, l) {
			s.Layers = append(s.Layers, l)
		}
		if c := column(&rows[i]); !slices.Contains(columns, c) {
			columns = append(columns, c)
		}
	}
	slices.Sort(s.Layers)
	slices.Sort(columns)
	s.Rates = viz.NewGrid(len(s.Layers), len(columns))
	for i := range rows {
		s.Rates.Set(slices.Index(s.Layers, rows[i].Layer), slices.Index(columns, column(&rows[i])), rows[i].HitRate)
	}
	for _, c := range columns {
		s.Columns = append(s.Columns, fmt.Sprint(c))
	}
	s.Meta = d.meta
	return d.save(viz.SummaryFigure(s), name)
}
