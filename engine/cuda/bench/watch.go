//go:build cuda

package main

import (
	"github.com/attnscope/attnscope/engine/model"
)

// watcher receives the same data as a capture with the default plan, but writes
// nothing.
type watcher struct {
	prompt int
	all    bool      // also receive the sums over all prompt queries, which --no-prompt-sums leaves out
	sums   [][]int64 // by head; summing takes the same time as in a capture
	floats []float32
}

func newWatcher(c *model.Config, prompt int, all bool) *watcher {
	w := &watcher{prompt: prompt, all: all, sums: make([][]int64, c.Heads), floats: make([]float32, 512*c.Heads*c.HeadDim)}
	for h := range w.sums {
		w.sums[h] = make([]int64, prompt+mostDecoded)
	}
	return w
}

func (w *watcher) recorder() *model.Recorder {
	return &model.Recorder{
		States: w.states,
		Wants:  w.wants,
		Rows:   func(int, *model.Rows) {},
		Sums:   w.addSums,
		Whole:  w.whole,
	}
}

const (
	rows       = 128
	windows    = 20
	windowSize = 128
)

func (w *watcher) wants(_, pos0, n int) model.Wants {
	end := pos0 + n
	if pos0 >= w.prompt {
		return model.Wants{Rows: end, LSE: pos0, States: pos0}
	}
	first := max(pos0, w.prompt-rows)
	count := min(windows, w.prompt/windowSize)
	return model.Wants{
		Rows: end, LSE: first, States: first, Sums: w.all, Until: w.prompt,
		Windows: count, WindowSize: windowSize, WindowStart: w.prompt - count*windowSize, SumBits: 16,
	}
}

func (w *watcher) addSums(_, head, _ int, part []int64) {
	for i, v := range part {
		w.sums[head][i] += v
	}
}

func (w *watcher) whole(_, head, _ int, sums []float32) { copy(w.floats, sums) }

func (w *watcher) states(_, _, n int, q, _, _ []float32) { copy(w.floats, q) }
