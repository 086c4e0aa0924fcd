package snapkv

import "slices"

// oracle keeps the positions that the reply attends to most. No selection of the same
// size has more of the reply's weight: it is an upper bound, because it knows the
// reply, which is unknown when a cache is compressed.
//
//	score[h, j] = Σ weight[h, i, j] over the queries i of the reply
var oracle = Method{
	Name:   "oracle",
	Source: "upper bound",
	Common: true,
	Role:   Bound,
	Needs:  Needs{Generated: true},
	Nested: true,
	Score:  scoreOracle,
}

func scoreOracle(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = slices.Clone(l.Generated[h*l.Len : (h+1)*l.Len-c.Window])
	}
	return scores, nil
}
