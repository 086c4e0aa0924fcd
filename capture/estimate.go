package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
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
	Generated                          int     // reply tokens that pass the model one at a time: each reads all weights
	CacheRead                          float64 // bytes of keys and values that they read
}

// Estimate predicts what a run takes, from the configuration alone.
func Estimate(c *Config, m model.Config, threads int) Need {
	var n Need
	plan := &c.Header.Plan
	layers, heads, totals := int64(len(plan.Layers)), int64(len(plan.Heads)), int64(1)
	if plan.NoPromptSums {
		totals = 0
	}
	width := float64(m.Layers)*float64(m.Hidden*(m.Heads*m.HeadDim+m.KVHeads*(m.HeadDim+m.ValueDim))+m.Heads*m.ValueDim*m.Hidden) + feedForwards(&m)
	perPosition := int64(m.Layers) * int64(m.KVHeads) * int64(m.HeadDim+m.ValueDim) * 4
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
		if Store(plan, m, p, reply) == dumps.StoreRows {
			n.Disk += rows
		} else {
			n.Disk += factors
		}
		windows := int64(windowCount(plan, p))
		n.Disk += layers * heads * int64(p) * 5 / 2 * (totals + windows/2)
		through := p // tokens that pass in pieces
		if c.Prompts[i].Reply != nil {
			through += reply
		} else {
			n.Generated += reply
			n.CacheRead += float64(perPosition) * float64(reply) * (float64(p) + float64(reply)/2)
		}
		n.FLOPs += 2*width*float64(through) + float64(m.Layers*m.Heads*(m.HeadDim+m.ValueDim))*float64(through)*float64(through)
	}
	pos := int64(n.Positions)
	n.Cache = pos * perPosition
	chunk := min(504, pos)
	n.Work = chunk*4*int64(2*m.Hidden+2*(m.Heads*m.HeadDim+m.KVHeads*(m.HeadDim+m.ValueDim))+m.Heads*m.ValueDim+3*m.Intermediate) +
		int64(threads)*(1<<20+pos*4*14) + int64(m.Vocab)*8 + programBytes
	// Sums of all queries and of the window under way, eight bytes a key; blocks
	// that wait to be encoded and written, and what the collector has not found yet.
	sums := layers * heads * pos * 8 * totals
	if plan.PromptWindows > 0 {
		sums += layers * heads * pos * 8
	}
	waiting := min(64<<20, layers*heads*pos*4*64)
	n.Recording = sums + waiting + (sums+waiting)/2
	return n
}

// attained is the share of the measured rates that a whole model reaches:
// attention, normalisation and recording run below the speed of products.
const attained = 0.87

// Pace is what a run is expected to do in a second on the CPU, and how long it
// takes then.
type Pace struct{ FLOPs, Bytes, Seconds float64 }

// Pace predicts the time on a machine of such rates, of so many bytes of packed
// weights and of an arithmetic: f32, bf16 or int8.
func (n *Need) Pace(r cpu.Rates, weights int64, compute string) Pace {
	p := Pace{FLOPs: r.FLOPs * attained, Bytes: r.Bytes * attained}
	switch compute { // products against float32's, attention included
	case "bf16":
		p.FLOPs /= 0.75
	case "int8":
		p.FLOPs /= 0.65
	}
	p.Seconds = n.FLOPs/p.FLOPs + n.Read(weights)/p.Bytes
	return p
}

// Read is what decoding reads from memory, in bytes: all weights and the cache
// for each token.
func (n *Need) Read(weights int64) float64 {
	return n.CacheRead + float64(n.Generated)*float64(weights)
}

// programBytes is what the program takes before it has read anything.
const programBytes = 40 << 20

// feedForwards counts the weights of feed-forwards that a token passes.
func feedForwards(m *model.Config) float64 {
	one := 3 * float64(m.Hidden) * float64(m.Intermediate)
	if m.Experts == 0 {
		return float64(m.Layers) * one
	}
	total := 0.0
	for l := range m.Layers {
		if m.Sparse != nil && !m.Sparse[l] {
			total += one
			continue
		}
		total += float64(m.TopExperts)*one + 3*float64(m.Hidden)*float64(m.SharedSize)
	}
	return total
}
