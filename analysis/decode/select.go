package decode

import (
	"context"
	"slices"

	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/snapkv"
)

// selection holds the positions that an entry keeps: [layer][head or kv head], ascending
// slots of the cache, the window included, for layers that have a cache. If the entry
// cannot select, err says why.
type selection struct {
	keep    [][][]int32
	targets []int // [layer], positions that each head keeps, or may keep if the prompt passes through
	err     error
}

// selectAll selects by every entry on every layer of the full cache. For entries that
// keep everything, the selection is empty.
func (r *record) selectAll(ctx context.Context, s *model.Session, entries []snapkv.Entry) ([]selection, error) {
	caches := r.about.Caches()
	src := snapkv.Source{
		Len: r.prompt, Layers: r.config.Layers, Caches: caches, Recorded: caches,
		Read: func(_ context.Context, layer int, _ snapkv.Needs) (*snapkv.Layer, error) { return r.layer(s, layer) },
	}
	sweep, err := snapkv.NewSweep(ctx, src, entries)
	if err != nil {
		return nil, err
	}
	run := &selectRun{record: r, session: s, sweep: sweep, entries: entries, out: make([]selection, len(entries))}
	for i := range entries {
		run.out[i].keep = make([][][]int32, r.config.Layers)
		run.out[i].targets = make([]int, r.config.Layers)
		for layer := range run.out[i].targets {
			run.out[i].targets[layer] = sweep.Target(i, layer, r.prompt)
		}
	}
	for _, layer := range caches {
		if err := run.layer(layer); err != nil {
			return nil, err
		}
	}
	return run.out, nil
}

// selectRun is a sweep over the full cache of a prompt, with its selections so far.
type selectRun struct {
	record  *record
	session *model.Session
	sweep   *snapkv.Sweep
	entries []snapkv.Entry
	out     []selection
}

// layer selects on one layer: on the card, if there is one and it supports the method,
// and otherwise on the processor. Entries that failed on an earlier layer are left
// out.
func (run *selectRun) layer(layer int) error {
	var rest []bool // by entry: whether it is still to be selected
	for i, e := range run.entries {
		rest = append(rest, run.out[i].err == nil && !e.Method.KeepsAll(e.Config, run.record.prompt))
	}
	if err := run.selectOnCard(layer, rest); err != nil {
		return err
	}
	if !slices.Contains(rest, true) {
		return nil
	}
	l, err := run.record.layer(run.session, layer)
	if err != nil {
		return err
	}
	skip := func(i int) bool { return !rest[i] }
	run.sweep.Select(l, skip, func(i int, keep [][]int32, err error) {
		if err != nil {
			run.out[i].err = err
			return
		}
		run.out[i].keep[layer] = run.record.withWindow(keep, run.entries[i].Config.Window)
	})
	return nil
}

// selectOnCard selects on the card that holds the cache, by the methods that use only
// pooled votes, and removes these methods from rest.
func (run *selectRun) selectOnCard(layer int, rest []bool) error {
	if run.session.InMemory() {
		return nil
	}
	var picks []model.Pick
	var of []int // the entry of each pick
	for i, e := range run.entries {
		if c := e.Config; rest[i] && e.Method.PooledVotes {
			picks = append(picks, model.Pick{
				Window: c.Window, Budget: run.sweep.Budget(i, layer), Kernel: c.Kernel,
				Pooling: c.Pooling, Group: c.Group,
			})
			of = append(of, i)
		}
	}
	if len(picks) == 0 {
		return nil
	}
	r := run.record
	keep, ok, err := run.session.Select(layer, r.queries[layer], r.rows, picks)
	if err != nil || !ok {
		return err
	}
	for n, i := range of {
		run.out[i].keep[layer] = keep[n]
		rest[i] = false
	}
	return nil
}

// everything returns the slots of a cache that keeps the whole prompt, as in selection.
func (r *record) everything() [][][]int32 {
	keep := make([][][]int32, r.config.Layers)
	for _, layer := range r.about.Caches() {
		keep[layer] = slices.Repeat([][]int32{ascending(0, r.prompt)}, r.config.Shapes[layer].KVHeads)
	}
	return keep
}

// withWindow appends the positions of the window to each list of prefix positions.
func (r *record) withWindow(keep [][]int32, window int) [][]int32 {
	out := make([][]int32, len(keep))
	for h, prefix := range keep {
		out[h] = append(make([]int32, 0, len(prefix)+window), prefix...)
		for j := r.prompt - window; j < r.prompt; j++ {
			out[h] = append(out[h], int32(j))
		}
	}
	return out
}
