package decode

import (
	"runtime"
	"sync"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/attend"
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

func newWatcher(r *runner, prompt int) *watcher {
	c := r.Model.Config()
	w := &watcher{config: c, prompt: prompt, queries: make([][]float32, c.Layers)}
	w.parts.New = func() any { return new([]float32) }
	for _, cfg := range r.Configs {
		w.rows = max(w.rows, min(cfg.Window, prompt))
	}
	for i := range r.Methods {
		w.needs = w.needs.Union(r.Methods[i].Needs)
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
			how.Rows(out.Rows[h*w.rows*w.prompt:], w.rows, w.prompt, w.prompt-w.rows, out.Queries[h*c.HeadDim:], c.Heads*c.HeadDim,
				out.Keys[h/group*c.HeadDim:], c.KVHeads*c.HeadDim, c.HeadDim)
		}()
	}
	wg.Wait()
	return out, nil
}

// selection is what a method with a config keeps, the window included:
// [layer][head or kv head], ascending cache slots.
type selection struct {
	keep [][][]int32
	err  error
}

// selections are those of every method with every config that drops anything,
// [method][config], made layer by layer.
func (w *watcher) selections(s *model.Session, methods []snapkv.Method, configs []snapkv.Config) ([][]selection, error) {
	out := make([][]selection, len(methods))
	budgets := make([][][]int, len(methods))
	layers := w.config.Layers
	for i := range methods {
		out[i] = make([]selection, len(configs))
		budgets[i] = make([][]int, len(configs))
		for k, c := range configs {
			out[i][k].keep = make([][][]int32, layers)
			stats := make([]float64, layers)
			if m := &methods[i]; m.LayerStat != nil && !c.Passthrough(w.prompt) {
				for l := range stats {
					seen, err := w.layer(s, l)
					if err != nil {
						return nil, err
					}
					stats[l] = m.LayerStat(seen, c)
				}
			}
			budgets[i][k] = methods[i].LayerBudgets(stats, c)
		}
	}
	for l := range layers {
		var rest []int // methods that choose here
		for i := range methods {
			chosen, err := w.onCard(s, l, &methods[i], configs, budgets[i], out[i])
			if err != nil {
				return nil, err
			}
			if !chosen {
				rest = append(rest, i)
			}
		}
		if len(rest) == 0 {
			continue
		}
		seen, err := w.layer(s, l)
		if err != nil {
			return nil, err
		}
		var wg sync.WaitGroup
		slots := make(chan struct{}, runtime.GOMAXPROCS(0))
		for _, i := range rest {
			wg.Add(1)
			slots <- struct{}{}
			go func() {
				defer wg.Done()
				w.method(seen, &methods[i], configs, budgets[i], out[i])
				<-slots
			}()
		}
		wg.Wait()
	}
	return out, nil
}

// onCard has a card that holds the cache select one layer's positions, by methods
// that go by the window's votes alone, and tells whether it has.
func (w *watcher) onCard(s *model.Session, layer int, m *snapkv.Method, configs []snapkv.Config, budgets [][]int, out []selection) (bool, error) {
	if !m.PooledVotes || s.InMemory() {
		return false, nil
	}
	var picks []model.Pick
	var of []int
	for k, c := range configs {
		if !c.Passthrough(w.prompt) {
			picks = append(picks, model.Pick{Window: c.Window, Budget: budgets[k][layer], Kernel: c.Kernel, Pooling: c.Pooling.String(), Group: c.Group.String()})
			of = append(of, k)
		}
	}
	if len(picks) == 0 {
		return true, nil
	}
	keep, ok, err := s.Select(layer, w.queries[layer], w.rows, picks)
	for i := range keep {
		out[of[i]].keep[layer] = keep[i]
	}
	return ok, err
}

// method selects one layer's positions under every config.
func (w *watcher) method(l *snapkv.Layer, m *snapkv.Method, configs []snapkv.Config, budgets [][]int, out []selection) {
	var scores [][]float64
	var ranked snapkv.Config // what scores were made for
	for k, c := range configs {
		if m.KeepsAll(c, w.prompt) || out[k].err != nil {
			continue
		}
		if scores == nil || m.ByCapacity || !c.RanksLike(ranked) {
			ranked = c
			if scores, out[k].err = m.Rank(l, c); out[k].err != nil {
				scores = nil
				continue
			}
		}
		list, err := m.Cut(scores, l, c, budgets[k][l.Index])
		if err != nil {
			out[k].err = err
			continue
		}
		keep := make([][]int32, len(list))
		for h, prefix := range list {
			keep[h] = append(make([]int32, 0, len(prefix)+c.Window), prefix...)
			for j := w.prompt - c.Window; j < w.prompt; j++ {
				keep[h] = append(keep[h], int32(j))
			}
		}
		out[k].keep[l.Index] = keep
	}
}
