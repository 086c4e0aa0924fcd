package dumpstest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// alike is a layer with attention that version 1 of the format describes.
func alike(layer int) dumps.LayerShape {
	return dumps.LayerShape{
		Kind: dumps.KindAttention, Heads: Heads, KVHeads: KVHeads, KeyDim: Dim, ValueDim: Dim,
		Scale: 1 / math.Sqrt(Dim), CacheOf: layer,
		Rope: dumps.RopeShape{Dim: Dim, Pairing: "halves"},
	}
}

// shapesOf lists n layers that are alike, changed by change.
func shapesOf(n int, change func(layer int, s *dumps.LayerShape)) []dumps.LayerShape {
	list := make([]dumps.LayerShape, n)
	for l := range list {
		list[l] = alike(l)
		change(l, &list[l])
	}
	return list
}

// Kinds returns, by name, the layers of small models of each kind that version 2 of the
// format describes.
func Kinds() map[string][]dumps.LayerShape {
	return map[string][]dumps.LayerShape{
		// Gemma 4: heads of other sizes in some layers; and other numbers of heads.
		"sizes": shapesOf(3, func(l int, s *dumps.LayerShape) {
			s.Window = 9
			if l == 2 {
				s.Heads = 2
			}
			if l == 1 {
				s.Window = 0
				s.KVHeads = 1
				s.KeyDim = 2 * Dim
				s.ValueDim = 3
				s.Scale = 1
				s.SoftCap = 4
			}
		}),
		// Llama 4: chunks, and layers that are not rotated.
		"chunks": shapesOf(2, func(l int, s *dumps.LayerShape) {
			s.Chunk = 16
			if l == 1 {
				s.Chunk = 0
				s.Rope = dumps.RopeShape{}
			}
		}),
		// DeepSeek V2 and V3: one latent for all heads.
		"latent": shapesOf(2, func(_ int, s *dumps.LayerShape) {
			s.KVHeads = 1
			s.KeyDim = Dim + 4
			s.Latent = true
			s.Rope = dumps.RopeShape{At: Dim, Dim: 4, Pairing: "adjacent"}
		}),
		// Gemma 3n: later layers read the caches of earlier ones.
		"shared": shapesOf(5, func(l int, s *dumps.LayerShape) {
			s.Window = 9 * (l % 2)
			if l > 2 {
				s.CacheOf = l - 2
			}
		}),
		// gpt-oss: learned sinks.
		"sinks": shapesOf(2, func(l int, s *dumps.LayerShape) {
			s.Sink = true
			s.Window = 9 * l
		}),
		// Qwen3-Next, Nemotron-H: attention in some layers only.
		"hybrid": shapesOf(4, func(l int, s *dumps.LayerShape) {
			switch l {
			case 0:
				*s = dumps.LayerShape{Kind: dumps.KindLinear, CacheOf: l}
			case 2:
				*s = dumps.LayerShape{Kind: dumps.KindNone, CacheOf: l}
			}
		}),
	}
}

// KindNames lists the names of Kinds, sorted.
func KindNames() []string { return slices.Sorted(maps.Keys(Kinds())) }

// ShapesHeader returns the header of a dump of a model with the given layers, all of
// which are recorded if they have attention, with sums, query windows and values.
func ShapesHeader(shapes []dumps.LayerShape, store dumps.Store, precision dumps.Precision) *dumps.Header {
	h := Header(store, precision)
	h.Model.SetLayers(shapes)
	h.Plan.Layers = h.Model.AttentionLayers()
	h.Plan.Heads = nil
	for head := range h.Model.Heads {
		h.Plan.Heads = append(h.Plan.Heads, head)
	}
	h.Plan.PromptWindows = Windows
	h.Plan.PromptWindowSize = WindowSize
	h.Plan.Values = true
	return h
}

// Shapes writes a dump of the prompts ids of a model with the given layers. Everything in
// it follows from random queries, keys and values, by softmax in float64.
func Shapes(
	t testing.TB, path string, shapes []dumps.LayerShape, store dumps.Store, precision dumps.Precision, ids ...string,
) {
	t.Helper()
	w, err := dumps.Create(path, ShapesHeader(shapes, store, precision), dumps.CreateOptions{Force: true})
	must(t, err)
	for i, id := range ids {
		AddShapes(t, w, id, shapes, store, uint64(i+1))
	}
	must(t, w.Close())
}

// AddShapes writes one more prompt of a model with the given layers.
func AddShapes(t testing.TB, w *dumps.Writer, id string, shapes []dumps.LayerShape, store dumps.Store, seed uint64) {
	t.Helper()
	addLayers(t, w, id, ShapedLayers(shapes, rand.New(rand.NewPCG(seed, 2))), store)
}

// AddWrongSinks writes a prompt whose sinks are too small: of layer 0 in the sums, of
// layer 1 in the rows.
func AddWrongSinks(t testing.TB, w *dumps.Writer, id string, shapes []dumps.LayerShape, store dumps.Store) {
	t.Helper()
	layers := ShapedLayers(shapes, rand.New(rand.NewPCG(3, 2)))
	layers[0].sinkError = 0.5
	for i := range layers[1].Sinks {
		layers[1].Sinks[i] /= 2
	}
	addLayers(t, w, id, layers, store)
}

// addLayers writes a prompt with the given attention.
func addLayers(t testing.TB, w *dumps.Writer, id string, layers []*ShapedLayer, store dumps.Store) {
	t.Helper()
	p := dumps.Prompt{
		ID: id, PromptTokens: Prompt, WindowRows: Rows, ReplyTokens: Reply, Store: store, Tokens: make([]int32, Prompt+Reply),
	}
	pw, err := w.Begin(p)
	must(t, err)
	for _, a := range layers {
		if a != nil {
			must(t, a.write(pw, &p))
		}
	}
	for _, a := range layers {
		if a == nil || a.Shape.CacheOf != a.Layer {
			continue
		}
		if store == dumps.StoreFactors {
			must(t, pw.Keys(a.Layer, 0, Prompt+Reply, a.Keys))
		}
		if store == dumps.StoreRows || !a.Shape.Latent {
			must(t, pw.Values(a.Layer, 0, Prompt+Reply, a.Values))
		}
	}
	must(t, pw.Finish(p))
}

// ShapedLayer is the random attention of one layer over all Prompt+Reply positions.
type ShapedLayer struct {
	Layer   int
	Shape   dumps.LayerShape
	Queries []float32 // [position, heads, key dim]
	Keys    []float32 // [position, kv heads, key dim]
	Values  []float32 // [position, kv heads, value dim]
	Weights []float32 // [heads, position, position]
	LSE     []float32 // [heads, position]
	Sinks   []float32 // the shares of the sinks, [heads, position]; nil without sinks

	sinkError float32 // is missing in the sums of the sinks
}

// ShapedLayers draws the attention of layers; layers without attention are nil.
func ShapedLayers(shapes []dumps.LayerShape, r *rand.Rand) []*ShapedLayer {
	list := make([]*ShapedLayer, len(shapes))
	for l, s := range shapes {
		if !s.HasAttention() {
			continue
		}
		a := &ShapedLayer{Layer: l, Shape: s, Queries: normal(r, (Prompt+Reply)*s.Heads*s.KeyDim)}
		if s.CacheOf != l {
			a.Keys = list[s.CacheOf].Keys
			a.Values = list[s.CacheOf].Values
		} else {
			a.Keys = normal(r, (Prompt+Reply)*s.KVHeads*s.KeyDim)
			a.Values = normal(r, (Prompt+Reply)*s.KVHeads*s.ValueDim)
		}
		if s.Latent {
			a.Values = nil
			for j := range Prompt + Reply {
				a.Values = append(a.Values, a.Keys[j*s.KeyDim:][:s.ValueDim]...)
			}
		}
		a.attend()
		list[l] = a
	}
	return list
}

// attend computes weights and log-sum-exps.
func (a *ShapedLayer) attend() {
	const n = Prompt + Reply
	s := &a.Shape
	a.Weights = make([]float32, s.Heads*n*n)
	a.LSE = make([]float32, s.Heads*n)
	if s.Sink {
		a.Sinks = make([]float32, s.Heads*n)
	}
	for h := range s.Heads {
		sink := 0.0
		if s.Sink {
			sink = math.Exp(float64(2*h) - 1) // from a small part of most rows to most of them
		}
		for p := range n {
			sum := sink
			e := make([]float64, n)
			for j := s.First(p); j <= p; j++ {
				score := 0.0
				for d := range s.KeyDim {
					score += float64(a.Queries[(p*s.Heads+h)*s.KeyDim+d]) * float64(a.Keys[(j*s.KVHeads+h*s.KVHeads/s.Heads)*s.KeyDim+d])
				}
				score *= s.Scale
				if s.SoftCap > 0 {
					score = s.SoftCap * math.Tanh(score/s.SoftCap)
				}
				e[j] = math.Exp(score)
				sum += e[j]
			}
			for j, v := range e {
				a.Weights[(h*n+p)*n+j] = float32(v / sum)
			}
			a.LSE[h*n+p] = float32(math.Log(sum))
			if s.Sink {
				a.Sinks[h*n+p] = float32(sink / sum)
			}
		}
	}
}

// Sums returns the weights of prompt queries from position lo to hi, summed: [heads, hi].
func (a *ShapedLayer) Sums(lo, hi int) []float32 {
	const n = Prompt + Reply
	out := make([]float32, 0, a.Shape.Heads*hi)
	for h := range a.Shape.Heads {
		for j := range hi {
			sum := 0.0
			for p := lo; p < hi; p++ {
				sum += float64(a.Weights[(h*n+p)*n+j])
			}
			out = append(out, float32(sum))
		}
	}
	return out
}

// write writes everything but keys and values.
func (a *ShapedLayer) write(pw *dumps.PromptWriter, p *dumps.Prompt) error {
	if err := pw.Sums(a.Layer, a.Sums(0, Prompt)); err != nil {
		return err
	}
	for i := range Windows {
		keys := Prompt - (Windows-1-i)*WindowSize
		if err := pw.Window(a.Layer, i, keys, a.Sums(keys-WindowSize, keys)); err != nil {
			return err
		}
	}
	for _, phase := range dumps.Phases {
		if err := a.writeRows(pw, p, phase); err != nil {
			return err
		}
		if a.Sinks == nil {
			continue
		}
		n, _, pos := p.Shape(phase)
		if err := pw.Sinks(a.Layer, phase, 0, n, a.SinkRows(pos, n)); err != nil {
			return err
		}
	}
	if a.Sinks == nil {
		return nil
	}
	return pw.SinkSums(a.Layer, a.SinkSums())
}

// SinkRows returns the shares of the sinks at n positions from pos on, [heads, n].
func (a *ShapedLayer) SinkRows(pos, n int) []float32 {
	out := make([]float32, 0, a.Shape.Heads*n)
	for h := range a.Shape.Heads {
		out = append(out, a.Sinks[h*(Prompt+Reply)+pos:][:n]...)
	}
	return out
}

// SinkSums returns the shares of the sinks summed over all prompt queries and over those
// of each query window, [heads, 1 + Windows].
func (a *ShapedLayer) SinkSums() []float32 {
	sum := func(h, lo, hi int) float32 {
		total := 0.0
		for _, v := range a.Sinks[h*(Prompt+Reply)+lo : h*(Prompt+Reply)+hi] {
			total += float64(v)
		}
		return float32(total) - a.sinkError
	}
	var out []float32
	for h := range a.Shape.Heads {
		out = append(out, sum(h, 0, Prompt))
		for i := range Windows {
			end := Prompt - (Windows-1-i)*WindowSize
			out = append(out, sum(h, end-WindowSize, end))
		}
	}
	return out
}

// writeRows writes the rows of a phase, or its queries.
func (a *ShapedLayer) writeRows(pw *dumps.PromptWriter, p *dumps.Prompt, phase dumps.Phase) error {
	const all = Prompt + Reply
	s := &a.Shape
	n, keys, pos := p.Shape(phase)
	if p.Store == dumps.StoreFactors {
		lse := make([]float32, 0, s.Heads*n)
		for h := range s.Heads {
			lse = append(lse, a.LSE[h*all+pos:][:n]...)
		}
		return pw.Queries(a.Layer, phase, 0, n, a.Queries[pos*s.Heads*s.KeyDim:][:n*s.Heads*s.KeyDim], lse)
	}
	for h := range s.Heads {
		rows := dumps.Rows{
			Layer: a.Layer, Head: h, Phase: phase, Rows: n, Keys: keys, Stride: all, Weights: a.Weights[(h*all+pos)*all:],
		}
		if err := pw.Rows(rows); err != nil {
			return err
		}
	}
	return nil
}
