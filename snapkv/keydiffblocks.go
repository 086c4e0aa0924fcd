package snapkv

import "github.com/attnscope/attnscope/internal/topk"

// keyDiffBlock is the number of positions that are read at once, as in kvpress.
const keyDiffBlock = 128

// keyDiffBlocks selects as keydiff does while the prompt is read: whenever 128 positions
// more have been read, the budget is filled from those that were kept and the new ones.
// The mean is that of these positions, not of the whole prompt.
//
// Source: Park et al., "KeyDiff: Key Similarity-Based KV Cache Eviction for Long-Context
// LLM Inference in Resource-Constrained Environments", arXiv:2504.15364; kvpress,
// BlockPress with KeyDiffPress. There, the window can be dropped.
var keyDiffBlocks = Method{
	Name:       "keydiffblocks",
	Source:     "arXiv:2504.15364",
	Needs:      Needs{Keys: true},
	ByCapacity: true,
	Alike:      true,
	Score:      scoreKeyDiffBlocks,
}

func scoreKeyDiffBlocks(l *Layer, c Config) ([][]float64, error) {
	prefix := l.Len - c.Window
	scores := make([][]float64, l.KVHeads)
	for kv := range scores {
		var kept []int32
		for j := range min(c.Budget(), prefix) {
			kept = append(kept, int32(j))
		}
		for from := len(kept); from < prefix; from += keyDiffBlock {
			for j := from; j < min(prefix, from+keyDiffBlock); j++ {
				kept = append(kept, int32(j))
			}
			kept = leastSimilar(l, kv, kept, c.Budget())
		}
		scores[kv] = chosen(prefix, kept)
	}
	return ofKVHeads(scores, l.Heads), nil
}

// leastSimilar returns the n positions whose keys differ most from the mean of the
// normalized keys of all given positions, ascending.
func leastSimilar(l *Layer, kv int, positions []int32, n int) []int32 {
	mean := meanDirection(l, kv, positions)
	score := make([]float64, len(positions))
	for i, j := range positions {
		score[i] = -cosine(l.key(int(j), kv), mean)
	}
	var kept []int32
	for _, i := range topk.Select(score, n) {
		kept = append(kept, positions[i])
	}
	return kept
}
