package snapkv

// twoStages selects in two stages. first [head][prefix] is merged as the group says, and is
// changed. Half of the budget goes to the positions with the largest scores in first, the
// rest to those with the largest scores by second, which gets the index of the head or kv
// head, the position and its score in first.
func twoStages(first [][]float64, l *Layer, c Config, second func(list, j int, first float64) float64) [][]float64 {
	first = c.Group.merge(first, l.KVHeads)
	for i, score := range first {
		top := TopK(score, c.Budget()/2)
		for j, v := range score {
			score[j] = second(i, j, v)
		}
		raise(score, top)
	}
	return ofKVHeads(first, l.Heads)
}

// raise gives positions the same score, above all others.
func raise(score []float64, at []int32) {
	top := 0.0
	for _, v := range score {
		top = max(top, v)
	}
	for _, j := range at {
		score[j] = 2*top + 1
	}
}

// raiseSinks gives the first Config.Sinks positions a score above all others.
func raiseSinks(score []float64, c Config) {
	var first []int32
	for j := range min(c.sinks(), len(score)) {
		first = append(first, int32(j))
	}
	raise(score, first)
}

// chosen scores n positions so that those in keep are kept.
func chosen(n int, keep []int32) []float64 {
	score := make([]float64, n)
	for _, j := range keep {
		score[j] = 1
	}
	return score
}

// ofKVHeads gives the scores of each kv head to all of its query heads. Scores by query head
// stay as they are.
func ofKVHeads(scores [][]float64, heads int) [][]float64 {
	list := make([][]float64, heads)
	for h := range list {
		list[h] = scores[h*len(scores)/heads]
	}
	return list
}
