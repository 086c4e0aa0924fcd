// Package dumpstest writes small dumps for tests: of random attention ([Random],
// [WithValues], [Everything]), of attention that a test makes up ([WritePlanted],
// [WriteText]), for tests of size and speed ([WriteLarge]) and for fuzzers ([Forged]).
// Any error ends the test.
package dumpstest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape of a dump of random attention: P = Prompt tokens, of which the last Rows rows
// are recorded, and G = Reply tokens.
const (
	Layers, Heads, KVHeads, Dim = 2, 4, 2, 8
	Prompt, Rows, Reply         = 37, 16, 5
)

// Header returns the header of a dump of random attention.
func Header(store dumps.Store, precision dumps.Precision) *dumps.Header {
	return &dumps.Header{
		Model: dumps.ModelInfo{
			ID: "random", Architecture: "llama", Layers: Layers, Heads: Heads, KVHeads: KVHeads, HeadDim: Dim,
			ValueDim: Dim, Vocab: 50, Scale: 1 / math.Sqrt(Dim), LayerWindows: []int{0, 0},
		},
		Plan: dumps.Plan{
			WindowRows: Rows, Layers: []int{0, 1}, Heads: []int{0, 1, 2, 3},
			Store: store, Precision: precision, MaxNewTokens: Reply,
		},
	}
}

// Random writes a dump of one prompt with peaked random attention.
func Random(t testing.TB, path string, store dumps.Store, precision dumps.Precision, r *rand.Rand) {
	t.Helper()
	w, err := dumps.Create(path, Header(store, precision), dumps.CreateOptions{})
	must(t, err)
	Add(t, w, "p", store, r)
	must(t, w.Close())
}

// WithValues writes a dump of the prompts p0 to p(n-1), whose values are recorded too.
func WithValues(t testing.TB, path string, store dumps.Store, precision dumps.Precision, n int, r *rand.Rand) {
	t.Helper()
	h := Header(store, precision)
	h.Plan.Values = true
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	must(t, err)
	for i := range n {
		addWith(t, w, fmt.Sprint("p", i), store, true, r, nil)
	}
	must(t, w.Close())
}

// Add writes one more prompt of random attention.
func Add(t testing.TB, w *dumps.Writer, id string, store dumps.Store, r *rand.Rand) {
	t.Helper()
	addWith(t, w, id, store, false, r, nil)
}

// must ends the test on an error.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// addWith writes a prompt of random attention. more, if not nil, adds blocks to it.
func addWith(
	t testing.TB, w *dumps.Writer, id string, store dumps.Store, values bool, r *rand.Rand,
	more func(*dumps.PromptWriter),
) {
	t.Helper()
	p := dumps.Prompt{
		ID: id, PromptTokens: Prompt, WindowRows: Rows, ReplyTokens: Reply, Store: store,
		Tokens: make([]int32, Prompt+Reply),
	}
	pw, err := w.Begin(p)
	must(t, err)
	for layer := range Layers {
		a := newAttention(r)
		must(t, pw.Sums(layer, shares(r, Heads, Prompt, Prompt))) // weights of all prompt queries add up to their number
		for _, phase := range dumps.Phases {
			if store == dumps.StoreFactors {
				must(t, a.writeQueries(pw, &p, layer, phase))
			} else {
				must(t, a.writeRows(pw, &p, layer, phase))
			}
		}
		if store == dumps.StoreFactors {
			must(t, pw.Keys(layer, 0, Prompt+Reply, a.keys))
		}
		if values {
			must(t, pw.Values(layer, 0, Prompt+Reply, normal(r, (Prompt+Reply)*KVHeads*Dim)))
		}
	}
	if more != nil {
		more(pw)
	}
	must(t, pw.Finish(p))
}

// attention is the random attention of one layer: rows are the recorded rows of the
// prompt, followed by those of the reply.
type attention struct {
	queries []float32 // [rows, Heads, Dim]
	keys    []float32 // [Prompt+Reply, KVHeads, Dim]
	weights []float32 // [Heads, rows, Prompt+Reply]
	lse     []float32 // [Heads, rows]
}

// newAttention draws queries and keys, and computes weights and log-sum-exps from them
// in float64.
func newAttention(r *rand.Rand) *attention {
	const rows, keys = Rows + Reply, Prompt + Reply
	a := &attention{
		queries: normal(r, rows*Heads*Dim),
		keys:    normal(r, keys*KVHeads*Dim),
		weights: make([]float32, Heads*rows*keys),
		lse:     make([]float32, Heads*rows),
	}
	for h := range Heads {
		for i := range rows {
			pos := Prompt - Rows + i
			sum := 0.0
			e := make([]float64, pos+1)
			for j := range e {
				s := 0.0
				for d := range Dim {
					s += float64(a.queries[(i*Heads+h)*Dim+d]) * float64(a.keys[(j*KVHeads+h*KVHeads/Heads)*Dim+d])
				}
				e[j] = math.Exp(s / math.Sqrt(Dim))
				sum += e[j]
			}
			for j := range e {
				a.weights[(h*rows+i)*keys+j] = float32(e[j] / sum)
			}
			a.lse[h*rows+i] = float32(math.Log(sum))
		}
	}
	return a
}

// firstRow returns the first row of a phase.
func firstRow(phase dumps.Phase) int {
	if phase == dumps.Decode {
		return Rows
	}
	return 0
}

func (a *attention) writeQueries(pw *dumps.PromptWriter, p *dumps.Prompt, layer int, phase dumps.Phase) error {
	n, _, _ := p.Shape(phase)
	first := firstRow(phase)
	lse := make([]float32, Heads*n)
	for h := range Heads {
		copy(lse[h*n:(h+1)*n], a.lse[h*(Rows+Reply)+first:])
	}
	return pw.Queries(layer, phase, 0, n, a.queries[first*Heads*Dim:(first+n)*Heads*Dim], lse)
}

func (a *attention) writeRows(pw *dumps.PromptWriter, p *dumps.Prompt, layer int, phase dumps.Phase) error {
	n, keys, _ := p.Shape(phase)
	for h := range Heads {
		if err := pw.Rows(dumps.Rows{
			Layer: layer, Head: h, Phase: phase,
			Rows: n, Keys: keys, Stride: Prompt + Reply,
			Weights: a.weights[(h*(Rows+Reply)+firstRow(phase))*(Prompt+Reply):],
		}); err != nil {
			return err
		}
	}
	return nil
}

// normal draws n numbers of standard deviation 1.5.
func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(1.5 * r.NormFloat64())
	}
	return x
}

// shares draws rows of n positive numbers that add up to total.
func shares(r *rand.Rand, rows, n int, total float32) []float32 {
	x := make([]float32, rows*n)
	for i := range rows {
		row := x[i*n : (i+1)*n]
		sum := float32(0)
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
