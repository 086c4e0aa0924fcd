package report

import (
	"context"
	"fmt"
	"math"
	"path/filepath"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
)

// numbers is everything that the page shows, before it is put into words.
type numbers struct {
	cfg          Config
	captures     []capture
	overall      []analysis.HitRateRow // all layers and heads together
	withoutSinks []analysis.HitRateRow // the same without the first four positions
	byLayer      []analysis.HitRateRow
	methods      comparison
	prompt       string // id of the prompt whose layers and text are shown
	heatmaps     []heatmap
	text         promptText
	warnings     []analysis.Warning
}

// capture describes a dump that the numbers come from.
type capture struct {
	Name     string
	Complete bool
	Bytes    int64
	Bound    string // on the rounding of weights
	*dumps.Header
	Prompts []dumps.Prompt
}

// heatmap is a figure of the dump's first prompt that fits, or of its hit rates. It is
// encoded at once, because the numbers behind the figures of all layers would take
// far more memory.
type heatmap struct {
	kind  figures.HeatmapKind
	layer int
	png   []byte
}

// comparison is what selection methods keep at several capacities.
type comparison struct {
	missing    string // why there is no comparison; empty if there is one
	err        error  // the failure that is the reason; nil if the prompts do not allow one
	methods    []snapkv.Method
	capacities []int
	rows       []analysis.MethodRow
}

// compute reads the dumps and computes all numbers.
func compute(ctx context.Context, paths []string, cfg Config) (*numbers, error) {
	n := &numbers{cfg: cfg}
	if err := n.readHeaders(paths); err != nil {
		return nil, err
	}
	if err := n.rates(ctx, paths); err != nil {
		return nil, err
	}
	if err := n.compare(ctx, paths); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		n.methods = comparison{missing: err.Error(), err: err}
	}
	if err := n.drawHeatmaps(ctx, paths[0]); err != nil {
		return nil, err
	}
	return n, n.readText(paths[0])
}

func (n *numbers) readHeaders(paths []string) error {
	prompts := 0
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return err
		}
		h := r.Header()
		n.captures = append(n.captures, capture{
			Name:     filepath.Base(path),
			Complete: r.Complete(),
			Bytes:    r.Size(),
			Bound:    h.Plan.Precision.Bound(),
			Header:   h,
			Prompts:  r.Prompts(),
		})
		prompts += len(r.Prompts())
		r.Close()
	}
	if prompts == 0 {
		return fmt.Errorf("%s: the dump has no complete prompt", paths[0])
	}
	return nil
}

// rates computes the hit rates.
func (n *numbers) rates(ctx context.Context, paths []string) error {
	cfg := analysis.Paper
	cfg.Windows = []int{n.cfg.Window}
	cfg.Tops = []float64{n.cfg.Top}
	cfg.Thetas = []float64{n.cfg.Theta}

	var err error
	if n.byLayer, _, err = analysis.HitRates(ctx, paths, cfg); err != nil {
		return err
	}
	cfg.By = nil
	if n.overall, n.warnings, err = analysis.HitRates(ctx, paths, cfg); err != nil {
		return err
	}
	cfg.SkipFirst = 4
	n.withoutSinks, _, err = analysis.HitRates(ctx, paths, cfg)
	return err
}

// compare computes what SnapKV and other methods keep.
func (n *numbers) compare(ctx context.Context, paths []string) error {
	c := comparison{capacities: n.capacities()}
	if len(c.capacities) == 0 {
		n.methods.missing = "the prompts are too short"
		return nil
	}
	for _, name := range []string{"snapkv", "h2o", "streamingllm", "tova", "pyramidkv", "recent", "random", "oracle"} {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			return err
		}
		c.methods = append(c.methods, m)
	}
	cfg := analysis.MethodConfig{Methods: c.methods, Thetas: []float64{n.cfg.Theta}, Span: 128, Lenient: true}
	for _, capacity := range c.capacities {
		config := snapkv.Default
		config.Window = n.cfg.Window
		config.Capacity = capacity
		cfg.Configs = append(cfg.Configs, config)
	}
	var warnings []analysis.Warning
	var err error
	if c.rows, warnings, err = analysis.Methods(ctx, paths, cfg); err != nil {
		return err
	}
	n.methods = c
	n.warnings = append(n.warnings, warnings...)
	return nil
}

// capacities returns the powers of two from 64 to 4096 that are larger than the
// window and smaller than the shortest prompt.
func (n *numbers) capacities() []int {
	shortest := math.MaxInt
	for _, c := range n.captures {
		for _, p := range c.Prompts {
			if p.ReplyTokens > 0 && p.PromptTokens > n.cfg.Window {
				shortest = min(shortest, p.PromptTokens)
			}
		}
	}
	var list []int
	for c := 64; c < shortest && c <= 4096; c *= 2 {
		if c > n.cfg.Window {
			list = append(list, c)
		}
	}
	return list
}

// drawHeatmaps draws the heatmaps of a dump.
func (n *numbers) drawHeatmaps(ctx context.Context, path string) error {
	n.prompt = n.cfg.Prompt
	if n.prompt == "" {
		n.prompt = firstFit(n.captures[0].Prompts, n.cfg.Window)
	}
	cfg := figures.HeatmapConfig{
		Prompt: n.prompt,
		Window: n.cfg.Window,
		Top:    n.cfg.Top,
		Theta:  n.cfg.Theta,
		Origin: n.cfg.Origin,

		MinSignificant: analysis.MinSignificant,
	}
	return figures.EachHeatmap(ctx, []string{path}, cfg, func(h figures.Heatmap) error {
		data, err := h.Figure.Encode("png")
		n.heatmaps = append(n.heatmaps, heatmap{kind: h.Kind, layer: h.Layer, png: data})
		return err
	})
}

// firstFit returns the id of the first prompt that is longer than the window and has
// a reply; empty if there is none.
func firstFit(list []dumps.Prompt, window int) string {
	for _, p := range list {
		if p.PromptTokens > window && p.ReplyTokens > 0 {
			return p.ID
		}
	}
	return ""
}
