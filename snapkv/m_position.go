package snapkv

import "math/rand/v2"

// streamingLLM keeps the first four positions and the last ones. Positions keep
// their rotations here; the original assigns them anew.
var streamingLLM = Method{
	Name: "streamingllm", Source: "arXiv:2309.17453", Nested: true,
	Score: func(l *Layer, c Config) ([][]float64, error) {
		sinks := c.Sinks
		if sinks == 0 {
			sinks = 4
		}
		score := positions(l, c)
		for j := range min(sinks, len(score)) {
			score[j] = float64(2*l.Len - j)
		}
		return same(score, l.Heads), nil
	},
}

// recent keeps the last positions.
var recent = Method{
	Name: "recent", Source: "baseline", Role: Baseline, Nested: true,
	Score: func(l *Layer, c Config) ([][]float64, error) { return same(positions(l, c), l.Heads), nil },
}

// random keeps positions at random, seeded by layer and head.
var random = Method{
	Name: "random", Source: "baseline", Role: Baseline, Nested: true, Scope: ScopeLayer,
	Score: func(l *Layer, c Config) ([][]float64, error) {
		out := make([][]float64, l.Heads)
		for h := range out {
			r := rand.New(rand.NewPCG(c.Seed, uint64(l.Index)<<32|uint64(h)))
			out[h] = make([]float64, l.Len-c.Window)
			for j := range out[h] {
				out[h][j] = r.Float64()
			}
		}
		return out, nil
	},
}

// Full is the name of the method that keeps everything.
const Full = "full"

// full keeps everything.
var full = Method{
	Name: Full, Source: "baseline", Role: Bound, IgnoresCapacity: true, Nested: true,
	Score: func(l *Layer, c Config) ([][]float64, error) { return same(positions(l, c), l.Heads), nil },
}

// oracle keeps what the reply attends to most: no selection of equal size has
// more of its weight.
var oracle = Method{
	Name: "oracle", Source: "upper bound", Role: Bound, Nested: true, Needs: Needs{Generated: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		out := make([][]float64, l.Heads)
		for h := range out {
			out[h] = append([]float64(nil), l.Generated[h*l.Len:(h+1)*l.Len-c.Window]...)
		}
		return out, nil
	},
}

func positions(l *Layer, c Config) []float64 {
	score := make([]float64, l.Len-c.Window)
	for j := range score {
		score[j] = float64(j)
	}
	return score
}
