// Package dumpstest makes small dumps for tests.
package dumpstest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// Shape of a random dump: 2 layers, 4 heads on 2 kv heads of 8, P = 37 tokens,
// R = 16 rows, G = 5 reply rows.
const (
	Layers, Heads, KVHeads, Dim = 2, 4, 2, 8
	Prompt, Rows, Reply         = 37, 16, 5
)

// Header is the header of a random dump.
func Header(store dumps.Store, precision dumps.Precision) *dumps.Header {
	return &dumps.Header{
		Model: dumps.ModelInfo{
			ID: "random", Architecture: "llama", Layers: Layers, Heads: Heads, KVHeads: KVHeads, HeadDim: Dim,
			ValueDim: Dim, Vocab: 50, Scale: 1 / math.Sqrt(Dim), LayerWindows: []int{0, 0},
		},
		Plan: dumps.Plan{WindowRows: Rows, Layers: []int{0, 1}, Heads: []int{0, 1, 2, 3}, Store: store, Precision: precision, MaxNewTokens: Reply},
	}
}

// Random writes a dump of one prompt with peaked random attention.
func Random(t testing.TB, path string, store dumps.Store, precision dumps.Precision, r *rand.Rand) {
	t.Helper()
	w, err := dumps.Create(path, Header(store, precision), dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	Add(t, w, "p", store, r)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// WithValues writes a dump of several prompts, p0 to p(n-1), whose values are
// recorded too.
func WithValues(t testing.TB, path string, store dumps.Store, precision dumps.Precision, n int, r *rand.Rand) {
	t.Helper()
	h := Header(store, precision)
	h.Plan.Values = true
	w, err := dumps.Create(path, h, dumps.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		add(t, w, fmt.Sprint("p", i), store, true, r)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// Add writes one more prompt.
func Add(t testing.TB, w *dumps.Writer, id string, store dumps.Store, r *rand.Rand) {
	t.Helper()
	add(t, w, id, store, false, r)
}

func add(t testing.TB, w *dumps.Writer, id string, store dumps.Store, values bool, r *rand.Rand) {
	t.Helper()
	addWith(t, w, id, store, values, r, func(*dumps.PromptWriter) {})
}

// addWith writes a prompt; more adds blocks to it.
func addWith(t testing.TB, w *dumps.Writer, id string, store dumps.Store, values bool, r *rand.Rand, more func(*dumps.PromptWriter)) {
	t.Helper()
	p := dumps.Prompt{ID: id, PromptTokens: Prompt, WindowRows: Rows, ReplyTokens: Reply, Store: store, Tokens: make([]int32, Prompt+Reply)}
	pw, err := w.Begin(p)
	if err != nil {
		t.Fatal(err)
	}
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for layer := range Layers {
		q, k := normal(r, (Rows+Reply)*Heads*Dim), normal(r, (Prompt+Reply)*KVHeads*Dim)
		weights, lse := attention(q, k)
		check(pw.Sums(layer, shares(r, Heads, Prompt, Prompt))) // what the weights of all prompt queries add up to
		for ph, part := range [][2]int{{0, Rows}, {Rows, Rows + Reply}} {
			n := part[1] - part[0]
			if store == dumps.StoreFactors {
				l := make([]float32, Heads*n)
				for h := range Heads {
					copy(l[h*n:(h+1)*n], lse[h*(Rows+Reply)+part[0]:])
				}
				check(pw.Queries(layer, dumps.Phase(ph), 0, n, q[part[0]*Heads*Dim:part[1]*Heads*Dim], l))
				continue
			}
			keys := Prompt
			if ph == 1 {
				keys += Reply
			}
			for h := range Heads {
				check(pw.Rows(dumps.Rows{
					Layer: layer, Head: h, Phase: dumps.Phase(ph),
					Rows: n, Keys: keys, Stride: Prompt + Reply,
					Weights: weights[(h*(Rows+Reply)+part[0])*(Prompt+Reply):],
				}))
			}
		}
		if store == dumps.StoreFactors {
			check(pw.Keys(layer, 0, Prompt+Reply, k))
		}
		if values {
			check(pw.Values(layer, 0, Prompt+Reply, normal(r, (Prompt+Reply)*KVHeads*Dim)))
		}
	}
	more(pw)
	check(pw.Finish(p))
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(1.5 * r.NormFloat64())
	}
	return x
}

// attention computes the weights [heads, rows, keys] and log-sum-exps in
// float64.
func attention(q, k []float32) (weights, lse []float32) {
	const rows, keys = Rows + Reply, Prompt + Reply
	weights, lse = make([]float32, Heads*rows*keys), make([]float32, Heads*rows)
	for h := range Heads {
		for i := range rows {
			pos, sum := Prompt-Rows+i, 0.0
			e := make([]float64, pos+1)
			for j := range e {
				s := 0.0
				for d := range Dim {
					s += float64(q[(i*Heads+h)*Dim+d]) * float64(k[(j*KVHeads+h*KVHeads/Heads)*Dim+d])
				}
				e[j] = math.Exp(s / math.Sqrt(Dim))
				sum += e[j]
			}
			for j := range e {
				weights[(h*rows+i)*keys+j] = float32(e[j] / sum)
			}
			lse[h*rows+i] = float32(math.Log(sum))
		}
	}
	return weights, lse
}
