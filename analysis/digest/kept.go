package digest

import (
	"cmp"
	"context"
	"fmt"
	"runtime"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// Kept sums measures of selections over heads, layers or both. docs/METHODS.md has the
// formulas.
type Kept struct {
	Mass        float64 // weight on the selection, mean over the reply's rows
	Selections  int     // number of selections summed, one per head
	Significant []int   // by theta: weights above it on the prefix
	Hits        []int   // by theta: how many of these are on the selection
}

// Add adds the sums of other selections.
func (k *Kept) Add(o Kept) {
	if k.Hits == nil {
		k.Hits = make([]int, len(o.Hits))
		k.Significant = make([]int, len(o.Significant))
	}
	k.Mass += o.Mass
	k.Selections += o.Selections
	for i := range o.Hits {
		k.Hits[i] += o.Hits[i]
		k.Significant[i] += o.Significant[i]
	}
}

// MeanMass returns the mass per selection.
func (k *Kept) MeanMass() float64 { return k.Mass / float64(k.Selections) }

// HitRate returns the hit rate under a theta, given by its index. It is NaN if nothing
// is significant.
func (k *Kept) HitRate(theta int) float64 {
	return hitrate.Counts{Hits: k.Hits[theta], Significant: k.Significant[theta]}.Rate()
}

// sumKept adds up parts, [part][capacity], in their order.
func sumKept(parts [][]Kept) []Kept {
	var sum []Kept
	for _, part := range parts {
		if sum == nil {
			sum = make([]Kept, len(part))
		}
		for i := range sum {
			sum[i].Add(part[i])
		}
	}
	return sum
}

// KeptConfig says under which settings methods are measured.
type KeptConfig struct {
	Config     snapkv.Config // its capacity is not used
	Capacities []int
	Thetas     []float64
}

// Configs returns the config of every capacity.
func (c *KeptConfig) Configs() ([]snapkv.Config, error) {
	list := make([]snapkv.Config, len(c.Capacities))
	for i, capacity := range c.Capacities {
		list[i] = c.Config
		list[i].Capacity = capacity
		if err := list[i].Check(); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// Check returns an error if no method can be measured on a prompt.
func (c *KeptConfig) Check(h *dumps.Header, p *dumps.Prompt) error {
	for _, layer := range h.Plan.Layers {
		if err := checkHeads(h, layer); err != nil {
			return err
		}
	}
	if p.ReplyTokens == 0 || p.PromptTokens <= c.Config.Window {
		return fmt.Errorf("prompt %q has no reply, or is not longer than the window", p.ID)
	}
	_, err := c.Configs()
	return err
}

// checkHeads returns an error if a dump does not have all heads of a layer.
func checkHeads(h *dumps.Header, layer int) error {
	if h.AllHeads(layer) {
		return nil
	}
	return fmt.Errorf("%d of %d heads were recorded; a selection needs all: capture with --heads all",
		len(h.HeadsOf(layer)), h.Model.Layer(layer).Heads)
}

// Entry is a method to measure, with its budget per head at each capacity.
type Entry struct {
	Method  snapkv.Method
	Budgets []int
}

// MethodKept says what a method keeps at each capacity, or why it cannot be measured.
type MethodKept struct {
	Kept []Kept
	Err  error
}

// SumLayers sums what methods keep, [layer][method], over the layers. A method that
// cannot be measured in some layers has the error of the first of them.
func SumLayers(layers [][]MethodKept) []MethodKept {
	out := make([]MethodKept, len(layers[0]))
	for m := range out {
		parts := make([][]Kept, len(layers))
		for i := range layers {
			parts[i] = layers[i][m].Kept
			out[m].Err = cmp.Or(out[m].Err, layers[i][m].Err)
		}
		if out[m].Err == nil {
			out[m].Kept = sumKept(parts)
		}
	}
	return out
}

// Kept measures methods on all cores. c.Check must have passed.
func (in *Inputs) Kept(ctx context.Context, entries []Entry, c KeptConfig) ([]MethodKept, error) {
	configs, err := c.Configs()
	if err != nil {
		return nil, err
	}
	of := in.rows.empty(in.rows.all())
	type part struct {
		entry int
		heads HeadRange
	}
	var parts []part
	for i := range entries {
		step := together(&entries[i].Method, c.Config.Group, of)
		for from := 0; from < of.Heads; from += step {
			parts = append(parts, part{i, HeadRange{from, step}})
		}
	}
	workers := runtime.GOMAXPROCS(0)
	if in.all == nil { // each part reads its own rows
		workers = 1
	}
	byHead := make([][][]Kept, len(parts)) // [part][head][capacity]
	errs := make([]error, len(parts))
	err = parallel.TryLimit(ctx, workers, len(parts), func(i int) error {
		byHead[i], errs[i] = in.keptOf(ctx, parts[i].heads, &entries[parts[i].entry], configs, c.Thetas)
		return nil // the other methods are still measured
	})
	if err != nil {
		return nil, err
	}
	heads := make([][][]Kept, len(entries)) // [entry][head][capacity]
	out := make([]MethodKept, len(entries))
	for i, p := range parts {
		out[p.entry].Err = cmp.Or(out[p.entry].Err, errs[i])
		heads[p.entry] = append(heads[p.entry], byHead[i]...)
	}
	for i := range out {
		if out[i].Err == nil {
			out[i].Kept = sumKept(heads[i])
		}
	}
	return out, nil
}

// keptOf measures a method on heads that it ranks together, [head][capacity].
func (in *Inputs) keptOf(
	ctx context.Context, heads HeadRange, e *Entry, configs []snapkv.Config, thetas []float64,
) ([][]Kept, error) {
	l, err := in.layer(ctx, heads, e.Method.Needs)
	if err != nil {
		return nil, err
	}
	out := make([][]Kept, heads.N)
	for h := range out {
		out[h] = make([]Kept, len(configs))
	}
	ranking := snapkv.NewRanking(&e.Method, l)
	for i, c := range configs {
		keep, err := ranking.Select(c, e.Budgets[i])
		if err != nil {
			return nil, err
		}
		for h, list := range snapkv.ByQueryHead(keep, heads.N) {
			k := &out[h][i]
			k.Selections = 1
			k.Mass, k.Hits, k.Significant = in.stats[heads.From+h].digest.kept(list, l.Len-c.Window, thetas)
		}
	}
	return out, nil
}
