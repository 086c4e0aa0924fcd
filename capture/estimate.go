package capture

import (
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
)

// Need is what a run needs in addition to the weights. Sizes are in bytes.
type Need struct {
	Prompts      int
	PromptTokens int
	ReplyTokens  int
	Positions    int   // of the longest prompt with its reply
	Cache        int64 // keys and values of that prompt
	Work         int64 // activations and scores
	Recording    int64 // sums and rows that wait
	Disk         int64 // the dump; an estimate
	FLOPs        float64
	Generated    int     // reply tokens that are decoded one at a time: each reads all weights
	CacheRead    float64 // keys and values that these tokens read
}

// programBytes is the memory of the program before it has read anything.
const programBytes = 40 << 20

// Estimate predicts what a run needs on the processor. It reads only the prompts,
// the plan and the configuration of the model.
func Estimate(c *Config, m model.Config, threads int) Need {
	var n Need
	weights := m.TokenWeights()
	for i := range c.Prompts {
		if c.mine(i) {
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

	// Sums over all queries and over the current window, eight bytes per key; blocks
	// that wait to be encoded and written; and garbage that is not collected yet.
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

// add adds one prompt. weights is the number of weights that a token is multiplied
// with.
func (n *Need) add(c *Config, m *model.Config, p *prompts.Prompt, weights float64) {
	plan := &c.Header.Plan
	prompt := len(p.Tokens)
	reply := c.replyRoom(p)
	n.Prompts++
	n.PromptTokens += prompt
	n.ReplyTokens += reply
	n.Positions = max(n.Positions, prompt+reply)
	rows, factors := StoreBytes(plan, *m, prompt, reply)
	if storeOf(plan, m, prompt, reply) == dumps.StoreRows {
		n.Disk += rows
	} else {
		n.Disk += factors
	}
	windows := int64(windowCount(plan, prompt))
	recorded := int64(len(plan.Layers)) * int64(len(plan.Heads)) * int64(prompt)
	n.Disk += recorded * 5 / 2 * (totals(plan) + windows/2)
	through := prompt // tokens that are read in pieces
	if p.Reply != nil {
		through += reply
	} else {
		n.Generated += reply
		n.CacheRead += float64(m.CacheBytes()) * float64(reply) * (float64(prompt) + float64(reply)/2)
	}
	attention := float64(m.Layers * m.Heads * (m.HeadDim + m.ValueDim))
	n.FLOPs += 2*weights*float64(through) + attention*float64(through)*float64(through)
}

// CardMemory estimates the memory that a run with a plan takes on a card, its
// weights included.
func (n *Need) CardMemory(m *model.Config, plan *dumps.Plan) cuda.Memory {
	summed := len(plan.Layers)
	if plan.NoPromptSums {
		summed = 0
	}
	return m.CardMemory(plan.Compute, n.Positions, summed, len(plan.Heads))
}

// storeOf returns the form in which a prompt is recorded: that of the plan or, if the
// plan leaves it open, the smaller one.
func storeOf(plan *dumps.Plan, m *model.Config, prompt, reply int) dumps.Store {
	if plan.Store != dumps.StoreAuto && plan.Store != "" {
		return plan.Store
	}
	if rows, factors := StoreBytes(plan, *m, prompt, reply); factors < rows {
		return dumps.StoreFactors
	}
	return dumps.StoreRows
}

// StoreBytes estimates the size of a prompt's recorded rows in each of the two forms.
func StoreBytes(plan *dumps.Plan, m model.Config, prompt, reply int) (rows, factors int64) {
	layers := float64(len(plan.Layers))
	heads := float64(len(plan.Heads))
	recorded := float64(min(plan.WindowRows, prompt) + reply)
	keys := float64(prompt + reply)
	rows = int64(layers * heads * recorded * keys * plan.Precision.BitsPerWeight() / 8)
	states := recorded*float64(m.Heads*m.HeadDim) + keys*float64(m.KVHeads*m.HeadDim)
	factors = int64(layers * states * plan.Precision.BitsPerState() / 8)
	if plan.Values {
		values := int64(layers * keys * float64(m.KVHeads*m.HeadDim) * plan.Precision.BitsPerState() / 8)
		rows += values
		factors += values
	}
	return rows, factors
}

// attained is the share of the measured rates that a whole model reaches: attention,
// normalization and recording are slower than matrix products.
const attained = 0.87

// Pace is the expected speed of a run on the processor, per second, and its duration
// at that speed.
type Pace struct{ FLOPs, Bytes, Seconds float64 }

// Pace predicts the duration on a machine with the given rates, for the given bytes
// of packed weights and an arithmetic: f32, bf16 or int8.
func (n *Need) Pace(r cpu.Rates, weights int64, compute string) Pace {
	p := Pace{FLOPs: r.FLOPs * attained, Bytes: r.Bytes * attained}
	switch cpu.Compute(compute) { // speed compared with float32, attention included
	case cpu.BF16:
		p.FLOPs /= 0.75
	case cpu.Int8:
		p.FLOPs /= 0.65
	}
	p.Seconds = n.FLOPs/p.FLOPs + n.Read(weights)/p.Bytes
	return p
}

// Read returns the bytes that decoding reads from memory: all weights and the cache,
// for each token.
func (n *Need) Read(weights int64) float64 {
	return n.CacheRead + float64(n.Generated)*float64(weights)
}
