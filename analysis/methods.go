package analysis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// MethodConfig says which selections are judged: every method with every
// config.
type MethodConfig struct {
	Methods []snapkv.Method
	Configs []snapkv.Config
	Thetas  []float64
	Span    int      // reply rows of a span
	By      []string // of layer, head, prompt, dataset, span
	// Lenient leaves out, with a warning, what a dump has not recorded enough
	// for; otherwise that is an error.
	Lenient bool
	// Gram gives W_Oᵀ·W_O of a head's slice of the output projection,
	// [value dim, value dim]; nil: errors after W_O are undefined.
	Gram func(layer, head int) []float64
	Seed uint64
}

// MethodColumns are the value columns of a table of methods.
var MethodColumns = []string{
	"method", "capacity", "kernel", "pooling", "group", "mass", "mass_of_oracle", "hit_rate", "recall",
	"jaccard", "coverage", "output_error", "output_error_wo", "cache_bytes", "prompts", "mass_low", "mass_high",
}

// judged is one method under one config.
type judged struct {
	method *snapkv.Method
	config snapkv.Config
}

type methodKey struct {
	model, dataset, prompt string
	layer, head, span      int
	judged, theta          int
	table                  int // index into by
}

type methods struct {
	by       [][]string
	cfg      MethodConfig
	list     []judged
	sums     map[methodKey][]promptMeasure
	warnings []Warning
	warned   map[Warning]bool
	order    map[string]int // of prompts, as the dumps have them
	prompt   int            // counts the prompts of all dumps: ids may come again in another dump
}

// promptMeasure is what one prompt adds to a group.
type promptMeasure struct {
	prompt int // methods.prompt
	measure
}

// Methods judges selections by what the replies of the dumps attended to. It
// returns the table and warnings.
func Methods(ctx context.Context, paths []string, cfg MethodConfig) (*table.Table, []Warning, error) {
	tables, warnings, err := MethodTables(ctx, paths, cfg, cfg.By)
	if err != nil {
		return nil, warnings, err
	}
	return tables[0], warnings, nil
}

// MethodTables is Methods with a table for each of several keys, from one pass
// over the dumps.
func MethodTables(ctx context.Context, paths []string, cfg MethodConfig, by ...[]string) ([]*table.Table, []Warning, error) {
	cfg.By = nil
	for _, keys := range by {
		if slices.Contains(keys, "span") {
			cfg.By = []string{"span"}
		}
	}
	a := &methods{cfg: cfg, by: by, sums: map[methodKey][]promptMeasure{}, warned: map[Warning]bool{}, order: map[string]int{"*": -1}}
	for i := range cfg.Methods {
		for _, c := range cfg.Configs {
			if err := c.Check(); err != nil {
				return nil, nil, err
			}
			a.list = append(a.list, judged{&cfg.Methods[i], c})
		}
	}
	for _, path := range paths {
		if err := a.dump(ctx, path); err != nil {
			return nil, nil, err
		}
	}
	if len(a.sums) == 0 {
		return nil, a.warnings, fmt.Errorf("nothing to judge: no prompt is longer than the window and has a reply")
	}
	tables := make([]*table.Table, len(by))
	for i := range tables {
		tables[i] = a.table(i)
	}
	return tables, a.warnings, nil
}

// warn notes a warning unless it is already there.
func (a *methods) warn(w Warning) {
	if !a.warned[w] {
		a.warned[w] = true
		a.warnings = append(a.warnings, w)
	}
}

func (a *methods) dump(ctx context.Context, path string) error {
	r, err := dumps.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	a.warnings = append(a.warnings, dumpWarnings(r.Warnings())...)
	if len(r.Prompts()) == 0 {
		return fmt.Errorf("%s: no complete prompt in it", path)
	}
	plan := &r.Header().Plan
	for _, c := range a.cfg.Configs {
		if c.Window > plan.WindowRows {
			return fmt.Errorf("%s: window %d, but the last %d prompt rows were recorded: capture with --window-rows %d", path, c.Window, plan.WindowRows, c.Window)
		}
	}
	for i := range r.Prompts() {
		p := &r.Prompts()[i]
		a.prompt++
		if p.ReplyTokens == 0 {
			a.warn(Warning{Kind: NoReply, Path: path, Prompt: p.ID})
			continue
		}
		if _, seen := a.order[p.ID]; !seen {
			a.order[p.ID] = len(a.order)
		}
		budgets, err := a.budgets(r, i)
		if err != nil {
			return err
		}
		for _, layer := range plan.Layers {
			if err := ctx.Err(); err != nil {
				return err
			}
			l, err := ReadLayer(r, i, layer)
			if err != nil {
				return err
			}
			if err := a.layer(r, p, l, budgets); err != nil {
				return err
			}
		}
	}
	return nil
}

// budgets are those of every layer, [judged][layer]. Methods that share out by
// what the layers look like need a pass over all of them.
func (a *methods) budgets(r *dumps.Reader, prompt int) ([][]int, error) {
	m, plan := &r.Header().Model, &r.Header().Plan
	stats := make([][]float64, len(a.list))
	wanted := false
	for i := range a.list {
		stats[i] = make([]float64, m.Layers)
		wanted = wanted || a.list[i].method.LayerStat != nil
	}
	for _, layer := range plan.Layers {
		if !wanted {
			break
		}
		l, err := ReadLayer(r, prompt, layer)
		if err != nil {
			return nil, err
		}
		for i, j := range a.list {
			if j.method.LayerStat == nil || l.Len <= j.config.Window || j.method.Check(&l.Layer, j.config) != nil {
				continue
			}
			if i > 0 && a.list[i-1].method == j.method && a.sameScores(i-1, i) {
				stats[i][layer] = stats[i-1][layer]
				continue
			}
			stats[i][layer] = j.method.LayerStat(&l.Layer, j.config)
		}
	}
	out := make([][]int, len(a.list))
	for i, j := range a.list {
		if j.method.LayerStat != nil && len(plan.Layers) != m.Layers {
			a.warn(Warning{Kind: SharedBudget, Path: r.Path(), Method: j.method.Name, Recorded: len(plan.Layers), Layers: m.Layers})
		}
		out[i] = j.method.LayerBudgets(stats[i], j.config)
	}
	return out, nil
}

// sameScores says that two entries rank alike and differ in what they keep.
func (a *methods) sameScores(i, k int) bool {
	x, y := a.list[i], a.list[k]
	return x.method == y.method && !x.method.ByCapacity && x.config.RanksLike(y.config)
}

// layer judges every selection on one layer, on all cores.
func (a *methods) layer(r *dumps.Reader, p *dumps.Prompt, l *Layer, budgets [][]int) error {
	j := a.newJudge(l, p)
	type result struct {
		cells [][][]measure // [head][span][theta]
		err   error
	}
	results := make([]result, len(a.list))
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for next := 0; next < len(a.list); {
		lo, hi := next, next+1
		for hi < len(a.list) && a.sameScores(lo, hi) {
			hi++
		}
		next = hi
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			var scores [][]float64
			for i := lo; i < hi; i++ {
				m, c := a.list[i].method, a.list[i].config
				if l.Len <= c.Window {
					continue
				}
				if scores == nil && !m.KeepsAll(c, l.Len) {
					if scores, results[i].err = m.Rank(&l.Layer, c); results[i].err != nil {
						return
					}
				}
				keep, err := m.Cut(scores, &l.Layer, c, budgets[i][l.Index])
				if err != nil {
					results[i].err = err
					return
				}
				results[i].cells = j.judge(keep, m, c)
			}
		}()
	}
	wg.Wait()
	for i, res := range results {
		m, c := a.list[i].method, a.list[i].config
		switch {
		case res.err != nil && a.cfg.Lenient:
			a.warn(Warning{Kind: LeftOut, Method: m.Name, Reason: res.err.Error()})
		case res.err != nil:
			return fmt.Errorf("%s: prompt %q, layer %d: %w", r.Path(), p.ID, l.Index, res.err)
		case l.Len <= c.Window:
			a.warn(Warning{Kind: NoPrefix, Path: r.Path(), Prompt: p.ID, Tokens: l.Len, Window: c.Window})
		case !m.IgnoresCapacity && c.Passthrough(l.Len):
			a.warn(Warning{Kind: NothingDropped, Path: r.Path(), Prompt: p.ID, Tokens: l.Len, Capacity: c.Capacity})
		}
		for head, spans := range res.cells {
			for span, thetas := range spans {
				for theta, cell := range thetas {
					a.put(r.Header().Model.ID, p, l.Index, head, span, i, theta, cell)
				}
			}
		}
	}
	return nil
}

// put adds a cell to its group.
func (a *methods) put(model string, p *dumps.Prompt, layer, head, span, judged, theta int, cell measure) {
	for i, by := range a.by {
		key := methodKey{model, "*", "*", -1, -1, -1, judged, theta, i}
		for _, name := range by {
			switch name {
			case "layer":
				key.layer = layer
			case "head":
				key.head = head
			case "prompt":
				key.prompt = p.ID
			case "dataset":
				key.dataset = p.Dataset
			case "span":
				key.span = span
			}
		}
		list := a.sums[key]
		if n := len(list); n == 0 || list[n-1].prompt != a.prompt {
			list = append(list, promptMeasure{prompt: a.prompt})
		}
		list[len(list)-1].add(cell)
		a.sums[key] = list
	}
}

// table turns the groups of one choice of keys into rows.
func (a *methods) table(which int) *table.Table {
	t := table.New(slices.Concat(KeyColumns, MethodColumns)...)
	var keys []methodKey
	for key := range a.sums {
		if key.table == which {
			keys = append(keys, key)
		}
	}
	slices.SortFunc(keys, func(x, y methodKey) int {
		return cmp.Or(cmp.Compare(x.model, y.model), cmp.Compare(x.dataset, y.dataset), cmp.Compare(a.order[x.prompt], a.order[y.prompt]),
			cmp.Compare(x.layer, y.layer), cmp.Compare(x.head, y.head), cmp.Compare(x.judged, y.judged), cmp.Compare(x.theta, y.theta), cmp.Compare(x.span, y.span))
	})
	for _, key := range keys {
		j := a.list[key.judged]
		c := j.config
		var cols [9][]float64
		for _, p := range a.sums[key] {
			for i, v := range p.values() {
				cols[i] = append(cols[i], v)
			}
		}
		lo, hi := Interval(cols[0], a.cfg.Seed)
		t.Add(key.model, key.dataset, key.prompt, key.layer, key.head, c.Window, key.span, math.NaN(), c.Budget(), a.cfg.Thetas[key.theta],
			j.method.Name, c.Capacity, c.Kernel, c.Pooling.String(), c.Group.String(),
			Mean(cols[0]), Mean(cols[1]), Mean(cols[2]), Mean(cols[3]), Mean(cols[4]), Mean(cols[5]), Mean(cols[6]), Mean(cols[7]),
			Mean(cols[8]), len(a.sums[key]), lo, hi)
	}
	return t
}
