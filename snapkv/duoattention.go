package snapkv

import (
	"cmp"
	"errors"
	"slices"
)

// duoAttention keeps everything of retrieval heads, and the first Config.Sinks and the
// last positions of streaming heads. Streaming heads are the half of the model's heads
// with the lowest Config.HeadScores. The cache is therefore larger than the capacity,
// which bounds only the streaming heads.
//
// The scores are a setting, because the original trains them. It keeps fixed numbers of
// positions of streaming heads.
//
// Source: Xiao et al., "DuoAttention: Efficient Long-Context LLM Inference with Retrieval
// and Streaming Heads", arXiv:2410.10819.
var duoAttention = Method{
	Name:       "duoattention",
	Source:     "arXiv:2410.10819",
	Scope:      ScopeLayer,
	BySinks:    true,
	Score:      scoreStreamingLLM,
	ShareHeads: shareDuoAttention,

	ByHeadScores: true,
}

func shareDuoAttention(scores [][]float64, total, layer int, c Config) ([]int, error) {
	if layer >= len(c.HeadScores) || len(c.HeadScores[layer]) != len(scores) {
		return nil, errors.New("duoattention needs a score for each head of each layer (--head-scores)")
	}
	type head struct {
		layer, index int
		score        float64
	}
	var heads []head
	for i, list := range c.HeadScores {
		for h, v := range list {
			heads = append(heads, head{i, h, v})
		}
	}
	slices.SortStableFunc(heads, func(a, b head) int { return cmp.Compare(a.score, b.score) })
	budgets := make([]int, len(scores))
	for h := range budgets {
		budgets[h] = len(scores[h])
	}
	for _, of := range heads[:len(heads)/2] {
		if of.layer == layer {
			budgets[of.index] = min(total/len(scores), len(scores[of.index]))
		}
	}
	return budgets, nil
}
