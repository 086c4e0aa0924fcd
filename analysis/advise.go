package analysis

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/internal/sizes"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// AdviceConfig says which loss [Advise] bounds, and how.
type AdviceConfig struct {
	Calibrations []Calibration
	Bound        Bound
	// Risk is the largest acceptable share of prompts that lose more than the bound.
	Risk float64
	By   By // "", ByLayer or ByHead
}

// Advice says how much of the cache each method needs.
type Advice struct {
	Config      AdviceConfig
	Calibration *Calibration // from which the predictions are computed
	// Rows hold the methods that keep the bound, the smallest cache first, and then the
	// others. By layer or head, they are in the order of layers, heads and methods.
	Rows []AdviceRow
	// Closest comes closest to the bound if no method that drops something keeps it: of
	// the caches smaller than the full one, it has the smallest upper end of the loss. It
	// is nil otherwise, if there is no such cache, and by layer or head.
	Closest  *AdviceRow
	Warnings []Warning
	settings snapkv.Config // window, kernel and pooling of every row
	latent   bool          // all heads of a layer read one cache entry
}

// AdviceRow is the smallest capacity at which a method keeps the bound.
type AdviceRow struct {
	Layer, Head int // -1 for all
	Method      string
	Group       snapkv.Group
	Capacity    int     // positions per head, the window included; -1 if none keeps the bound
	Budget      int     // capacity - window; -1 if none keeps the bound
	Share       float64 // of the prompts' positions that are kept; NaN if none keeps the bound
	Bytes       float64 // of the cache, mean over prompts; NaN if none keeps the bound
	FullBytes   float64 // of the full cache, mean over prompts
	Predicted   float64 // loss, mean over prompts; NaN if none keeps the bound
	// Low and High bound the loss of a single prompt: it is lower or higher with the
	// probability Risk each.
	Low, High float64
	Measured  float64 // mean over prompts of the calibration's measure
	Largest   int     // largest capacity that was tried
	KeepsAll  bool    // no prompt is longer than the capacity

	measures []float64 // the calibration's measure, of each prompt that loses anything
	prompts  int
	allowed  float64 // share of the prompts' positions that the capacity allows
}

// adviceColumns lists the columns of Advice.Table after the key columns.
var adviceColumns = []string{
	"method", "group", "capacity", "budget", "share", "cache_bytes", "cache_ratio", "predicted", "low", "high", "evidence",
}

// Advise finds, for each method, the smallest cache for which the mean loss is within the
// bound and the loss of a prompt exceeds it with at most the probability ask.Risk. cfg.Configs are the
// capacities and groups that are tried; they agree in everything else. By layer or
// head, the cache follows from the measure of that layer or head alone.
// It uses the first calibration of the bound's loss whose measure is defined for every
// row of [Methods], and returns an error if there is none. Warnings are set even then.
func Advise(ctx context.Context, paths []string, cfg MethodConfig, ask AdviceConfig) (*Advice, error) {
	advice := &Advice{Config: ask}
	if len(cfg.Configs) > 0 {
		advice.settings = cfg.Configs[0]
	}
	if ask.By != "" {
		if err := words.Check("by", ask.By, []By{ByLayer, ByHead}); err != nil {
			return advice, err
		}
	}
	if !(ask.Risk > 0 && ask.Risk < 0.5) {
		return advice, fmt.Errorf("risk %g: want a share of prompts above 0 and below 0.5", ask.Risk)
	}
	if err := advice.checkCaches(paths); err != nil {
		return advice, err
	}
	measured, err := advice.measure(ctx, paths, cfg)
	if err != nil {
		return advice, err
	}
	advice.Rows = advice.smallest(measured, cfg)
	advice.Warnings = append(advice.Warnings, advice.shortPrompts()...)
	return advice, nil
}

// checkCaches returns an error if budgets by layer or head are asked for where a cache
// is one for several layers or for all heads. It notes which of both the dumps have.
func (a *Advice) checkCaches(paths []string) error {
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return err
		}
		h := r.Header()
		if err := r.Close(); err != nil {
			return err
		}
		for _, layer := range h.Model.AttentionLayers() {
			a.latent = a.latent || h.Model.Layer(layer).Latent
			shared := h.Model.SharedCache(layer)
			switch {
			case shared && a.Config.By != "":
				return fmt.Errorf("%s: layer %d shares its cache with another layer, so layers and heads cannot have budgets of "+
					"their own: advise without --by", path, layer)
			case a.latent && a.Config.By == ByHead:
				return fmt.Errorf("%s: with multi-head latent attention all heads read one cache entry, so heads cannot have "+
					"budgets of their own: advise without --by, or with --by layer", path)
			}
		}
	}
	return nil
}

// measure computes the rows of [Methods] and chooses the calibration. It computes no
// measures that the calibration does not need.
func (a *Advice) measure(ctx context.Context, paths []string, cfg MethodConfig) ([]MethodRow, error) {
	cfg.By = []By{ByPrompt}
	switch a.Config.By {
	case ByLayer:
		cfg.By = []By{ByPrompt, ByLayer}
	case ByHead:
		cfg.By = []By{ByPrompt, ByLayer, ByHead}
	}
	var err error
	if cfg.Configs, err = usefulConfigs(paths, cfg.Configs); err != nil {
		return nil, err
	}
	var rows []MethodRow
	have := lossMeasure{}
	var tried []string
	for i := range a.Config.Calibrations {
		c := &a.Config.Calibrations[i]
		m, known := findLossMeasure(c.Measure)
		if c.Loss != a.Config.Bound.Loss || !known {
			continue
		}
		tried = append(tried, c.Measure)
		if rows == nil || m.oracle && !have.oracle || m.outputs && !have.outputs {
			have.oracle = have.oracle || m.oracle
			have.outputs = have.outputs || m.outputs
			cfg.SkipOracle = !have.oracle
			cfg.SkipOutputs = !have.outputs
			if rows, a.Warnings, err = Methods(ctx, paths, cfg); err != nil {
				return nil, err
			}
		}
		if !slices.ContainsFunc(rows, func(r MethodRow) bool { return math.IsNaN(m.of(&r)) }) {
			a.Calibration = c
			return rows, nil
		}
	}
	if tried == nil {
		return nil, fmt.Errorf("no calibration is for the loss %q: calibrate again with attnscope advise --calibrate",
			string(a.Config.Bound.Loss))
	}
	return nil, fmt.Errorf("no calibration fits the dumps: none of its measures (%s) is defined for all methods and prompts",
		strings.Join(tried, ", "))
}

// usefulConfigs leaves out the capacities that keep everything, but for the smallest of
// them.
func usefulConfigs(paths []string, configs []snapkv.Config) ([]snapkv.Config, error) {
	longest := 0
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return nil, err
		}
		for _, p := range r.Prompts() {
			longest = max(longest, p.PromptTokens)
		}
		if err := r.Close(); err != nil {
			return nil, err
		}
	}
	whole := math.MaxInt
	for _, c := range configs {
		if c.Capacity >= longest {
			whole = min(whole, c.Capacity)
		}
	}
	return slices.DeleteFunc(slices.Clone(configs), func(c snapkv.Config) bool { return c.Capacity > whole }), nil
}

// candidate is what gets a row of its own.
type candidate struct {
	method      string
	layer, head int
}

// variant is a group and capacity under which a candidate is measured.
type variant struct {
	group    snapkv.Group
	capacity int
}

// smallest finds the smallest cache of each candidate and sorts the rows.
func (a *Advice) smallest(measured []MethodRow, cfg MethodConfig) []AdviceRow {
	var order []candidate
	rows := map[candidate]map[variant][]*MethodRow{} // of each prompt
	for i := range measured {
		row := &measured[i]
		at := candidate{row.Method, row.Layer, row.Head}
		if rows[at] == nil {
			rows[at] = map[variant][]*MethodRow{}
			order = append(order, at)
		}
		v := variant{row.Group, row.Capacity}
		rows[at][v] = append(rows[at][v], row)
	}
	rank := map[string]int{}
	for i, m := range cfg.Methods {
		rank[m.Name] = i
	}
	slices.SortStableFunc(order, func(x, y candidate) int { return rank[x.method] - rank[y.method] })
	var variants []variant
	for _, c := range cfg.Configs {
		variants = append(variants, variant{c.Group, c.Capacity})
	}
	slices.SortStableFunc(variants, func(x, y variant) int { return x.capacity - y.capacity })
	var list []AdviceRow
	for _, at := range order {
		row := a.smallestCache(rows[at], variants)
		row.Layer = at.layer
		row.Head = at.head
		row.Method = at.method
		list = append(list, row)
	}
	if a.Config.By == "" {
		slices.SortStableFunc(list, compareAdvice)
		if !slices.ContainsFunc(list, dropsSomething) {
			a.Closest = a.closest(order, rows, variants)
		}
	}
	return list
}

// spared returns how many prompts lose nothing, because they are no longer than the capacity.
func (r *AdviceRow) spared() int { return r.prompts - len(r.measures) }

// shortPrompts warns, in a list of at most one warning, about the capacities that some
// prompts exceed and others do not: the others count as prompts that lose nothing.
func (a *Advice) shortPrompts() []Warning {
	rows := a.Rows
	if a.Closest != nil {
		rows = append(slices.Clone(rows), *a.Closest)
	}
	spared := map[int]int{} // prompts, of each capacity
	total := 0
	for i := range rows {
		if dropsSomething(rows[i]) && rows[i].spared() > 0 {
			spared[rows[i].Capacity] = rows[i].spared()
			total = rows[i].prompts
		}
	}
	var list []string
	for _, capacity := range slices.Sorted(maps.Keys(spared)) {
		list = append(list, sparedText(spared[capacity], total, fmt.Sprintf("capacity %d", capacity)))
	}
	if list == nil {
		return nil
	}
	return []Warning{{Kind: ShortPrompts, Reason: strings.Join(list, ", ") + ": prompts that short lose nothing, and count as such"}}
}

// sparedText says how many of the prompts are no longer than a capacity.
func sparedText(spared, prompts int, capacity string) string {
	return fmt.Sprintf("%d of %s %s no longer than %s", spared, words.Count(prompts, "prompt"),
		words.Plural(spared, "is", "are"), capacity)
}

// dropsSomething reports whether a row keeps the bound without keeping everything.
func dropsSomething(r AdviceRow) bool { return r.Capacity >= 0 && !r.KeepsAll }

// closest returns the row for [Advice.Closest].
func (a *Advice) closest(order []candidate, rows map[candidate]map[variant][]*MethodRow, variants []variant) *AdviceRow {
	var best *AdviceRow
	for _, at := range order {
		for _, v := range variants {
			list := rows[at][v]
			if len(list) == 0 {
				continue
			}
			row := a.row(v, list)
			row.Layer = at.layer
			row.Head = at.head
			row.Method = at.method
			if row.KeepsAll || row.Bytes >= row.FullBytes {
				continue
			}
			if best == nil || max(row.High, row.Predicted) < max(best.High, best.Predicted) {
				best = &row
			}
		}
	}
	return best
}

// compareAdvice puts the row with the smaller cache first, and rows that keep no bound
// last.
func compareAdvice(x, y AdviceRow) int {
	switch {
	case x.Capacity < 0 && y.Capacity < 0:
		return 0
	case x.Capacity < 0:
		return 1
	case y.Capacity < 0:
		return -1
	}
	return cmp.Or(cmp.Compare(x.Bytes, y.Bytes), cmp.Compare(x.Predicted, y.Predicted))
}

// smallestCache finds the smallest capacity of each group that keeps the bound, and
// returns the row of the group whose cache is the smallest. variants are in ascending
// order of the capacity.
func (a *Advice) smallestCache(rows map[variant][]*MethodRow, variants []variant) AdviceRow {
	best := AdviceRow{
		Capacity:  -1,
		Budget:    -1,
		Share:     math.NaN(),
		Bytes:     math.NaN(),
		Predicted: math.NaN(),
		Low:       math.NaN(),
		High:      math.NaN(),
		Measured:  math.NaN(),
	}
	found := map[snapkv.Group]bool{}
	for _, v := range variants {
		list := rows[v]
		if len(list) == 0 || found[v.group] {
			continue
		}
		row := a.row(v, list)
		if max(row.High, row.Predicted) <= a.Config.Bound.Value {
			found[v.group] = true
			if best.Capacity < 0 || row.Bytes < best.Bytes {
				best = row
			}
		} else if best.Capacity < 0 {
			best.Group = variants[0].group
			best.FullBytes = row.FullBytes
			best.Largest = v.capacity
		}
	}
	return best
}

// row predicts the loss under one group and capacity from the rows of all prompts.
func (a *Advice) row(v variant, list []*MethodRow) AdviceRow {
	m, _ := findLossMeasure(a.Calibration.Measure)
	row := AdviceRow{Group: v.group, Capacity: v.capacity, Budget: v.capacity - a.settings.Window, Largest: v.capacity}
	n := float64(len(list))
	for _, r := range list {
		row.Bytes += r.CacheBytes / n
		row.FullBytes += r.FullBytes / n
		row.Measured += m.of(r) / n
		row.Share += r.Kept / n
		row.allowed += min(1, float64(v.capacity)/r.PromptTokens) / n
		if float64(v.capacity) < r.PromptTokens {
			row.measures = append(row.measures, m.of(r))
		}
	}
	row.prompts = len(list)
	row.KeepsAll = len(row.measures) == 0
	p := a.Calibration.predict(row.measures, row.prompts, a.Config.Risk)
	row.Predicted = p.mean
	row.Low = p.low
	row.High = p.high
	return row
}

// Found reports whether any method keeps the bound.
func (a *Advice) Found() bool {
	return slices.ContainsFunc(a.Rows, func(r AdviceRow) bool { return r.Capacity >= 0 })
}

// Table makes a table of the rows. The column layer comes first by layer, and the
// columns layer and head by head.
func (a *Advice) Table() *table.Table {
	var keys []string
	switch a.Config.By {
	case ByLayer:
		keys = []string{"layer"}
	case ByHead:
		keys = []string{"layer", "head"}
	}
	t := table.New(slices.Concat(keys, adviceColumns)...)
	for i := range a.Rows {
		row := &a.Rows[i]
		cells := []any{row.Layer, row.Head}[:len(keys)]
		t.Add(append(
			cells, row.Method, row.Group.String(), row.Capacity, row.Budget, row.Share, row.Bytes, row.Bytes/row.FullBytes,
			row.Predicted, row.Low, row.High, a.evidence(row),
		)...)
	}
	return t
}

// Short returns a table for readers, with the rows that stay within the bound and drop
// something and with the measure in place of the evidence, and a few sentences about the
// other rows. By layer or head, the table has all rows.
func (a *Advice) Short() (*table.Table, []string) {
	full := a.Table()
	if a.Config.By != "" {
		return full, append(a.legend(), a.fewPrompts()...)
	}
	at := full.Column("evidence")
	t := table.New(full.Columns...)
	t.Columns[at] = a.Calibration.Measure
	var everything, none []string
	for i, row := range a.Rows {
		switch {
		case row.Capacity < 0:
			none = append(none, row.Method)
		case row.KeepsAll:
			everything = append(everything, row.Method)
		default:
			full.Rows[i][at] = row.Measured
			t.Add(full.Rows[i]...)
		}
	}
	var notes []string
	if len(t.Rows) > 0 {
		notes = a.legend()
	}
	if len(everything) > 0 {
		notes = append(notes, "These methods stay within the bound only if they keep everything, which saves nothing: "+
			strings.Join(everything, ", ")+".")
	}
	if len(none) > 0 {
		notes = append(notes, "These methods exceed the bound at every capacity that was tried: "+
			strings.Join(none, ", ")+".")
	}
	return t, notes
}

// legend explains the columns of the table.
func (a *Advice) legend() []string {
	c := a.Calibration
	settings := fmt.Sprintf("window %d, kernel %d, %s", a.settings.Window, a.settings.Kernel, a.settings.Pooling)
	if a.Config.By == "" {
		settings += fmt.Sprintf("; the full cache takes %s as float32", sizes.Text(int64(a.Rows[0].FullBytes)))
	}
	predicted := fmt.Sprintf("predicted: mean of the %s; for a single prompt, it is below low with probability %.3g, "+
		"and above high with the same probability.",
		c.Loss.words(), a.Config.Risk)
	if slices.ContainsFunc(a.Rows, func(r AdviceRow) bool { return r.Predicted > r.High }) {
		predicted += " A mean above high comes from the few prompts that lose far more than most."
	}
	return []string{
		settings + ".",
		predicted,
		fmt.Sprintf("The prediction uses %s, whose Spearman correlation with the loss is %.2f [%.2f, %.2f] in the calibration with %s "+
			"(%s, %s).",
			c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh, c.Model,
			words.Count(c.Points, "point"), words.Count(c.Prompts, "prompt")),
	}
}

// fewPrompts says, in a list of at most one sentence, that there are too few prompts to say
// how prompts differ.
func (a *Advice) fewPrompts() []string {
	n := 0
	for i := range a.Rows {
		n = max(n, a.Rows[i].prompts)
	}
	if n == 0 || n >= SoundPrompts {
		return nil
	}
	return []string{fmt.Sprintf("The dump has only %s, too few to show how much prompts differ: "+
		"the share of prompts within the bound comes from the calibration alone. Record %d prompts or more.",
		words.Count(n, "prompt"), SoundPrompts)}
}

// evidence says what a prediction is based on.
func (a *Advice) evidence(row *AdviceRow) string {
	switch {
	case row.Capacity < 0:
		return fmt.Sprintf("above the bound up to capacity %d", row.Largest)
	case row.KeepsAll:
		return "keeps everything: no prompt is longer than the capacity"
	}
	c := a.Calibration
	return fmt.Sprintf("%s %.4g; Spearman %.2f [%.2f, %.2f] with %s on %s, %s",
		c.Measure, row.Measured, c.Spearman, c.SpearmanLow, c.SpearmanHigh, c.Loss, c.Model,
		words.Count(c.Points, "point"))
}
