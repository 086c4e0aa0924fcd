package analysis

import "math"

// Copying tells which tokens of a reply a head could have copied out of the prompt:
// what all heads of all layers have in common.
type Copying struct {
	prompt, reply []int32
	could         []bool // of each reply token: whether it stands in the prompt
}

// NewCopying takes the token ids of a prompt and its reply.
func NewCopying(prompt, reply []int32) *Copying {
	in := make(map[int32]bool, len(prompt))
	for _, id := range prompt {
		in[id] = true
	}
	c := &Copying{prompt, reply, make([]bool, len(reply))}
	for i, id := range reply {
		c.could[i] = in[id]
	}
	return c
}

// Score is the retrieval score of a head after Wu et al., "Retrieval head
// mechanistically explains long-context factuality", arXiv:2404.15574: the share
// of what could be copied out of the prompt that the head copies. Without a marked
// needle, what could be copied are the reply's tokens that stand in the prompt. The
// head copies one when the row that gives it out (that of the token before) looks
// most at a prompt position that holds the same token. NaN where no token of the
// reply stands in the prompt.
//
//	best    key of the largest weight of the row that gives out reply token i;
//	        -1: that row was not looked at, and the token is not counted
func (c *Copying) Score(best []int) float64 {
	copied, could := 0, 0
	for i, at := range best[:min(len(best), len(c.reply))] {
		if at < 0 || !c.could[i] {
			continue
		}
		could++
		if at < len(c.prompt) && c.prompt[at] == c.reply[i] {
			copied++
		}
	}
	if could == 0 {
		return math.NaN()
	}
	return float64(copied) / float64(could)
}
