package snapkv

// recent keeps the last positions.
//
//	score[h, j] = j
var recent = Method{
	Name:   "recent",
	Source: "baseline",
	Common: true,
	Role:   Baseline,
	Nested: true,
	Alike:  true,
	Score:  scoreRecent,
}

func scoreRecent(l *Layer, c Config) ([][]float64, error) {
	return forAllHeads(positions(l, c), l.Heads), nil
}

// positions scores each prefix position by its index, so that the last positions are
// kept.
func positions(l *Layer, c Config) []float64 {
	score := make([]float64, l.Len-c.Window)
	for j := range score {
		score[j] = float64(j)
	}
	return score
}
