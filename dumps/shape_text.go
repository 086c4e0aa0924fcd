package dumps

import (
	"fmt"
	"strings"

	"github.com/attnscope/attnscope/internal/words"
)

// Sizes describes the layers of a model in words: a line for each group of layers that
// are alike, or a single line if all are.
func (m *ModelInfo) Sizes() []string {
	if len(m.LayerShapes) == 0 {
		return []string{fmt.Sprintf("%s, %s on %s of %d",
			words.Count(m.Layers, "layer"), words.Count(m.Heads, "head"), words.Count(m.KVHeads, "kv head"), m.HeadDim)}
	}
	var texts []string
	layers := map[string][]int{}
	for l := range m.Layers {
		text := m.shapeText(l)
		if layers[text] == nil {
			texts = append(texts, text)
		}
		layers[text] = append(layers[text], l)
	}
	lines := make([]string, len(texts))
	for i, text := range texts {
		list := layers[text]
		lines[i] = fmt.Sprintf("%s %s: %s", words.Plural(len(list), "layer", "layers"), Ranges(list), text)
	}
	return lines
}

// Holes says in words which layers have no attention; it is empty if all have.
func (m *ModelInfo) Holes() string {
	var list []int
	for l := range m.Layers {
		if s := m.Layer(l); !s.HasAttention() {
			list = append(list, l)
		}
	}
	if len(list) == 0 {
		return ""
	}
	return fmt.Sprintf("%s %s of %d %s no attention: there is nothing to rate or to select.",
		words.Plural(len(list), "Layer", "Layers"), Ranges(list), m.Layers, words.Plural(len(list), "has", "have"))
}

// Ranges writes ascending numbers, consecutive ones as a range: 0-3, 7.
func Ranges(list []int) string {
	var words []string
	for len(list) > 0 {
		n := 1
		for n < len(list) && list[n] == list[0]+n {
			n++
		}
		word := fmt.Sprint(list[0])
		if n > 1 {
			word += fmt.Sprintf("-%d", list[n-1])
		}
		words = append(words, word)
		list = list[n:]
	}
	return strings.Join(words, ", ")
}

// shapeText describes a layer.
func (m *ModelInfo) shapeText(layer int) string {
	s := m.Layer(layer)
	switch s.Kind {
	case KindLinear:
		return "no attention (a recurrence or a convolution)"
	case KindNone:
		return "no attention (only a feed-forward)"
	}
	text := fmt.Sprintf("%s on %s of %d", words.Count(s.Heads, "head"), words.Count(s.KVHeads, "kv head"), s.KeyDim)
	switch {
	case s.Latent:
		text = fmt.Sprintf("%s on one entry of %d, whose first %d channels are the value",
			words.Count(s.Heads, "head"), s.KeyDim, s.ValueDim)
	case s.ValueDim != s.KeyDim:
		text += fmt.Sprintf(", values of %d", s.ValueDim)
	}
	parts := []string{text}
	if s.Window > 0 {
		parts = append(parts, fmt.Sprintf("the last %d positions", s.Window))
	}
	if s.Chunk > 0 {
		parts = append(parts, fmt.Sprintf("chunks of %d positions", s.Chunk))
	}
	if s.Sink {
		parts = append(parts, "a learned sink")
	}
	if s.Rope.Dim == 0 && m.Rotates() {
		parts = append(parts, "not rotated")
	}
	if s.CacheOf != layer {
		parts = append(parts, fmt.Sprintf("the cache of layer %d", s.CacheOf))
	}
	return strings.Join(parts, ", ")
}
