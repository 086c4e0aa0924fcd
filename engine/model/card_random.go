//go:build cuda

package model

import (
	"math"

	"github.com/attnscope/attnscope/engine/cuda"
)

// RandomOnCard returns a Llama of the given sizes with random weights on a card, to
// measure speed. theta is the base of the rotation.
func RandomOnCard(index int, s cuda.Sizes, theta float64, o Options) (*Model, error) {
	c := Config{
		Architecture: llama.Name, Layers: s.Layers, Hidden: s.Hidden, Intermediate: s.Intermediate, Heads: s.Heads, KVHeads: s.KVHeads,
		HeadDim: s.HeadDim, ValueDim: s.ValueDim, Vocab: s.Vocab, BOS: -1, TiedHead: s.TiedHead,
		Scale: float32(1 / math.Sqrt(float64(s.HeadDim))), NormEps: 1e-5,
		LayerWindows: make([]int, s.Layers), EmbedScale: 1, ResidualScale: 1, LogitScale: 1, Activation: "silu",
	}
	c.Shapes = c.alike()
	card, err := cuda.LoadRandom(index, s, theta, cuda.Options{Compute: o.Compute, Chunk: o.Chunk, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return &Model{config: c, backend: cardBackend{card}}, nil
}

// Card returns the part of the model that is on the card.
func (m *Model) Card() cuda.Model { return m.backend.(cardBackend).Model }
