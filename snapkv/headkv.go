package snapkv

import "errors"

// headKV ranks as snapkv does, with budgets that follow given scores of the heads,
// Config.HeadScores. With b, the even budget of a head:
//
//	budget[layer, h] = b/2 + HeadScores[layer][h] / Σ HeadScores · b/2 · heads of the model
//
// The scores are not negative. They are a setting, because they come from tests of
// the model (retrieval and reasoning in the paper) and not from the prompt.
//
// Source: Fu et al., "Not All Heads Matter: A Head-Level KV Cache Compression Method
// with Integrated Retrieval and Reasoning", arXiv:2410.19258.
var headKV = Method{
	Name:       "headkv",
	Source:     "arXiv:2410.19258",
	Common:     true,
	Needs:      Needs{Rows: true},
	Scope:      ScopeLayer,
	Score:      pooledVotes,
	ShareHeads: shareHeadKV,

	ByHeadScores: true,
}

func shareHeadKV(scores [][]float64, total, layer int, c Config) ([]int, error) {
	if layer >= len(c.HeadScores) || len(c.HeadScores[layer]) != len(scores) {
		return nil, errors.New("headkv needs a score for each head of each layer (--head-scores)")
	}
	sum := 0.0
	heads := 0 // of the model
	for _, list := range c.HeadScores {
		heads += len(list)
		for _, v := range list {
			sum += v
		}
	}
	even := total / len(scores)
	pool := float64(even/2) * float64(heads)
	budgets := make([]int, len(scores))
	for h, v := range c.HeadScores[layer] {
		budgets[h] = min(len(scores[h]), even-even/2+int(float64(v/max(sum, 1e-30)*pool)+0.5))
	}
	return budgets, nil
}
