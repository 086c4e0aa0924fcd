package dumpstest

import (
	"slices"
	"testing"

	"github.com/attnscope/attnscope/dumps"
)

// PlantedShape is the shape of a dump of planted attention.
type PlantedShape struct {
	Layers, Heads       int
	Rows                int // last rows of each prompt
	Windows, WindowSize int // sums over older queries
}

// Planted is a prompt whose attention is made up, so that tests know every answer.
type Planted struct {
	ID, Dataset, Document string
	Tokens                []int32 // of the prompt
	Reply                 int     // rows of the reply

	// Weight returns the weight that a query gives to a key that is not after it.
	Weight func(layer, head, query, key int) float32
}

// WritePlanted writes a dump of planted attention.
func WritePlanted(t testing.TB, path string, shape PlantedShape, prompts []Planted) {
	t.Helper()
	writePlanted(t, path, shape, prompts, false)
}

// header returns the header of a dump of that shape.
func (s PlantedShape) header() *dumps.Header {
	return &dumps.Header{
		Model: dumps.ModelInfo{
			ID: "planted", Architecture: "llama", Layers: s.Layers, Heads: s.Heads, KVHeads: s.Heads,
			HeadDim: 4, ValueDim: 4, Vocab: 1 << 20, Scale: 1, LayerWindows: make([]int, s.Layers),
		},
		Plan: dumps.Plan{
			WindowRows: s.Rows, PromptWindows: s.Windows, PromptWindowSize: s.WindowSize,
			Layers: firstInts(s.Layers), Heads: firstInts(s.Heads),
			Store: dumps.StoreRows, Precision: dumps.Exact,
		},
	}
}

// firstInts lists 0 to n-1.
func firstInts(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// writePlanted writes a dump of planted attention; with sums, it also writes the
// weights summed over all queries of each prompt.
func writePlanted(t testing.TB, path string, shape PlantedShape, prompts []Planted, sums bool) {
	t.Helper()
	w, err := dumps.Create(path, shape.header(), dumps.CreateOptions{})
	must(t, err)
	for i := range prompts {
		p := &prompts[i]
		info := p.info(shape)
		pw, err := w.Begin(info)
		must(t, err)
		for layer := range shape.Layers {
			if sums {
				must(t, pw.Sums(layer, p.sums(shape, layer, 0, info.PromptTokens)))
			}
			for head := range shape.Heads {
				for _, phase := range dumps.Phases {
					must(t, p.writeRows(pw, &info, layer, head, phase))
				}
			}
			must(t, p.writeWindows(pw, shape, layer))
		}
		must(t, pw.Finish(info))
	}
	must(t, w.Close())
}

func (p *Planted) info(shape PlantedShape) dumps.Prompt {
	n := len(p.Tokens)
	return dumps.Prompt{
		ID: p.ID, Dataset: p.Dataset, Document: p.Document,
		PromptTokens: n, WindowRows: min(shape.Rows, n), ReplyTokens: p.Reply, Store: dumps.StoreRows,
		Tokens: append(slices.Clone(p.Tokens), make([]int32, p.Reply)...),
	}
}

// weights returns the weights of n queries from position pos0 on, [n, keys].
func (p *Planted) weights(layer, head, pos0, n, keys int) []float32 {
	x := make([]float32, n*keys)
	for i := range n {
		for j := range min(keys, pos0+i+1) {
			x[i*keys+j] = p.Weight(layer, head, pos0+i, j)
		}
	}
	return x
}

// writeRows writes the rows of a head in a phase, if it has any.
func (p *Planted) writeRows(pw *dumps.PromptWriter, info *dumps.Prompt, layer, head int, phase dumps.Phase) error {
	rows, keys, pos0 := info.Shape(phase)
	if rows == 0 && phase == dumps.Decode {
		return nil
	}
	return pw.Rows(dumps.Rows{
		Layer: layer, Head: head, Phase: phase,
		Rows: rows, Keys: keys,
		Weights: p.weights(layer, head, pos0, rows, keys),
	})
}

// writeWindows writes the sums over the query windows that fit the prompt.
func (p *Planted) writeWindows(pw *dumps.PromptWriter, shape PlantedShape, layer int) error {
	if shape.WindowSize == 0 {
		return nil
	}
	n := len(p.Tokens)
	count := min(shape.Windows, n/shape.WindowSize)
	for i := range count {
		end := n - (count-1-i)*shape.WindowSize
		if err := pw.Window(layer, i, end, p.sums(shape, layer, end-shape.WindowSize, end)); err != nil {
			return err
		}
	}
	return nil
}

// sums adds up the weights of the queries [first, end) of each head, [heads, end].
func (p *Planted) sums(shape PlantedShape, layer, first, end int) []float32 {
	sums := make([]float32, shape.Heads*end)
	for head := range shape.Heads {
		for at, w := range p.weights(layer, head, first, end-first, end) {
			sums[head*end+at%end] += w
		}
	}
	return sums
}
