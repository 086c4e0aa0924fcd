package analysis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

// MethodConfig says which selections are measured: every method with every config.
type MethodConfig struct {
	Methods []snapkv.Method
	Configs []snapkv.Config
	Thetas  []float64 // weights above theta are significant
	Span    int       // reply rows that are measured together if By has BySpan
	By      []By      // keys whose values have their own rows in the result
	// Prompt is the id of the only prompt that is measured; if it is empty, all are.
	Prompt string
	// Lenient leaves out entirely, with a warning, methods for which one of the dumps
	// lacks data. Otherwise such methods are an error.
	Lenient bool
	// DecodeEvery is the number of reply rows after which every method selects again; see
	// [Replay]. 0: methods select once, at the end of the prompt.
	DecodeEvery int
	// Gram returns W_Oᵀ·W_O for a head's slice of the output projection, [value dim,
	// value dim]. If it is nil, errors after the projection are NaN.
	Gram func(layer, head int) []float64
	Seed uint64 // of the bootstrap
	// SkipOracle leaves out, to save time, the measures that compare with the best
	// selection; SkipOutputs those of the errors of the heads' outputs. They are NaN.
	SkipOracle  bool
	SkipOutputs bool
	// Progress is called, if it is not nil, after each layer of a prompt.
	Progress func(Progress)
}

// Progress says how far [Methods] or [HitRates] has come.
type Progress struct {
	Path   string // of the dump
	Prompt string // id
	Done   int64  // prompt tokens times layers that are finished, of all dumps
	Total  int64
}

// methodKey identifies a group of cells that become one row.
type methodKey struct {
	place
	entry, theta int // indices
	by           int // index of the combination of keys
}

// methods gathers the rows of MethodsBy.
type methods struct {
	by       [][]By
	cfg      MethodConfig
	entries  []snapkv.Entry
	sums     map[methodKey][]promptTally
	warnings []Warning
	warned   map[Warning]bool
	order    map[string]int // of the prompts in the dumps, by id
	prompt   int            // number of the current prompt over all dumps; ids may occur twice
	tokens   int            // of the current prompt
	progress Progress
}

// promptTally is the contribution of one prompt to a group.
type promptTally struct {
	prompt int // methods.prompt
	tokens int // of the prompt
	tally
}

// Methods measures what every method keeps under every config against what the replies
// of the dumps attend to. There is a row for each model, entry, theta and combination
// of the keys in cfg.By; rows are sorted by model, dataset, prompt (in the order of
// the dumps), layer, head, method, config, theta and span. [MethodTable] makes a table
// of them. It returns an error if no prompt can be measured.
func Methods(ctx context.Context, paths []string, cfg MethodConfig) ([]MethodRow, []Warning, error) {
	lists, warnings, err := MethodsBy(ctx, paths, cfg, cfg.By)
	if err != nil {
		return nil, warnings, err
	}
	return lists[0], warnings, nil
}

// MethodsBy is [Methods] for several combinations of keys, from one pass over the dumps.
// It returns one list of rows per combination and ignores cfg.By.
func MethodsBy(ctx context.Context, paths []string, cfg MethodConfig, by ...[]By) ([][]MethodRow, []Warning, error) {
	cfg.By = nil
	for _, keys := range by {
		if slices.Contains(keys, BySpan) {
			cfg.By = []By{BySpan}
		}
	}
	entries, err := snapkv.Entries(cfg.Methods, cfg.Configs)
	if err != nil {
		return nil, nil, err
	}
	a := &methods{
		by: by, cfg: cfg, entries: entries,
		sums:   map[methodKey][]promptTally{},
		warned: map[Warning]bool{},
		order:  map[string]int{"*": -1},
	}
	if cfg.Progress != nil {
		if a.progress.Total, err = tokensTimesLayers(paths, cfg.Prompt); err != nil {
			return nil, nil, err
		}
	}
	for _, path := range paths {
		if err := a.dump(ctx, path); err != nil {
			return nil, nil, err
		}
	}
	a.dropLeftOut()
	if len(a.sums) == 0 {
		return nil, a.warnings, errors.New("nothing to measure: no prompt is longer than the window and has a reply")
	}
	lists := make([][]MethodRow, len(by))
	for i := range lists {
		lists[i] = a.rows(i)
	}
	return lists, sumUpShort(a.warnings), nil
}

// dropLeftOut removes what was measured of methods that a warning says are left out,
// at capacities that keep everything or in other dumps.
func (a *methods) dropLeftOut() {
	for _, w := range a.warnings {
		if w.Kind != LeftOut {
			continue
		}
		maps.DeleteFunc(a.sums, func(key methodKey, _ []promptTally) bool {
			return a.entries[key.entry].Method.Name == w.Method
		})
	}
}

// tokensTimesLayers sums prompt tokens times recorded layers over the prompts that
// have a reply, or over those with an id that is not empty.
func tokensTimesLayers(paths []string, id string) (int64, error) {
	total := int64(0)
	for _, path := range paths {
		r, err := dumps.Open(path)
		if err != nil {
			return 0, err
		}
		for _, p := range r.Prompts() {
			if p.ReplyTokens > 0 && (id == "" || p.ID == id) {
				total += int64(p.PromptTokens) * int64(len(cachesOf(r.Header())))
			}
		}
		if err := r.Close(); err != nil {
			return 0, err
		}
	}
	return total, nil
}

// report reports a finished layer.
func (a *methods) report(path string, p *dumps.Prompt) {
	if a.cfg.Progress == nil {
		return
	}
	a.progress.Path = path
	a.progress.Prompt = p.ID
	a.progress.Done += int64(p.PromptTokens)
	a.cfg.Progress(a.progress)
}

// warn adds a warning unless it was added before.
func (a *methods) warn(w Warning) {
	if !a.warned[w] {
		a.warned[w] = true
		a.warnings = append(a.warnings, w)
	}
}

// dump measures all prompts of a dump that have a reply.
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
			return fmt.Errorf("%s: window %d, but the last %d prompt rows were recorded: capture with --window-rows %d",
				path, c.Window, plan.WindowRows, c.Window)
		}
	}
	caches := cachesOf(r.Header())
	for _, w := range append(shapeWarnings(path, r.Header()), jointWarnings(path, r.Header(), a.cfg.Configs)...) {
		a.warn(w)
	}
	for i := range r.Prompts() {
		p := &r.Prompts()[i]
		if a.cfg.Prompt != "" && p.ID != a.cfg.Prompt {
			continue
		}
		a.prompt++
		if p.ReplyTokens == 0 {
			a.warn(Warning{Kind: NoReply, Path: path, Prompt: p.ID})
			continue
		}
		if _, seen := a.order[p.ID]; !seen {
			a.order[p.ID] = len(a.order)
		}
		a.tokens = p.PromptTokens
		sweep, err := sweepOf(ctx, r, i, a.entries)
		if err != nil {
			return err
		}
		a.warnSharedBudgets(r)
		for _, layer := range caches {
			if err := ctx.Err(); err != nil {
				return err
			}
			l, err := readLayer(r, i, layer, rowsRead(p, a.entries))
			if err != nil {
				return err
			}
			if err := a.layer(r, p, l, sweep); err != nil {
				return err
			}
			a.report(path, p)
		}
	}
	return nil
}

// warnSharedBudgets warns about methods that distribute a budget over all layers if
// the dump does not have all layers.
func (a *methods) warnSharedBudgets(r *dumps.Reader) {
	recorded := len(cachesOf(r.Header()))
	layers := len(r.Header().Model.Caches())
	for _, e := range a.entries {
		if e.Method.LayerStat != nil && recorded != layers {
			a.warn(Warning{
				Kind: SharedBudget, Path: r.Path(), Method: e.Method.Name, Recorded: recorded, Layers: layers,
			})
		}
	}
}

// rowsRead returns how many of a prompt's last rows the entries read. Methods that need
// the queries of the whole prompt read all rows if they were recorded.
func rowsRead(p *dumps.Prompt, entries []snapkv.Entry) int {
	n := 0
	for _, e := range entries {
		n = max(n, e.Config.Window)
		if e.Method.Needs.AllQueries && p.WindowRows == p.PromptTokens {
			n = p.WindowRows
		}
	}
	return min(n, p.WindowRows)
}

// sweepOf prepares the sweep over a prompt of a dump.
func sweepOf(ctx context.Context, r *dumps.Reader, prompt int, entries []snapkv.Entry) (*snapkv.Sweep, error) {
	return snapkv.NewSweep(ctx, snapkv.Source{
		Len:      r.Prompts()[prompt].PromptTokens,
		Layers:   r.Header().Model.Layers,
		Caches:   r.Header().Model.Caches(),
		Recorded: cachesOf(r.Header()),
		Read: func(_ context.Context, layer int, needs snapkv.Needs) (*snapkv.Layer, error) {
			read := readLayer
			if needs == (snapkv.Needs{Rows: true}) {
				read = readRows
			}
			l, err := read(r, prompt, layer, rowsRead(&r.Prompts()[prompt], entries))
			if err != nil {
				return nil, err
			}
			return &l.Layer, nil
		},
	}, entries)
}

// layer measures every selection on one layer, on all cores.
func (a *methods) layer(r *dumps.Reader, p *dumps.Prompt, l *Layer, sweep *snapkv.Sweep) error {
	evaluation := a.newEvaluation(l)
	type result struct {
		cells [][][]tally // [head][span][theta]
		err   error
	}
	results := make([]result, len(a.entries))
	sweep.Select(&l.Layer, nil, func(i int, keep [][]int32, err error) {
		results[i].err = err
		e := a.entries[i]
		switch {
		case err != nil || l.Len <= e.Config.Window:
		case a.cfg.DecodeEvery > 0:
			target := sweep.Target(i, l.Index, l.Len)
			if e.Method.IgnoresCapacity {
				target = math.MaxInt
			}
			results[i].cells, results[i].err = evaluation.replay(keep, e, target, a.cfg.DecodeEvery)
		default:
			results[i].cells = evaluation.measure(keep, e)
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
		key := methodKey{
			place: place{model: r.Header().Model.ID, dataset: p.Dataset, prompt: p.ID},
			entry: i,
		}
		for joined, spans := range res.cells {
			key.layer, key.head = l.Place(joined)
			for span, thetas := range spans {
				for theta, cell := range thetas {
					key.span = span
					key.theta = theta
					a.add(key, cell)
				}
			}
		}
	}
	return nil
}

// add adds a cell to its group in each combination of keys.
func (a *methods) add(cell methodKey, t tally) {
	for i, by := range a.by {
		key := methodKey{place: cell.aggregate(by), entry: cell.entry, theta: cell.theta, by: i}
		list := a.sums[key]
		if n := len(list); n == 0 || list[n-1].prompt != a.prompt {
			list = append(list, promptTally{prompt: a.prompt, tokens: a.tokens})
		}
		list[len(list)-1].add(t)
		a.sums[key] = list
	}
}
