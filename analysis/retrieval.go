package analysis

import "math"

// Retrieval is the retrieval score of a head after Wu et al., "Retrieval head
// mechanistically explains long-context factuality", arXiv:2404.15574: the share
// of what could be copied out of the prompt that the head copies. Without a marked
// needle, what could be copied are the reply's tokens that stand in the prompt. The
// head copies one when the row that gives it out (that of the token before) looks
// most at a prompt position that holds the same token. NaN where no token of the
// reply stands in the prompt.
//
//	best    key of the largest weight of the row that gives out reply token i;
//	        -1: that row was not recorded, and the token is not counted
//	prompt, reply  token ids
func Retrieval(best []int, prompt, reply []int32) float64 {
	in := make(map[int32]bool, len(prompt))
	for _, id := range prompt {
		in[id] = true
	}
	copied, could := 0, 0
	for i, id := range reply {
		if i >= len(best) || best[i] < 0 || !in[id] {
			continue
		}
		could++
		if best[i] < len(prompt) && prompt[best[i]] == id {
			copied++
		}
	}
	if could == 0 {
		return math.NaN()
	}
	return float64(copied) / float64(could)
}
