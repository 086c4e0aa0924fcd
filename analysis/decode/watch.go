package decode

import (
	"context"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/attend"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// watcher keeps, of a prompt's prefill, what methods need beside the cache: the
// queries of its last rows, and the weights summed over all queries.
type watcher struct {
	config    model.Config
	needs     snapkv.Needs
	prompt    int
	rows      int             // queries kept
	queries   [][]float32     // [layer][row, heads*dim]
	sums      []*capture.Sums // [layer]; nil: no method needs them
	generated []*capture.Sums // [layer], over the reply's queries
	parts     sync.Pool
}

func newWatcher(m *model.Model, entries []snapkv.Entry, prompt int) *watcher {
	c := m.Config()
	w := &watcher{config: c, prompt: prompt, queries: make([][]float32, c.Layers)}
	w.parts.New = func() any { return new([]float32) }
	for _, e := range entries {
		w.rows = max(w.rows, min(e.Config.Window, prompt))
		w.needs = w.needs.Union(e.Method.Needs)
	}
	for l := range w.queries {
		w.queries[l] = make([]float32, w.rows*c.Heads*c.HeadDim)
		if w.needs.Sums {
			w.sums = append(w.sums, capture.NewSums(c.Heads, prompt))
		}
		if w.needs.Generated {
			w.generated = append(w.generated, capture.NewSums(c.Heads, prompt))
		}
	}
	return w
}

// recorder records a prompt: the sums over its rows, and its last queries.
func (w *watcher) recorder() *model.Recorder {
	r := &model.Recorder{States: w.states, Wants: w.wants}
	if w.sums != nil {
		r.Tile = func(layer int, t *cpu.Tile) { w.add(w.sums[layer], t) }
		r.Sums = w.addFixed(w.sums)
	}
	return r
}

// replyRecorder records the sums over a reply's rows, for the oracle.
func (w *watcher) replyRecorder() *model.Recorder {
	return &model.Recorder{
		Tile: func(layer int, t *cpu.Tile) { w.add(w.generated[layer], t) },
		Wants: func(_, pos0, n int) model.Wants {
			return model.Wants{Rows: pos0 + n, LSE: pos0 + n, States: pos0 + n, Sums: true}
		},
		Sums: w.addFixed(w.generated),
	}
}

// add adds a tile's columns, those of the prompt's keys.
func (w *watcher) add(s *capture.Sums, t *cpu.Tile) {
	keys := min(t.Keys, w.prompt-t.Key0)
	if keys <= 0 {
		return
	}
	part := w.parts.Get().(*[]float32)
	defer w.parts.Put(part)
	if cap(*part) < keys {
		*part = make([]float32, keys)
	}
	x := (*part)[:keys]
	capture.ColumnSums(x, t.Weights, t.Stride, 0, t.Rows)
	s.Add(t.Head, t.Key0, x)
}

// wants asks a card for the sums over the prompt's rows and the last queries.
func (w *watcher) wants(_, pos0, n int) model.Wants {
	end := pos0 + n
	return model.Wants{Rows: end, LSE: end, States: max(pos0, w.prompt-w.rows), Sums: w.sums != nil}
}

// addFixed returns a function that adds a card's sums over a pass to those of the
// prompt's keys.
func (w *watcher) addFixed(to []*capture.Sums) func(layer, head, window int, part []int64) {
	return func(layer, head, _ int, part []int64) {
		to[layer].AddFixed(head, part[:min(len(part), w.prompt)])
	}
}

// states keeps the last queries.
func (w *watcher) states(layer, pos0, n int, q, _, _ []float32) {
	width := w.config.Heads * w.config.HeadDim
	for i := range n {
		if row := pos0 + i - (w.prompt - w.rows); row >= 0 && row < w.rows {
			copy(w.queries[layer][row*width:], q[i*width:(i+1)*width])
		}
	}
}

// layer builds what a method sees of a layer of the full cache.
func (w *watcher) layer(s *model.Session, l int) (*snapkv.Layer, error) {
	c := &w.config
	keys, err := s.Keys(l, 0, w.prompt)
	if err != nil {
		return nil, err
	}
	values, err := s.Values(l, 0, w.prompt)
	if err != nil {
		return nil, err
	}
	out := &snapkv.Layer{
		Index: l, Layers: c.Layers, Heads: c.Heads, KVHeads: c.KVHeads, Len: w.prompt, N: w.rows,
		Dim: c.HeadDim, ValueDim: c.ValueDim, Queries: w.queries[l], Keys: keys, Values: values,
	}
	if w.sums != nil {
		out.Sums = w.sums[l].Floats(w.prompt)
	}
	if w.generated != nil {
		out.Generated = make([]float64, c.Heads*w.prompt)
		for i, v := range w.generated[l].Floats(w.prompt) {
			out.Generated[i] = float64(v)
		}
	}
	how := attend.Head{Scale: c.Scale, SoftCap: c.SoftCap, Window: c.LayerWindows[l]}
	out.Rows = make([]float32, c.Heads*w.rows*w.prompt)
	group := c.Heads / c.KVHeads
	var wg sync.WaitGroup
	for h := range c.Heads {
		wg.Add(1)
		go func() {
			defer wg.Done()
			q := simd.Mat[float32]{Data: out.Queries[h*c.HeadDim:], Rows: w.rows, Cols: c.HeadDim, Stride: c.Heads * c.HeadDim}
			k := simd.Mat[float32]{Data: out.Keys[h/group*c.HeadDim:], Rows: w.prompt, Cols: c.HeadDim, Stride: c.KVHeads * c.HeadDim}
			how.Rows(out.Rows[h*w.rows*w.prompt:], w.prompt-w.rows, q, k)
		}()
	}
	wg.Wait()
	return out, nil
}

// selection is what an entry keeps, the window included: [layer][head or kv head],
// ascending cache slots; or why it cannot select.
type selection struct {
	keep [][][]int32
	err  error
}

// selections selects by every entry, layer by layer. Entries that keep everything
// get empty selections.
func (w *watcher) selections(ctx context.Context, s *model.Session, entries []snapkv.Entry) ([]selection, error) {
	src := snapkv.Source{Len: w.prompt, Layers: w.config.Layers}
	for l := range w.config.Layers {
		src.Recorded = append(src.Recorded, l)
	}
	src.Read = func(_ context.Context, layer int, _ snapkv.Needs) (*snapkv.Layer, error) { return w.layer(s, layer) }
	sweep, err := snapkv.NewSweep(ctx, src, entries)
	if err != nil {
		return nil, err
	}
	out := make([]selection, len(entries))
	for i := range out {
		out[i].keep = make([][][]int32, w.config.Layers)
	}
	for l := range w.config.Layers {
		rest, err := w.selectOnCard(s, sweep, l, entries, out)
		if err != nil {
			return nil, err
		}
		if err := w.selectHere(s, sweep, l, rest, entries, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// selectHere selects by the entries of rest on one layer.
func (w *watcher) selectHere(s *model.Session, sweep *snapkv.Sweep, layer int, rest []bool, entries []snapkv.Entry, out []selection) error {
	if !slices.Contains(rest, true) {
		return nil
	}
	l, err := w.layer(s, layer)
	if err != nil {
		return err
	}
	skip := func(i int) bool { return !rest[i] || out[i].err != nil }
	sweep.Select(l, skip, func(i int, keep [][]int32, err error) {
		if err != nil {
			out[i].err = err
			return
		}
		out[i].keep[layer] = w.withWindow(keep, entries[i].Config.Window)
	})
	return nil
}

// withWindow appends the positions of the window to each list of prefix positions.
func (w *watcher) withWindow(keep [][]int32, window int) [][]int32 {
	out := make([][]int32, len(keep))
	for h, prefix := range keep {
		out[h] = append(make([]int32, 0, len(prefix)+window), prefix...)
		for j := w.prompt - window; j < w.prompt; j++ {
			out[h] = append(out[h], int32(j))
		}
	}
	return out
}

// selectOnCard lets a card that holds the cache select on one layer by methods that
// use the pooled votes alone. It reports which entries are left to select by.
func (w *watcher) selectOnCard(s *model.Session, sweep *snapkv.Sweep, layer int, entries []snapkv.Entry, out []selection) ([]bool, error) {
	rest := make([]bool, len(entries))
	var picks []model.Pick
	var of []int // the entry of each pick
	for i, e := range entries {
		c := e.Config
		if e.Method.KeepsAll(c, w.prompt) {
			continue
		}
		rest[i] = true
		if e.Method.PooledVotes && !s.InMemory() {
			picks = append(picks, model.Pick{
				Window: c.Window, Budget: sweep.Budget(i, layer), Kernel: c.Kernel,
				Pooling: c.Pooling.String(), Group: c.Group.String(),
			})
			of = append(of, i)
		}
	}
	if len(picks) == 0 {
		return rest, nil
	}
	keep, ok, err := s.Select(layer, w.queries[layer], w.rows, picks)
	if err != nil || !ok {
		return rest, err
	}
	for n, i := range of {
		out[i].keep[layer] = keep[n]
		rest[i] = false
	}
	return rest, nil
}
