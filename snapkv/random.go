package snapkv

import "math/rand/v2"

// random keeps positions drawn at random. The generator of each head is seeded with
// Config.Seed, the layer and the head, so that a selection can be repeated.
var random = Method{
	Name:   "random",
	Source: "baseline",
	Common: true,
	Role:   Baseline,
	Scope:  ScopeLayer, // the seed depends on the head's index in the layer
	Nested: true,
	BySeed: true,
	Score:  scoreRandom,
}

func scoreRandom(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		r := rand.New(rand.NewPCG(c.Seed, uint64(l.Index)<<32|uint64(h)))
		scores[h] = make([]float64, l.Len-c.Window)
		for j := range scores[h] {
			scores[h][j] = r.Float64()
		}
	}
	return scores, nil
}
