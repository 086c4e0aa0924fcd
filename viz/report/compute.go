package report

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
	"github.com/attnscope/attnscope/viz/figures"
)

// numbers is everything that the page shows, before it is put into words.
type numbers struct {
	cfg      Config
	captures []capture
	all      rates // of all positions
	without  rates // without the first Config.SkipFirst positions
	methods  comparison
	prompt   string   // id of the prompt whose layers and text are shown
	layers   []figure // encoded at once, because their numbers would take far more memory
	text     promptText
	warnings []analysis.Warning
	progress progress
}

// rates holds hit rates that leave out the same number of first positions.
type rates struct {
	overall []analysis.HitRateRow // all layers and heads together
	byLayer []analysis.HitRateRow
	byHead  []analysis.HitRateRow // by layer and head

	// For each window, all on the same positions:
	sizes        []analysis.HitRateRow // all layers and heads together
	sizesByLayer []analysis.HitRateRow
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

// comparison is what selection methods keep at several capacities.
type comparison struct {
	missing    string // why there is no comparison; empty if there is one
	err        error  // the failure that is the reason; nil if the prompts do not allow one
	settings   string
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
	n.progress = progress{report: cfg.Progress, passes: 2}
	if err := n.rates(ctx, paths); err != nil {
		return nil, err
	}
	n.progress.next()
	if err := n.compare(ctx, paths); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		n.methods = comparison{missing: err.Error(), err: err}
	}
	if err := n.drawLayers(ctx, paths[0]); err != nil {
		return nil, err
	}
	return n, n.readText(paths[0])
}

// warn adds warnings that are not listed yet: several passes over the dumps give the
// same.
func (n *numbers) warn(warnings []analysis.Warning) {
	for _, w := range warnings {
		if !slices.Contains(n.warnings, w) {
			n.warnings = append(n.warnings, w)
		}
	}
}

// progress joins the progress of several passes over the dumps.
type progress struct {
	report func(analysis.Progress) // may be nil
	passes int
	pass   int // the one that is running
}

// next says that a pass is finished.
func (p *progress) next() { p.pass++ }

// update returns the function that a pass reports to; nil if there is nobody to tell.
func (p *progress) update() func(analysis.Progress) {
	if p.report == nil {
		return nil
	}
	return func(of analysis.Progress) {
		of.Done += int64(p.pass) * of.Total
		of.Total *= int64(p.passes)
		p.report(of)
	}
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

// rates computes the hit rates, all in one pass over the dumps.
func (n *numbers) rates(ctx context.Context, paths []string) error {
	recorded := math.MaxInt
	for _, c := range n.captures {
		recorded = min(recorded, c.Plan.WindowRows)
	}
	longest := figures.LongestWindow(recorded, n.shortest(), n.cfg.Window)
	var cfgs []analysis.HitRateConfig
	for _, skip := range []int{0, n.cfg.SkipFirst} {
		overall := analysis.Paper
		overall.Tops = []float64{n.cfg.Top}
		overall.Thetas = []float64{n.cfg.Theta}
		overall.Windows = []int{n.cfg.Window}
		overall.SkipFirst = skip
		overall.By = nil
		byLayer := overall
		byLayer.By = []analysis.By{analysis.ByLayer}
		byHead := overall
		byHead.By = []analysis.By{analysis.ByLayer, analysis.ByHead}
		sizes := overall
		sizes.Windows = windowsAround(n.cfg.Window, longest)
		sizes.SamePrefix = true
		sizesByLayer := sizes
		sizesByLayer.By = byLayer.By
		cfgs = append(cfgs, overall, byLayer, byHead, sizes, sizesByLayer)
	}
	cfgs[0].Progress = n.progress.update()
	lists, warnings, err := analysis.HitRatesEach(ctx, paths, cfgs...)
	if err != nil {
		return err
	}
	n.all = rates{lists[0], lists[1], lists[2], lists[3], lists[4]}
	n.without = rates{lists[5], lists[6], lists[7], lists[8], lists[9]}
	n.warn(warnings)
	return nil
}

// windowsAround returns the windows that are compared: the chosen one, those that are
// smaller or larger by powers of four, and the longest.
func windowsAround(chosen, longest int) []int {
	list := []int{longest}
	for w := chosen; w >= 1; w /= 4 {
		list = append(list, w)
	}
	for w := 4 * chosen; w < longest; w *= 4 {
		list = append(list, w)
	}
	slices.Sort(list)
	return slices.Compact(list)
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
	cfg := analysis.MethodConfig{
		Methods: c.methods, Thetas: []float64{n.cfg.Theta}, Span: 128, Lenient: true,
		SkipOracle: true, SkipOutputs: true, Progress: n.progress.update(),
	}
	for _, capacity := range c.capacities {
		config := snapkv.Default
		config.Window = n.cfg.Window
		config.Capacity = capacity
		cfg.Configs = append(cfg.Configs, config)
		c.settings = fmt.Sprintf("window %d, kernel %d, %s, group %s", config.Window, config.Kernel, config.Pooling, config.Group)
	}
	var warnings []analysis.Warning
	var err error
	if c.rows, warnings, err = analysis.Methods(ctx, paths, cfg); err != nil {
		return err
	}
	n.methods = c
	n.warn(warnings)
	return nil
}

// shortest returns the length of the shortest prompt that can be rated.
func (n *numbers) shortest() int {
	shortest := math.MaxInt
	for _, c := range n.captures {
		for _, p := range c.Prompts {
			if p.ReplyTokens > 0 && p.PromptTokens > n.cfg.Window {
				shortest = min(shortest, p.PromptTokens)
			}
		}
	}
	return shortest
}

// capacities returns the powers of two from 64 to 4096 that are larger than the
// window and smaller than the shortest prompt.
func (n *numbers) capacities() []int {
	shortest := n.shortest()
	var list []int
	for c := 64; c < shortest && c <= 4096; c *= 2 {
		if c > n.cfg.Window {
			list = append(list, c)
		}
	}
	return list
}

// drawLayers draws the maps of the layers of a prompt.
func (n *numbers) drawLayers(ctx context.Context, path string) error {
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
	}
	return figures.EachLayerMap(ctx, []string{path}, cfg, func(h figures.Heatmap) error {
		name := fmt.Sprintf("Layer %d", h.Layer)
		if h.Kind == figures.OverviewMap {
			name += ", the whole map"
		}
		f, err := svg(h.Figure, name, "")
		n.layers = append(n.layers, f)
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
