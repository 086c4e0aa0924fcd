package snapkv

import (
	"fmt"
	"slices"
)

// Given returns a method that keeps given positions of one prompt, such as those that
// another program selected. keep [layer] lists the positions of each query head, or of each
// kv head. Positions of the window, which is always kept, are ignored. The config
// must merge the query heads of a kv head if the lists are by kv head.
func Given(name string, keep map[int][][]int32) Method {
	return Method{
		Name:       name,
		Scope:      ScopeLayer,
		Score:      func(l *Layer, c Config) ([][]float64, error) { return scoreGiven(keep[l.Index], l, c) },
		ShareHeads: shareChosen,
	}
}

// scoreGiven gives kept positions the score 1 and all others 0.
func scoreGiven(keep [][]int32, l *Layer, c Config) ([][]float64, error) {
	if len(keep) != l.Heads && len(keep) != l.KVHeads {
		return nil, fmt.Errorf("positions of %d heads are given: want %d query heads or %d kv heads",
			len(keep), l.Heads, l.KVHeads)
	}
	prefix := l.Len - c.Window
	scores := make([][]float64, len(keep))
	for h, positions := range keep {
		if n := slices.IndexFunc(positions, func(j int32) bool { return j < 0 || int(j) >= l.Len }); n >= 0 {
			return nil, fmt.Errorf("head %d: position %d is given: want 0 to %d", h, positions[n], l.Len-1)
		}
		scores[h] = make([]float64, prefix)
		for _, j := range positions {
			if int(j) < prefix {
				scores[h][j] = 1
			}
		}
	}
	return ofKVHeads(scores, l.Heads), nil
}
