package snapkv

import "math"

const (
	compactorFirst = 8 // positions at the beginning that are kept, as in kvpress
	compactorLast  = 4 // positions at the end that are kept
)

// compactor adds the scores of leverage and noncausal, each relative to its mean and
// standard deviation over all kv heads of the layer. leverage is multiplied by the
// share of positions that are dropped. The first 8 and the last 4 positions are kept.
//
//	score[kv, j] = (1 - capacity/length)·z(leverage)[kv, j] + z(noncausal)[kv, j]
//
// Scores of noncausal are averaged over the query heads of a kv head. leverage and
// noncausal say how their scores differ from the original's.
//
// Source: Chari and Van Durme, "Compactor: Calibrated Query-Agnostic KV Cache Compression
// with Approximate Leverage Scores", arXiv:2507.08143, with the weight of kvpress.
var compactor = Method{
	Name:       "compactor",
	Source:     "arXiv:2507.08143",
	Needs:      Needs{Keys: true, Values: true, Queries: true, AllQueries: true},
	Scope:      ScopeLayer,
	ByCapacity: true,
	Alike:      true,
	Score:      scoreCompactor,
}

func scoreCompactor(l *Layer, c Config) ([][]float64, error) {
	from := min(compactorFirst, l.Len)
	to := max(from, l.Len-compactorLast)
	geometry, err := leverageScores(l, from, to)
	if err != nil {
		return nil, err
	}
	attention, err := nonCausalScores(l, from, to)
	if err != nil {
		return nil, err
	}
	attention = GroupMean.merge(attention, l.KVHeads)
	standardize(geometry)
	standardize(attention)
	blend := 1 - float64(c.Capacity)/float64(l.Len)
	top := math.Inf(-1)
	scores := make([][]float64, l.KVHeads)
	for kv := range scores {
		scores[kv] = make([]float64, l.Len)
		for j, v := range attention[kv] {
			v += float64(blend * geometry[kv][j])
			scores[kv][from+j] = v
			top = max(top, v)
		}
	}
	for kv, score := range scores {
		for j := range score {
			if j < from || j >= to {
				score[j] = top + 1
			}
		}
		scores[kv] = score[:l.Len-c.Window]
	}
	return ofKVHeads(scores, l.Heads), nil
}

// standardize subtracts the mean of all scores and divides by their standard deviation.
func standardize(scores [][]float64) {
	n := 0
	mean := 0.0
	for _, list := range scores {
		n += len(list)
		mean += sum(list)
	}
	mean /= float64(n)
	square := 0.0
	for _, list := range scores {
		for _, v := range list {
			square += float64((v - mean) * (v - mean))
		}
	}
	deviation := max(math.Sqrt(square/float64(max(1, n-1))), 1e-6)
	for _, list := range scores {
		for j := range list {
			list[j] = (list[j] - mean) / deviation
		}
	}
}
