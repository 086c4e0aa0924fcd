package dumpstest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape is the shape of a dump for tests of size and speed. Prompt and Reply are
// tokens, Rows the recorded rows at the end of the prompt.
type Shape struct {
	Layers, Heads, KVHeads, Dim int
	Prompt, Rows, Reply         int
}

// WriteLarge writes a dump of one prompt in the factors form. Queries and keys are
// random, with a sink at position 0, a pull to recent positions and a few keys that
// many queries attend to. The text has one word per token. The log-sum-exps are zero,
// so that the dump does not pass Verify.
func WriteLarge(t testing.TB, path string, s Shape) {
	t.Helper()
	w, err := dumps.Create(path, s.header(), dumps.CreateOptions{})
	must(t, err)
	p := s.prompt()
	pw, err := w.Begin(p)
	must(t, err)
	r := rand.New(rand.NewPCG(3, 4))
	for layer := range s.Layers {
		for _, phase := range dumps.Phases {
			rows, _, _ := p.Shape(phase)
			must(t, pw.Queries(layer, phase, 0, rows, s.queries(r, rows), make([]float32, s.Heads*rows)))
		}
		const strip = 4096
		n := s.Prompt + s.Reply
		for pos := 0; pos < n; pos += strip {
			count := min(strip, n-pos)
			must(t, pw.Keys(layer, pos, count, s.keys(r, pos, count)))
		}
	}
	must(t, pw.Finish(p))
	must(t, w.Close())
}

func (s Shape) header() *dumps.Header {
	return &dumps.Header{
		Model: dumps.ModelInfo{
			ID: "synthetic", SHA256: "none: random", Architecture: "llama",
			Layers: s.Layers, Heads: s.Heads, KVHeads: s.KVHeads, HeadDim: s.Dim, ValueDim: s.Dim,
			Vocab: 1 << 16, Scale: 1 / math.Sqrt(float64(s.Dim)), LayerWindows: make([]int, s.Layers),
		},
		Plan: dumps.Plan{
			WindowRows: s.Rows, Layers: firstInts(s.Layers), Heads: firstInts(s.Heads),
			Store: dumps.StoreFactors, Precision: dumps.Fine, MaxNewTokens: s.Reply, Compute: "f32",
		},
	}
}

func (s Shape) prompt() dumps.Prompt {
	p := dumps.Prompt{
		ID: "large", PromptTokens: s.Prompt, WindowRows: s.Rows, ReplyTokens: s.Reply, Store: dumps.StoreFactors,
	}
	for i := range s.Prompt + s.Reply {
		p.Tokens = append(p.Tokens, int32(i%50000))
		piece := fmt.Sprintf("word%d ", i)
		if i%17 == 16 {
			piece = "end.\n"
		}
		p.Pieces = append(p.Pieces, piece)
	}
	return p
}

// queries draws queries [rows, Heads, Dim] that look for recent positions, the sink and
// the keys with a large third element.
func (s Shape) queries(r *rand.Rand, rows int) []float32 {
	q := make([]float32, rows*s.Heads*s.Dim)
	fill(r, q, 0.9)
	for i := 0; i < len(q); i += s.Dim {
		q[i] = 4
		q[i+1] = 3
		q[i+2] = 2 + 2*q[i+2]
	}
	return q
}

// keys draws the keys of n positions from pos on, [n, KVHeads, Dim].
func (s Shape) keys(r *rand.Rand, pos, n int) []float32 {
	k := make([]float32, n*s.KVHeads*s.Dim)
	fill(r, k, 0.9)
	for i := 0; i < len(k); i += s.Dim {
		at := pos + i/(s.KVHeads*s.Dim)
		k[i] = 6 * float32(at) / float32(s.Prompt+s.Reply) // recent positions
		if at == 0 {
			k[i+1] = 20 // the sink
		}
		if (at*2654435761)>>7%997 == 0 {
			k[i+2] = 12 // attended to by many queries
		}
	}
	return k
}

// fill draws nearly normal numbers quickly: each is the sum of four uniform ones.
func fill(r *rand.Rand, x []float32, scale float32) {
	for i := 0; i < len(x); i += 2 {
		u := r.Uint64()
		x[i] = scale * spread(uint32(u))
		if i+1 < len(x) {
			x[i+1] = scale * spread(uint32(u>>32))
		}
	}
}

// spread sums the four bytes of u to a number of mean 0 and variance 1.
func spread(u uint32) float32 {
	return (float32(u&255) + float32(u>>8&255) + float32(u>>16&255) + float32(u>>24) - 510) * (1 / 147.8)
}
