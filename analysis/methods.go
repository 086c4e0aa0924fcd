package analysis

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"

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
	Span    int  // reply rows of a span
	By      []By // what has rows of its own in the result
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

type methodKey struct {
	model, dataset, prompt string
	layer, head, span      int
	judged, theta          int
	table                  int // index into by
}

type methods struct {
	by       [][]By
	cfg      MethodConfig
	entries  []snapkv.Entry
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
func MethodTables(ctx context.Context, paths []string, cfg MethodConfig, by ...[]By) ([]*table.Table, []Warning, error) {
	cfg.By = nil
	for _, keys := range by {
		if slices.Contains(keys, BySpan) {
			cfg.By = []By{BySpan}
		}
	}
	a := &methods{cfg: cfg, by: by, sums: map[methodKey][]promptMeasure{}, warned: map[Warning]bool{}, order: map[string]int{"*": -1}}
	var err error
	if a.entries, err = snapkv.Entries(cfg.Methods, cfg.Configs); err != nil {
		return nil, nil, err
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
		sweep, err := sweepOf(ctx, r, i, a.entries)
		if err != nil {
			return err
		}
		a.warnSharedBudgets(r)
		for _, layer := range plan.Layers {
			if err := ctx.Err(); err != nil {
				return err
			}
			l, err := ReadLayer(r, i, layer)
			if err != nil {
				return err
			}
			if err := a.layer(r, p, l, sweep); err != nil {
				return err
			}
		}
	}
	return nil
}

// warnSharedBudgets warns of methods that share a budget over layers of which some
// were not recorded.
func (a *methods) warnSharedBudgets(r *dumps.Reader) {
	recorded := len(r.Header().Plan.Layers)
	layers := r.Header().Model.Layers
	for _, e := range a.entries {
		if e.Method.LayerStat != nil && recorded != layers {
			a.warn(Warning{Kind: SharedBudget, Path: r.Path(), Method: e.Method.Name, Recorded: recorded, Layers: layers})
		}
	}
}

// sweepOf prepares the sweep over a prompt of a dump.
func sweepOf(ctx context.Context, r *dumps.Reader, prompt int, entries []snapkv.Entry) (*snapkv.Sweep, error) {
	return snapkv.NewSweep(ctx, snapkv.Source{
		Len:      r.Prompts()[prompt].PromptTokens,
		Layers:   r.Header().Model.Layers,
		Recorded: r.Header().Plan.Layers,
		Read: func(_ context.Context, layer int, _ snapkv.Needs) (*snapkv.Layer, error) {
			l, err := ReadLayer(r, prompt, layer)
			if err != nil {
				return nil, err
			}
			return &l.Layer, nil
		},
	}, entries)
}

// layer judges every selection on one layer, on all cores.
func (a *methods) layer(r *dumps.Reader, p *dumps.Prompt, l *Layer, sweep *snapkv.Sweep) error {
	j := a.newJudge(l, p)
	type result struct {
		cells [][][]measure // [head][span][theta]
		err   error
	}
	results := make([]result, len(a.entries))
	sweep.Select(&l.Layer, nil, func(i int, keep [][]int32, err error) {
		switch e := a.entries[i]; {
		case err != nil:
			results[i].err = err
		case l.Len > e.Config.Window:
			results[i].cells = j.judge(keep, e)
		}
	})
	for i, res := range results {
		m, c := a.entries[i].Method, a.entries[i].Config
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
			case ByLayer:
				key.layer = layer
			case ByHead:
				key.head = head
			case ByPrompt:
				key.prompt = p.ID
			case ByDataset:
				key.dataset = p.Dataset
			case BySpan:
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
		m, c := a.entries[key.judged].Method, a.entries[key.judged].Config
		var cols [9][]float64
		for _, p := range a.sums[key] {
			for i, v := range p.values() {
				cols[i] = append(cols[i], v)
			}
		}
		lo, hi := Interval(cols[0], a.cfg.Seed)
		t.Add(key.model, key.dataset, key.prompt, key.layer, key.head, c.Window, key.span, math.NaN(), c.Budget(), a.cfg.Thetas[key.theta],
			m.Name, c.Capacity, c.Kernel, c.Pooling.String(), c.Group.String(),
			Mean(cols[0]), Mean(cols[1]), Mean(cols[2]), Mean(cols[3]), Mean(cols[4]), Mean(cols[5]), Mean(cols[6]), Mean(cols[7]),
			Mean(cols[8]), len(a.sums[key]), lo, hi)
	}
	return t
}
