package snapkv

import (
	"math"
	"slices"
)

// criticalFloor is added to votes before they are multiplied by the value's norm.
const criticalFloor = 1e-4

// criticalKV selects in two stages. Half the budget goes to the positions with the
// most votes, as in snapkv; the rest goes to the largest
//
//	(vote[h, j] + 1e-4) · |V[j]|
//
// The original uses the norm of W_O·V; here it is the norm of the value. If the group
// merges heads, both stages use the merged votes.
//
// Source: Feng et al., "Identify Critical KV Cache in LLM Inference from an Output
// Perturbation Perspective", arXiv:2502.03805.
var criticalKV = Method{
	Name:       "criticalkv",
	Source:     "arXiv:2502.03805",
	Needs:      Needs{Rows: true, Values: true},
	ByCapacity: true,
	ByGroup:    true,
	Score:      scoreCriticalKV,
}

func scoreCriticalKV(l *Layer, c Config) ([][]float64, error) {
	list, err := pooledVotes(l, c)
	if err != nil {
		return nil, err
	}
	list = c.Group.merge(list, l.KVHeads)
	for h, v := range list {
		first := TopK(v, c.Budget()/2)
		top := 0.0
		for j := range v {
			v[j] = (v[j] + criticalFloor) * norm(l.value(j, h*l.KVHeads/len(list)))
			top = math.Max(top, v[j])
		}
		for _, j := range first {
			v[j] += 2*top + 1 // above all of the second stage
		}
	}
	scores := make([][]float64, l.Heads)
	for h := range scores {
		scores[h] = slices.Clone(list[h*len(list)/l.Heads])
	}
	return scores, nil
}
