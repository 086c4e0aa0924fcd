package snapkv

// adaFloor is the share of an even budget that every head keeps: Ada-KV's alpha, as
// in kvpress.
const adaFloor = 0.2

// adaKV ranks as snapkv does and distributes the total of a layer by the scores: every
// head gets 20 % of an even budget, and the rest goes to the largest scores among all
// heads of the layer.
//
// Source: Feng et al., "Ada-KV: Optimizing KV Cache Eviction by Adaptive Budget
// Allocation for Efficient LLM Inference", arXiv:2407.11550.
var adaKV = Method{
	Name:       "adakv",
	Source:     "arXiv:2407.11550",
	Common:     true,
	Needs:      Needs{Rows: true},
	Scope:      ScopeLayer,
	Score:      pooledVotes,
	ShareHeads: shareAdaKV,
}

func shareAdaKV(scores [][]float64, total, _ int, _ Config) ([]int, error) {
	heads := len(scores)
	prefix := len(scores[0])
	total = min(total, heads*prefix)
	floor := int(adaFloor * float64(total) / float64(heads))
	budgets := make([]int, heads)
	rest := make([]float64, 0, heads*prefix) // scores of all heads, those within the floor set to -1
	for h := range scores {
		budgets[h] = floor
		rest = append(rest, scores[h]...)
		for _, j := range TopK(scores[h], floor) {
			rest[h*prefix+int(j)] = -1
		}
	}
	for _, at := range TopK(rest, total-floor*heads) {
		budgets[int(at)/prefix]++
	}
	return budgets, nil
}
