package snapkv

import (
	"math"
	"math/rand/v2"
)

// naCL gives half of the budget to the positions with the most votes of the window, its
// proxy tokens. The rest is drawn at random without replacement, each position with a
// probability in proportion to its vote.
//
//	score[h, j] = ln vote[h, j] + noise, with noise from the Gumbel distribution
//
// The generator of each head is seeded as that of random. The original draws from the
// softmax of the votes, which is close to uniform because votes are small.
//
// Source: Chen et al., "NACL: A General and Effective KV Cache Eviction Framework for
// LLMs at Inference Time", arXiv:2408.03675.
var naCL = Method{
	Name:       "nacl",
	Source:     "arXiv:2408.03675",
	Needs:      Needs{Rows: true},
	Scope:      ScopeLayer, // the seed depends on the head's index in the layer
	ByCapacity: true,
	ByGroup:    true,
	BySeed:     true,
	Score:      scoreNaCL,
}

func scoreNaCL(l *Layer, c Config) ([][]float64, error) {
	return twoStages(votes(l, c), l, c, func(list, j int, vote float64) float64 {
		return math.Log(vote) + gumbel(c.Seed, l.Index, list, j)
	}), nil
}

// gumbel returns the noise of a position, from the standard Gumbel distribution.
func gumbel(seed uint64, layer, list, j int) float64 {
	r := rand.New(rand.NewPCG(seed, uint64(layer)<<48|uint64(list)<<32|uint64(j)))
	return -math.Log(-math.Log(r.Float64()))
}
