// Package figures computes the numbers of the standard figures from dumps and
// results, and writes the figures into a folder. Package viz draws them.
//
//	Heatmaps      vote and attention of each layer, and hit rates by layer, head and window
//	Methods       what selection methods keep, against the capacity and by head
//	Calibrations  the real loss of compressed decoding against its predictors
package figures

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/viz"
)

// HeatmapConfig says what Heatmaps and EachHeatmap draw.
type HeatmapConfig struct {
	Prompt  string    // id, "all", or empty for the first prompt longer than the window
	Window  int       // rows of the observation window
	Top     float64   // share of the prefix that is kept
	Theta   float64   // a weight strictly above it is significant
	Layers  []int     // nil draws all recorded layers
	Formats []string  // of the files that Heatmaps writes, of [viz.Formats]
	Style   viz.Style // of the figures
	// Replace says that files that exist are replaced. Otherwise Heatmaps returns an
	// error that wraps fs.ErrExist.
	Replace bool
	// SkipFirst is the number of first positions that the hit rates leave out. If it is 0,
	// the rates without the attention sinks are drawn, too.
	SkipFirst int
	// MinSignificant is the number of significant positions that a rate must rest on;
	// cells of others are hatched.
	MinSignificant int
	Origin         viz.Origin        // for the metadata of the figures
	Warn           func(text string) // is told about prompts that are left out; may be nil
	// Progress is called, if it is not nil, while hit rates are computed.
	Progress func(analysis.Progress)
}

// HeatmapKind is the kind of a figure that EachHeatmap draws.
type HeatmapKind int

const (
	LayerMap    HeatmapKind = iota // votes and attention of one layer of one prompt
	OverviewMap                    // the recorded overview of one layer of one prompt
	HeadRates                      // hit rates by layer and head
	WindowRates                    // hit rates by layer and size of the observation window
)

// Heatmap is a figure that EachHeatmap draws.
type Heatmap struct {
	Kind   HeatmapKind
	Name   string // path of its file without extension, such as PROMPT/layer-03
	Layer  int    // of a LayerMap or an OverviewMap
	Figure *viz.Figure
}

// Heatmaps writes the figures of EachHeatmap into dir and returns the paths of the
// files written. After an error these are the files written before it.
func Heatmaps(ctx context.Context, paths []string, dir string, cfg HeatmapConfig) ([]string, error) {
	out := &folder{dir: dir, formats: cfg.Formats, style: cfg.Style, keep: !cfg.Replace}
	err := EachHeatmap(ctx, paths, cfg, func(h Heatmap) error { return out.save(h.Figure, h.Name) })
	return out.written, err
}

// EachHeatmap draws the figures of dumps and calls use with each of them:
// PROMPT/layer-NN for each layer of the chosen prompts, PROMPT/overview-NN where the
// dump has a picture of the whole map, then layers-heads and layers-windows over
// all prompts of all dumps, with all positions and without the first four. Without a reply there are no rates, and the last four
// are not drawn. It is an error if a dump recorded fewer prompt rows than the
// window has, if the prompt does not exist, or if no prompt is longer than the
// window. An error of use stops the drawing and is returned.
func EachHeatmap(ctx context.Context, paths []string, cfg HeatmapConfig, use func(Heatmap) error) error {
	d := &heatmaps{cfg: cfg, use: use, folders: map[string]string{}}
	if err := d.layers(ctx, paths); err != nil {
		return err
	}
	return d.summaries(ctx, paths)
}

// EachLayerMap draws the figures of layers that [EachHeatmap] draws, and no summaries.
func EachLayerMap(ctx context.Context, paths []string, cfg HeatmapConfig, use func(Heatmap) error) error {
	d := &heatmaps{cfg: cfg, use: use, folders: map[string]string{}}
	return d.layers(ctx, paths)
}

// layers draws the layers of all dumps.
func (d *heatmaps) layers(ctx context.Context, paths []string) error {
	for _, path := range paths {
		if err := d.dump(ctx, path); err != nil {
			return err
		}
	}
	return d.missing(paths)
}

// heatmaps is the state of one call of EachHeatmap.
type heatmaps struct {
	cfg        HeatmapConfig
	use        func(Heatmap) error
	meta       viz.Meta          // of the dump read last
	model      *dumps.ModelInfo  // of the first dump
	prompts    int               // in all dumps read so far
	windowRows int               // recorded prompt rows, the fewest of all dumps
	shortest   int               // tokens of the shortest prompt that can be rated
	found      bool              // a prompt was drawn
	folders    map[string]string // id of each prompt drawn, by the name of its folder
}

// draw passes a figure on, with its name in the metadata.
func (d *heatmaps) draw(kind HeatmapKind, name string, layer int, f *viz.Figure) error {
	f.Meta = f.Meta.With("figure", filepath.ToSlash(name))
	return d.use(Heatmap{Kind: kind, Name: name, Layer: layer, Figure: f})
}

// folder returns the folder for the figures of a prompt. Ids that would share one
// get different folders.
func (d *heatmaps) folder(id string) string {
	name := SafeName(id)
	if other, taken := d.folders[name]; taken && other != id {
		name = distinctName(name, id)
	}
	d.folders[name] = id
	return name
}

// dump draws the layers of the prompts that the configuration selects.
func (d *heatmaps) dump(ctx context.Context, path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	h := r.Header()
	if d.cfg.Window > h.Plan.WindowRows {
		return fmt.Errorf("%s: window %d, but the last %d prompt rows were recorded: capture with --window-rows %d",
			path, d.cfg.Window, h.Plan.WindowRows, d.cfg.Window)
	}
	d.meta = d.cfg.Origin.Meta().
		With("model", h.Model.ID).
		With("model_sha256", h.Model.SHA256).
		With("manifest_sha256", h.SHA256())
	d.prompts += len(r.Prompts())
	if d.model == nil {
		d.model = &h.Model
	}
	if d.windowRows == 0 || h.Plan.WindowRows < d.windowRows {
		d.windowRows = h.Plan.WindowRows
	}
	for i := range r.Prompts() {
		if n := r.Prompts()[i].PromptTokens; n > d.cfg.Window && (d.shortest == 0 || n < d.shortest) {
			d.shortest = n
		}
		if d.selects(path, &r.Prompts()[i]) {
			d.found = true
			if err := d.prompt(ctx, r, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// selects says whether a prompt is drawn. Unless all are asked for, only the first
// that fits is.
func (d *heatmaps) selects(path string, p *dumps.Prompt) bool {
	named := d.cfg.Prompt == p.ID
	if d.cfg.Prompt != "all" && (d.found || d.cfg.Prompt != "" && !named) {
		return false
	}
	if named || p.PromptTokens > d.cfg.Window {
		return true
	}
	if d.cfg.Warn != nil {
		d.cfg.Warn(fmt.Sprintf("%s: prompt %q has %s and is left out: window %d leaves no prefix",
			path, p.ID, words.Count(p.PromptTokens, "token"), d.cfg.Window))
	}
	return false
}

// missing returns an error if no prompt of the dumps was drawn.
func (d *heatmaps) missing(paths []string) error {
	all := strings.Join(paths, ", ")
	switch named := d.cfg.Prompt != "" && d.cfg.Prompt != "all"; {
	case d.found:
		return nil
	case named && len(paths) == 1:
		return fmt.Errorf("%s: no prompt %q; attnscope info %s lists them", all, d.cfg.Prompt, all)
	case named:
		return fmt.Errorf("%s: no prompt %q in any of them; attnscope info lists the prompts of one", all, d.cfg.Prompt)
	case d.prompts > 0:
		return fmt.Errorf("%s: no prompt is longer than the window of %d: choose a smaller --window", all, d.cfg.Window)
	}
	return nil
}

// prompt draws the selected layers of a prompt.
func (d *heatmaps) prompt(ctx context.Context, r *dumps.Reader, prompt int) error {
	id := r.Prompts()[prompt].ID
	plan := &r.Header().Plan
	for _, layer := range plan.Layers {
		if d.cfg.Layers != nil && !slices.Contains(d.cfg.Layers, layer) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		meta := d.meta.With("prompt", id).With("layer", fmt.Sprint(layer))
		l, err := d.layer(r, prompt, layer)
		if err != nil {
			return err
		}
		l.Meta = meta
		name := filepath.Join(d.folder(id), fmt.Sprintf("layer-%02d", layer))
		if err := d.draw(LayerMap, name, layer, viz.LayerFigure(l)); err != nil {
			return err
		}
		if plan.Overview < 1 {
			continue
		}
		o, err := overview(r, prompt, layer)
		if err != nil {
			return err
		}
		o.Meta = meta
		name = filepath.Join(d.folder(id), fmt.Sprintf("overview-%02d", layer))
		if err := d.draw(OverviewMap, name, layer, viz.OverviewFigure(o)); err != nil {
			return err
		}
	}
	return nil
}

// summaries draws hit rates by layer and head, and by layer and window, of all positions
// but the first SkipFirst. If that is none, it draws them also without the attention
// sinks, which every window votes for.
func (d *heatmaps) summaries(ctx context.Context, paths []string) error {
	skips := []int{d.cfg.SkipFirst}
	if d.cfg.SkipFirst == 0 {
		skips = append(skips, hitrate.Sinks)
	}
	var cfgs []analysis.HitRateConfig
	for _, skip := range skips {
		cfgs = append(cfgs, rateConfigs(&d.cfg, skip, LongestWindow(d.windowRows, d.shortest, d.cfg.Window))...)
	}
	cfgs[0].Progress = d.cfg.Progress
	lists, _, err := analysis.HitRatesEach(ctx, paths, cfgs...)
	if errors.Is(err, analysis.ErrNothing) {
		return nil
	}
	if err != nil {
		return err
	}
	for i, skip := range skips {
		suffix := ""
		if skip != d.cfg.SkipFirst {
			suffix = fmt.Sprintf("-without-first-%d", skip)
		}
		m := RateMap{SkipFirst: skip, MinSignificant: d.cfg.MinSignificant, Model: d.model, Meta: d.meta}
		if err := d.draw(HeadRates, "layers-heads"+suffix, 0, m.Heads(lists[2*i])); err != nil {
			return err
		}
		if err := d.draw(WindowRates, "layers-windows"+suffix, 0, m.Windows(lists[2*i+1])); err != nil {
			return err
		}
	}
	return nil
}

// rateConfigs returns the configs of the rates by layer and head and by layer and window, all
// windows on the same positions.
func rateConfigs(cfg *HeatmapConfig, skip, longest int) []analysis.HitRateConfig {
	heads := analysis.Paper
	heads.Tops = []float64{cfg.Top}
	heads.Thetas = []float64{cfg.Theta}
	heads.SkipFirst = skip
	heads.By = []analysis.By{analysis.ByLayer, analysis.ByHead}
	heads.Windows = []int{cfg.Window}
	windows := heads
	windows.By = []analysis.By{analysis.ByLayer}
	windows.Windows = Windows(longest, cfg.Window)
	windows.SamePrefix = true
	return []analysis.HitRateConfig{heads, windows}
}
