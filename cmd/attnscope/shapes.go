package main

import (
	"fmt"
	"strings"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
)

// shapeLines describes the layers of a model whose layers differ, or which has what its
// sizes alone do not say: a line for each group of layers that are alike. It returns nil if
// the sizes of the model say everything.
func shapeLines(m *dumps.ModelInfo) []string {
	if len(m.LayerShapes) == 0 {
		return nil
	}
	var texts []string
	layers := map[string][]int{}
	for l := range m.Layers {
		text := shapeText(m, l)
		if layers[text] == nil {
			texts = append(texts, text)
		}
		layers[text] = append(layers[text], l)
	}
	lines := make([]string, len(texts))
	for i, text := range texts {
		noun := "layers"
		if len(layers[text]) == 1 {
			noun = "layer"
		}
		lines[i] = fmt.Sprintf("%s %s: %s", noun, analysis.Ranges(layers[text]), text)
	}
	return lines
}

// shapeText describes a layer.
func shapeText(m *dumps.ModelInfo, layer int) string {
	s := m.Layer(layer)
	switch s.Kind {
	case dumps.KindLinear:
		return "no attention (a recurrence or a convolution)"
	case dumps.KindNone:
		return "no attention (a feed-forward alone)"
	}
	text := fmt.Sprintf("%s on %s of %d", count(s.Heads, "head"), count(s.KVHeads, "kv head"), s.KeyDim)
	switch {
	case s.Latent:
		text = fmt.Sprintf("%s on one entry of %d, whose first %d channels are the value", count(s.Heads, "head"), s.KeyDim, s.ValueDim)
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
