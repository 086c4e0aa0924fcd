package dumpstest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape of a dump for tests of size and speed.
type Shape struct {
	Layers, Heads, KVHeads, Dim int
	Prompt, Rows, Reply         int // tokens
}

// WriteLarge writes a dump of one prompt stored as factors: queries and keys are
// random, with a sink at position 0, a pull to recent positions and a few keys that
// many queries look for. The text is a word a token. The log-sum-exps are
// left zero: such a dump does not pass Verify.
func WriteLarge(t testing.TB, path string, s Shape) {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	h := &dumps.Header{
		Model: dumps.ModelInfo{
			ID: "synthetic", SHA256: "none: random", Architecture: "llama", Layers: s.Layers, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.Dim, ValueDim: s.Dim,
			Vocab: 1 << 16, Scale: 1 / math.Sqrt(float64(s.Dim)), LayerWindows: make([]int, s.Layers),
		},
		Plan: dumps.Plan{WindowRows: s.Rows, Store: dumps.StoreFactors, Precision: dumps.Fine, MaxNewTokens: s.Reply, Compute: "f32"},
	}
	for l := range s.Layers {
		h.Plan.Layers = append(h.Plan.Layers, l)
	}
	for i := range s.Heads {
		h.Plan.Heads = append(h.Plan.Heads, i)
	}
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	check(err)
	n := s.Prompt + s.Reply
	p := dumps.Prompt{ID: "large", PromptTokens: s.Prompt, WindowRows: s.Rows, ReplyTokens: s.Reply, Store: dumps.StoreFactors}
	for i := range n {
		p.Tokens = append(p.Tokens, int32(i%50000))
		piece := fmt.Sprintf("word%d ", i)
		if i%17 == 16 {
			piece = "end.\n"
		}
		p.Pieces = append(p.Pieces, piece)
	}
	pw, err := w.Begin(p)
	check(err)
	r := rand.New(rand.NewPCG(3, 4))
	fill := func(x []float32, scale float32) { // sums of four uniform numbers: nearly normal, and quick to draw
		for i := 0; i < len(x); i += 2 {
			u := r.Uint64()
			x[i] = scale * spread(uint32(u))
			if i+1 < len(x) {
				x[i+1] = scale * spread(uint32(u>>32))
			}
		}
	}
	const strip = 4096
	for layer := range s.Layers {
		for ph, rows := range []int{s.Rows, s.Reply} {
			q := make([]float32, rows*s.Heads*s.Dim)
			fill(q, 0.9)
			for i := 0; i < len(q); i += s.Dim {
				q[i], q[i+1], q[i+2] = 4, 3, 2+2*q[i+2]
			}
			check(pw.Queries(layer, dumps.Phase(ph), 0, rows, q, make([]float32, s.Heads*rows)))
		}
		for pos := 0; pos < n; pos += strip {
			count := min(strip, n-pos)
			k := make([]float32, count*s.KVHeads*s.Dim)
			fill(k, 0.9)
			for i := 0; i < len(k); i += s.Dim {
				at := pos + i/(s.KVHeads*s.Dim)
				k[i] = 6 * float32(at) / float32(n) // recent positions
				if at == 0 {
					k[i+1] = 20
				}
				if (at*2654435761)>>7%997 == 0 { // looked for
					k[i+2] = 12
				}
			}
			check(pw.Keys(layer, pos, count, k))
		}
	}
	check(pw.Finish(p))
	check(w.Close())
}

// spread sums the four bytes of u to mean 0 and variance 1.
func spread(u uint32) float32 {
	return (float32(u&255) + float32(u>>8&255) + float32(u>>16&255) + float32(u>>24) - 510) * (1 / 147.8)
}
