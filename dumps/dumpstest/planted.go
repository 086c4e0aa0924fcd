package dumpstest

import (
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Planted is a prompt whose attention is made up: tests know every answer.
type Planted struct {
	ID, Dataset, Document string
	Tokens                []int32 // the prompt's
	Reply                 int     // reply rows
	// Weight of the query at a position for a key not after it.
	Weight func(layer, head, query, key int) float32
}

// WritePlanted writes a dump of rows of planted attention: layers x heads, the
// last rows prompt rows, and sums over older windows of the given size.
func WritePlanted(t testing.TB, path string, layers, heads, rows, windows, size int, list []Planted) {
	t.Helper()
	writePlanted(t, path, plantedHeader(layers, heads, rows, windows, size), list, false)
}

func plantedHeader(layers, heads, rows, windows, size int) *dumps.Header {
	h := &dumps.Header{
		Model: dumps.ModelInfo{ID: "planted", Architecture: "llama", Layers: layers, Heads: heads, KVHeads: heads, HeadDim: 4, ValueDim: 4, Vocab: 1 << 20, Scale: 1, LayerWindows: make([]int, layers)},
		Plan:  dumps.Plan{WindowRows: rows, PromptWindows: windows, PromptWindowSize: size, Store: dumps.StoreRows, Precision: dumps.Exact},
	}
	for l := range layers {
		h.Plan.Layers = append(h.Plan.Layers, l)
	}
	for i := range heads {
		h.Plan.Heads = append(h.Plan.Heads, i)
	}
	return h
}

// writePlanted writes the dump that a header describes, with sums over all
// queries of a prompt if summed says so.
func writePlanted(t testing.TB, path string, h *dumps.Header, list []Planted, summed bool) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	layers, heads := h.Model.Layers, h.Model.Heads
	rows, windows, size := h.Plan.WindowRows, h.Plan.PromptWindows, h.Plan.PromptWindowSize
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	check(err)
	for _, p := range list {
		n := len(p.Tokens)
		info := dumps.Prompt{
			ID: p.ID, Dataset: p.Dataset, Document: p.Document, PromptTokens: n, WindowRows: min(rows, n), ReplyTokens: p.Reply, Store: dumps.StoreRows,
			Tokens: append(append([]int32(nil), p.Tokens...), make([]int32, p.Reply)...),
		}
		pw, err := w.Begin(info)
		check(err)
		block := func(layer, head, pos0, count, keys int) []float32 {
			x := make([]float32, count*keys)
			for i := range count {
				for j := range min(keys, pos0+i+1) {
					x[i*keys+j] = p.Weight(layer, head, pos0+i, j)
				}
			}
			return x
		}
		for layer := range layers {
			if summed {
				check(pw.Sums(layer, columnSums(heads, n, func(head int) []float32 { return block(layer, head, 0, n, n) })))
			}
			for head := range heads {
				r := info.WindowRows
				check(pw.Rows(dumps.Rows{
					Layer: layer, Head: head, Phase: dumps.Prefill,
					Rows: r, Keys: n,
					Weights: block(layer, head, n-r, r, n),
				}))
				if p.Reply > 0 {
					check(pw.Rows(dumps.Rows{
						Layer: layer, Head: head, Phase: dumps.Decode,
						Rows: p.Reply, Keys: n + p.Reply,
						Weights: block(layer, head, n, p.Reply, n+p.Reply),
					}))
				}
			}
			count := 0
			if size > 0 {
				count = min(windows, n/size)
			}
			for i := range count {
				end := n - (count-1-i)*size
				sums := make([]float32, heads*end)
				for head := range heads {
					x := block(layer, head, end-size, size, end)
					for at, v := range x {
						sums[head*end+at%end] += v
					}
				}
				check(pw.Window(layer, i, end, sums))
			}
		}
		check(pw.Finish(info))
	}
	check(w.Close())
}

// columnSums adds up the rows of weights [n, n] of each head.
func columnSums(heads, n int, weights func(head int) []float32) []float32 {
	sums := make([]float32, heads*n)
	for head := range heads {
		for at, v := range weights(head) {
			sums[head*n+at%n] += v
		}
	}
	return sums
}
