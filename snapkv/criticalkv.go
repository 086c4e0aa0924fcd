package snapkv

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
	Common:     true,
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
	lists := c.Group.selections(l.Heads, l.KVHeads)
	return twoStages(list, l, c, func(i, j int, vote float64) float64 {
		return l.critical(j, i*l.KVHeads/lists, vote)
	}), nil
}

// critical returns the score of a position in the second stage.
func (l *Layer) critical(j, kv int, vote float64) float64 {
	return (vote + criticalFloor) * norm(l.value(j, kv))
}
