package capture

import (
	"github.com/attnscope/attnscope/capture/model"
)

// Need is what a run will take beside the weights.
type Need struct {
	Prompts, PromptTokens, ReplyTokens int
	Positions                          int   // of the longest prompt with its reply
	Cache                              int64 // bytes of keys and values of that prompt
	Work                               int64 // bytes of activations and score tiles
	Recording                          int64 // bytes of sums and rows that wait
	Disk                               int64 // bytes of the dump, about
	FLOPs                              float64
}

// Estimate predicts what a run takes, from the configuration alone.
func Estimate(c *Config, m model.Config, threads int) Need {
	var n Need
	plan := &c.Header.Plan
	layers, heads := int64(len(plan.Layers)), int64(len(plan.Heads))
	width := float64(m.Layers) * float64(m.Hidden*(m.Heads+2*m.KVHeads)*m.HeadDim+m.Heads*m.ValueDim*m.Hidden+3*m.Hidden*m.Intermediate)
	for i := range c.Prompts {
		if c.Mine != nil && !c.Mine(i) {
			continue
		}
		p, reply := len(c.Prompts[i].Tokens), c.replyRoom(&c.Prompts[i])
		n.Prompts++
		n.PromptTokens += p
		n.ReplyTokens += reply
		n.Positions = max(n.Positions, p+reply)
		rows, factors := StoreBytes(plan, m, p, reply)
		if Store(plan, m, p, reply) == "rows" {
			n.Disk += rows
		} else {
			n.Disk += factors
		}
		windows := int64(windowCount(plan, p))
		n.Disk += layers * heads * int64(p) * 5 / 2 * (1 + windows/2)
		n.FLOPs += 2*width*float64(p+reply) + 2*float64(m.Layers*m.Heads*(m.HeadDim+m.ValueDim))*float64(p)*float64(p)/2 +
			2*float64(reply*m.Hidden*m.Vocab)
	}
	pos := int64(n.Positions)
	perPosition := int64(m.Layers) * int64(m.KVHeads) * int64(m.HeadDim+m.ValueDim) * 4
	n.Cache = pos * perPosition
	chunk := min(512, pos)
	n.Work = chunk*4*int64(2*m.Hidden+2*(m.Heads+2*m.KVHeads)*m.HeadDim+m.Heads*m.ValueDim+3*m.Intermediate) +
		int64(threads)*(600<<10+pos*4*14) + int64(m.Vocab)*8
	n.Recording = layers*heads*pos*8 + 4*heads*pos*8 + min(64<<20, layers*heads*pos*4*64) + 64<<20
	return n
}
