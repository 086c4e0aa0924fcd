package dumpstest

import (
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape of the blocks that Everything adds to a dump of random attention.
const (
	Windows, WindowSize, Side, Vocab = 3, 8, 4, 50
)

// Everything writes a dump with all kinds of blocks: weights or queries and keys,
// sums, query windows, an overview, values and logits.
func Everything(t testing.TB, path string, store dumps.Store, precision dumps.Precision, seed uint64, ids ...string) {
	t.Helper()
	h := Header(store, precision)
	h.Plan.PromptWindows = Windows
	h.Plan.PromptWindowSize = WindowSize
	h.Plan.Overview = Side
	h.Plan.Values = true
	h.Plan.Logits = true
	w, err := dumps.Create(path, h, dumps.CreateOptions{Force: true})
	must(t, err)
	r := rand.New(rand.NewPCG(seed, 1))
	for _, id := range ids {
		addWith(t, w, id, store, true, r, func(pw *dumps.PromptWriter) {
			for layer := range Layers {
				for i := range Windows {
					keys := Prompt - (Windows-1-i)*WindowSize
					must(t, pw.Window(layer, i, keys, shares(r, Heads, keys, WindowSize)))
				}
				must(t, pw.Overview(layer, Side, shares(r, Heads, Side*Side, 1)))
			}
			for row := range Reply {
				must(t, pw.Logits(row, 1, normal(r, Vocab)))
			}
		})
	}
	must(t, w.Close())
}
