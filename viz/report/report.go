// Package report writes what a dump says as one offline HTML page: where it comes
// from, the hit rates with their baselines, figures, and words for each.
//
//	page, warnings, err := report.HTML(ctx, []string{"run.attn"}, report.Config{Window: 32, Top: 0.05, Theta: 0.05})
package report

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/outfile"
	"github.com/attnscope/attnscope/viz"
	"github.com/attnscope/attnscope/viz/figures"
)

// Config says what is computed; the zero value of a field but Origin is no
// setting.
type Config struct {
	Window int
	Top    float64
	Theta  float64
	Prompt string     // whose layers are drawn: id, or empty for the first
	Origin viz.Origin // for the page's end
}

// MaxBytes bounds a page. Figures of layers are left out, evenly, until it fits.
const MaxBytes = 30 << 20

// page is what the template shows. Everything in it is text to the template,
// which escapes it.
type page struct {
	Title    string
	Config   Config
	Captures []capture
	Overall  *rows
	ByLayer  *rows
	Low      string
	High     string
	Figures  []figure // of rates
	Methods  *rows
	Missing  string // why there are no methods
	Prompt   string
	Layers   []figure // vote over generation
	LeftOut  int      // of these, for size
	Text     []piece  // the same prompt
	TextCut  int      // tokens left out of it
	Reply    string
	Warnings []analysis.Warning
}

// capture is where the numbers come from.
type capture struct {
	Name     string
	Complete bool
	Bytes    int64
	Bound    string
	*dumps.Header
	Prompts []dumps.Prompt
}

// HTML makes the page, and warnings that are in it too.
func HTML(ctx context.Context, paths []string, cfg Config) ([]byte, []analysis.Warning, error) {
	p := &page{Config: cfg}
	prompts := 0
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return nil, nil, err
		}
		h := r.Header()
		p.Captures = append(p.Captures, capture{filepath.Base(path), r.Complete(), r.Size(), h.Plan.Precision.Bound(), h, r.Prompts()})
		if p.Title == "" {
			p.Title = h.Model.ID
		} else if p.Title != h.Model.ID {
			p.Title = "several models"
		}
		prompts += len(r.Prompts())
		r.Close()
	}
	if prompts == 0 {
		return nil, nil, fmt.Errorf("%s: no complete prompt in it", paths[0])
	}
	if err := p.rates(ctx, paths); err != nil {
		return nil, nil, err
	}
	p.methods(ctx, paths)
	if err := p.draw(ctx, paths[0]); err != nil {
		return nil, nil, err
	}
	if err := p.text(paths[0]); err != nil {
		return nil, nil, err
	}
	for {
		var b bytes.Buffer
		if err := layout.Execute(&b, p); err != nil {
			return nil, nil, err
		}
		if b.Len() <= MaxBytes || len(p.Layers) == 0 {
			return b.Bytes(), p.Warnings, nil
		}
		p.thin()
	}
}

// thin leaves out every other figure of a layer.
func (p *page) thin() {
	var kept []figure
	for i, f := range p.Layers {
		if i%2 == 0 && len(p.Layers) > 1 {
			kept = append(kept, f)
		} else {
			p.LeftOut++
		}
	}
	p.Layers = kept
}

// WriteFile writes the page beside path and renames.
func WriteFile(ctx context.Context, path string, paths []string, cfg Config) ([]analysis.Warning, error) {
	text, warnings, err := HTML(ctx, paths, cfg)
	if err != nil {
		return warnings, err
	}
	return warnings, outfile.Write(path, func(w io.Writer) error { _, err := w.Write(text); return err })
}

// rates computes the tables and figures of hit rates.
func (p *page) rates(ctx context.Context, paths []string) error {
	base := analysis.Paper
	base.Windows, base.Tops, base.Thetas = []int{p.Config.Window}, []float64{p.Config.Top}, []float64{p.Config.Theta}
	var overall [2][]analysis.HitRateRow
	for i, skip := range []int{0, 4} {
		cfg := base
		cfg.By = nil
		cfg.SkipFirst = skip
		rows, warnings, err := analysis.HitRates(ctx, paths, cfg)
		if err != nil {
			return err
		}
		if skip == 0 {
			p.Warnings = append(p.Warnings, warnings...)
		}
		overall[i] = rows
	}
	if len(overall[0]) == 0 {
		return fmt.Errorf("no prompt is longer than the window of %d and has a reply: there is nothing to report", p.Config.Window)
	}
	p.Overall = overallRows(overall[0], overall[1])
	byLayer, _, err := analysis.HitRates(ctx, paths, base)
	if err != nil {
		return err
	}
	p.ByLayer = layerRows(byLayer)
	p.Low, p.High = extremes(byLayer)
	plot := curves(byLayer, p.Config)
	f, err := plot.Encode("svg")
	if err != nil {
		return err
	}
	p.Figures = append(p.Figures, figure{
		Image: image("svg", f), Width: int(plot.Width.Points() * 4 / 3), Name: "Hit rate by layer",
		About: "The blue line is the vote's hit rate. The other lines keep as many positions without looking: at random, the last ones, the first four and the last. What the vote adds lies above them.",
	})
	return nil
}

// draw makes the maps, through files as the heatmap verb does.
func (p *page) draw(ctx context.Context, path string) error {
	dir, err := os.MkdirTemp("", "attnscope-report-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := figures.HeatmapConfig{Prompt: p.Config.Prompt, Window: p.Config.Window, Top: p.Config.Top, Theta: p.Config.Theta, Formats: []string{"png"}, Origin: p.Config.Origin}
	if cfg.Prompt == "" {
		cfg.Prompt = firstFit(p.Captures[0].Prompts, cfg.Window)
	}
	p.Prompt = cfg.Prompt
	written, err := figures.Heatmaps(ctx, []string{path}, dir, cfg)
	if err != nil {
		return err
	}
	for _, name := range written {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		switch base := filepath.Base(name); base {
		case "layers-heads.png":
			p.Figures = append(p.Figures, figure{image("png", data), pngWidth(data), "Hit rate by layer and head", "Dark heads attend to positions that the window had not voted for. Grey: nothing was above the threshold, there is no rate." + p.ofFirst()})
		case "layers-windows.png":
			p.Figures = append(p.Figures, figure{image("png", data), pngWidth(data), "Hit rate by size of the window", "Each column is another number of last prompt rows that vote." + p.ofFirst()})
		default:
			var layer int
			fmt.Sscanf(base, "layer-%d.png", &layer)
			p.Layers = append(p.Layers, figure{image("png", data), pngWidth(data), fmt.Sprintf("Layer %d", layer), ""})
		}
	}
	return nil
}

func (p *page) ofFirst() string {
	if len(p.Captures) == 1 {
		return ""
	}
	return " Of " + p.Captures[0].Name + " only."
}

// firstFit is the first prompt that is longer than the window and has a reply.
func firstFit(list []dumps.Prompt, window int) string {
	for _, q := range list {
		if q.PromptTokens > window && q.ReplyTokens > 0 {
			return q.ID
		}
	}
	return ""
}
