package snapkv

// criticalAdaKV distributes the total of a layer over its heads as adakv does, and selects
// in each head as criticalkv does. The floor of adakv belongs to the first stage.
//
// Source: Feng et al., "Identify Critical KV Cache in LLM Inference from an Output
// Perturbation Perspective", arXiv:2502.03805.
var criticalAdaKV = Method{
	Name:       "criticaladakv",
	Source:     "arXiv:2502.03805",
	Needs:      Needs{Rows: true, Values: true},
	Scope:      ScopeLayer,
	ByCapacity: true,
	ByGroup:    true,
	Score:      scoreCriticalAdaKV,
	ShareHeads: shareChosen,
}

func scoreCriticalAdaKV(l *Layer, c Config) ([][]float64, error) {
	list, err := pooledVotes(l, c)
	if err != nil {
		return nil, err
	}
	list = c.Group.merge(list, l.KVHeads)
	budgets, err := shareAdaKV(list, c.Budget()*len(list), l.Index, c)
	if err != nil {
		return nil, err
	}
	floor := int(adaFloor * float64(min(c.Budget(), len(list[0]))))
	for i, score := range list {
		first := TopK(score, max(floor, budgets[i]/2))
		for j, v := range score {
			score[j] = l.critical(j, i*l.KVHeads/len(list), v)
		}
		raise(score, first)
		list[i] = chosen(len(score), TopK(score, budgets[i]))
	}
	return ofKVHeads(list, l.Heads), nil
}

// shareChosen gives each head as many positions as its scores choose; see [chosen].
func shareChosen(scores [][]float64, _, _ int, _ Config) ([]int, error) {
	budgets := make([]int, len(scores))
	for h, list := range scores {
		for _, v := range list {
			if v > 0 {
				budgets[h]++
			}
		}
	}
	return budgets, nil
}
