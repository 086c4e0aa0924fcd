package snapkv

import "math/bits"

// uniform spreads the kept positions evenly over the prefix: it keeps every position at a
// distance of a power of two, then positions halfway between these. The order is that of
// the reversed bits of the position (van der Corput's sequence).
//
//	score[h, j] = - j with its bits reversed
var uniform = Method{
	Name:   "uniform",
	Source: "baseline",
	Role:   Baseline,
	Nested: true,
	Alike:  true,
	Score:  scoreUniform,
}

func scoreUniform(l *Layer, c Config) ([][]float64, error) {
	score := make([]float64, l.Len-c.Window)
	for j := range score {
		score[j] = -float64(bits.Reverse32(uint32(j)))
	}
	return forAllHeads(score, l.Heads), nil
}
