package dumpstest

import (
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape of what Everything adds to the shape of a random dump.
const (
	Windows, WindowSize, Side, Vocab = 3, 8, 4, 50
)

// Everything writes a dump with all kinds of blocks: weights or queries and keys,
// sums, query windows, an overview, values and logits.
func Everything(t testing.TB, path string, store dumps.Store, precision dumps.Precision, seed uint64, ids ...string) {
	t.Helper()
	h := Header(store, precision)
	h.Plan.PromptWindows, h.Plan.PromptWindowSize, h.Plan.Overview = Windows, WindowSize, Side
	h.Plan.Values, h.Plan.Logits = true, true
	w, err := dumps.Create(path, h, dumps.CreateOptions{Force: true})
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(seed, 1))
	for _, id := range ids {
		addWith(t, w, id, store, true, r, func(pw *dumps.PromptWriter) {
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			for layer := range Layers {
				for i := range Windows {
					keys := Prompt - (Windows-1-i)*WindowSize
					check(pw.Window(layer, i, keys, shares(r, Heads, keys, WindowSize)))
				}
				check(pw.Overview(layer, Side, shares(r, Heads, Side*Side, 1)))
			}
			for row := range Reply {
				check(pw.Logits(row, 1, normal(r, Vocab)))
			}
		})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// shares are rows of n positive numbers that add up to total.
func shares(r *rand.Rand, rows, n int, total float32) []float32 {
	x := make([]float32, rows*n)
	for i := range rows {
		row, sum := x[i*n:(i+1)*n], float32(0)
		for j := range row {
			row[j] = r.Float32()
			sum += row[j]
		}
		for j := range row {
			row[j] *= total / sum
		}
	}
	return x
}
