// Package forecast predicts the memory, disk space and time of a capture. It reads the
// prompts, the plan and the configuration of the model, but no weights.
package forecast

import (
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
)

// Need holds the resources that a run needs in addition to the weights. Sizes are in
// bytes.
type Need struct {
	Prompts      int
	PromptTokens int
	ReplyTokens  int
	Positions    int   // of the longest prompt with its reply
	Cache        int64 // keys and values of that prompt
	Work         int64 // activations and scores
	Recording    int64 // sums, and rows that wait to be written
	Disk         int64 // the dump; an estimate
	FLOPs        float64
	Generated    int     // reply tokens that are decoded one at a time: each reads all weights
	CacheRead    float64 // bytes of keys and values that these tokens read
}

// programBytes is the memory that the program takes before it has read anything.
const programBytes = 40 << 20

// Capture predicts the resources that capture.Run needs on the processor.
func Capture(c *capture.Config, m model.Config, threads int) Need {
	var n Need
	weights := m.TokenWeights()
	for i := range c.Prompts {
		if c.Mine == nil || c.Mine(i) {
			n.add(c, &m, &c.Prompts[i], weights)
		}
	}
	pos := int64(n.Positions)
	n.Cache = pos * m.CacheBytes()
	chunk := min(504, pos)
	queries := m.Heads * m.HeadDim
	keysAndValues := m.KVHeads * (m.HeadDim + m.ValueDim)
	activations := 2*m.Hidden + 2*(queries+keysAndValues) + m.Heads*m.ValueDim + 3*m.Intermediate
	n.Work = chunk*4*int64(activations) + int64(threads)*(1<<20+pos*4*14) + int64(m.Vocab)*8 + programBytes

	// Sums over all queries and over the current window, eight bytes per key; blocks that
	// wait to be encoded and written; and garbage that has not been collected yet.
	plan := &c.Header.Plan
	recorded := int64(len(plan.Layers)) * int64(len(plan.Heads)) * pos
	sums := recorded * 8 * totals(plan)
	if plan.PromptWindows > 0 {
		sums += recorded * 8
	}
	waiting := min(64<<20, recorded*4*64)
	n.Recording = sums + waiting + (sums+waiting)/2
	return n
}

// totals returns 1 if the plan wants sums over all prompt queries, else 0.
func totals(plan *dumps.Plan) int64 {
	if plan.NoPromptSums {
		return 0
	}
	return 1
}

// add adds one prompt. weights is the number of weights that a token is multiplied by.
func (n *Need) add(c *capture.Config, m *model.Config, p *prompts.Prompt, weights float64) {
	plan := &c.Header.Plan
	prompt := len(p.Tokens)
	reply := c.ReplyRoom(p)
	n.Prompts++
	n.PromptTokens += prompt
	n.ReplyTokens += reply
	n.Positions = max(n.Positions, prompt+reply)
	info := capture.ModelInfo("", m)
	rows, factors := plan.StoreBytes(&info, prompt, reply)
	if plan.StoreFor(&info, prompt, reply) == dumps.StoreRows {
		n.Disk += rows
	} else {
		n.Disk += factors
	}
	windows := int64(plan.Windows(prompt))
	recorded := int64(len(plan.Layers)) * int64(len(plan.Heads)) * int64(prompt)
	n.Disk += recorded * 5 / 2 * (totals(plan) + windows/2)
	through := prompt // tokens that pass through the model in pieces
	if p.Reply != nil {
		through += reply
	} else {
		n.Generated += reply
		n.CacheRead += float64(m.CacheBytes()) * float64(reply) * (float64(prompt) + float64(reply)/2)
	}
	attention := float64(m.Layers * m.Heads * (m.HeadDim + m.ValueDim))
	n.FLOPs += 2*weights*float64(through) + attention*float64(through)*float64(through)
}

// CardMemory estimates the memory that a run with a plan takes on a card, including the
// weights.
func (n *Need) CardMemory(m *model.Config, plan *dumps.Plan) cuda.Memory {
	summed := len(plan.Layers)
	if plan.NoPromptSums {
		summed = 0
	}
	return m.CardMemory(plan.Compute, n.Positions, summed, len(plan.Heads))
}

// Pace is the expected speed of a run on the processor, per second, and its duration
// at that speed.
type Pace struct{ FLOPs, Bytes, Seconds float64 }

// Pace predicts the duration on a machine with the given rates, for the given bytes
// of packed weights and an arithmetic: f32, bf16 or int8.
func (n *Need) Pace(r cpu.Rates, weights int64, compute string) Pace {
	r = r.OfModel(cpu.Compute(compute))
	return Pace{FLOPs: r.FLOPs, Bytes: r.Bytes, Seconds: n.FLOPs/r.FLOPs + n.Read(weights)/r.Bytes}
}

// Read returns the bytes that decoding reads from memory: all weights and the cache,
// for each token.
func (n *Need) Read(weights int64) float64 {
	return n.CacheRead + float64(n.Generated)*float64(weights)
}
