// Package forecast predicts the memory, disk space and time of a capture. It reads the
// prompts, the plan and the configuration of the model, but no weights.
package forecast

import (
	"slices"

	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/capture/prompts"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/simd"
)

// Need holds the resources that a run needs in addition to the weights. Sizes are in
// bytes.
type Need struct {
	Prompts      int
	PromptTokens int
	ReplyTokens  int
	Positions    int   // of the longest prompt with its reply
	Batch        int   // replies that are decoded together
	Cache        int64 // keys and values of that prompt, for each reply of the batch
	States       int64 // states of layers without attention, of each sequence and where a document ended
	Work         int64 // activations and scores
	Recording    int64 // sums, and rows that wait to be written
	Disk         int64 // the dump; an estimate
	FLOPs        float64
	Generated    int     // reply tokens that are decoded: each step of the batch reads all weights
	CacheRead    float64 // bytes of keys and values that these tokens read
	Passes       int     // through all layers, if those that read many tokens take them together

	replies   int   // prompts whose reply is generated
	documents bool  // some prompts name a document
	held      int64 // most bytes of a prompt in the dump
	rows      int64 // most bytes of reply rows that wait for a block
	pieces    int   // of given replies
}

// programBytes is the memory that the program takes before it has read anything.
const programBytes = 40 << 20

// Capture predicts the resources that capture.Run needs on the processor.
func Capture(c *capture.Config, m model.Config, threads int) Need { return need(c, &m, threads, false) }

// Streamed is like Capture for a model that reads some weights from the file in each
// pass. As many prompts as replies in the batch are then read together.
func Streamed(c *capture.Config, m model.Config, threads int) Need { return need(c, &m, threads, true) }

func need(c *capture.Config, m *model.Config, threads int, streams bool) Need {
	var n Need
	weights := m.TokenWeights()
	for i := range c.Prompts {
		if c.Mine == nil || c.Mine(i) {
			n.add(c, m, &c.Prompts[i], weights)
		}
	}
	n.Batch = max(1, min(c.Batch, n.replies))
	together := 1 // prompts that are read together
	if streams {
		n.Batch = max(1, min(c.Batch, n.Prompts))
		together = n.Batch
	}
	n.Passes = (n.Prompts+n.pieces+together-1)/together + (n.Generated+n.Batch-1)/n.Batch
	pos := int64(n.Positions)
	n.Cache = int64(n.Batch) * pos * m.CacheBytes()
	n.States = int64(n.Batch) * m.StateBytes()
	if n.Batch > 1 && n.documents { // each reply has a copy of the document's cache
		n.Cache += pos * m.CacheBytes()
	}
	if n.documents {
		n.States += 2 * m.StateBytes()
	}
	chunk := min(int64(cpu.PieceRows()), pos)
	queries, keysAndValues, outputs := 0, 0, 0
	for _, l := range m.AttentionLayers() {
		s := &m.Shapes[l]
		queries = max(queries, s.Heads*s.KeyDim)
		keysAndValues = max(keysAndValues, s.KVHeads*(s.KeyDim+s.ValueDim))
		outputs = max(outputs, s.Heads*s.ValueDim)
	}
	feedForward := m.Intermediate
	if m.Intermediates != nil {
		feedForward = slices.Max(m.Intermediates)
	}
	activations := 2*m.Hidden + 2*(queries+keysAndValues) + outputs + 3*feedForward + m.MixerWidth() + m.HeldWidth()
	if m.Latent != nil { // queries and outputs of the heads, and the values of a layer
		activations += m.Heads * max(m.Latent.Plain+m.Latent.Rotated, m.Latent.Value)
		n.Work = pos * int64(m.ValueDim) * 4
	}
	n.Work += chunk*4*int64(activations) + int64(threads)*(1<<20+pos*4*14) + int64(m.Vocab)*8 + programBytes
	if n.Batch > 1 { // scores of a row of each reply
		n.Work += int64(n.Batch) * int64(m.Heads) * pos * 4
	}
	if streams { // the hidden states of all tokens of the prompts
		n.Work += int64(together) * pos * int64(m.Hidden+m.HeldWidth()) * 4
	}
	if simd.HasTiles() {
		// Products by tiles split a float32 into three values of two bytes: the rows of a
		// piece, and the keys and values of one layer of the prompt that is being read.
		// The replies of a batch do not use tiles.
		n.Work += chunk*6*int64(feedForward) + pos*int64(keysAndValues)*6
	}

	// Sums over all queries and over the current window, eight bytes per key; blocks that
	// wait to be encoded and written; and garbage that has not been collected yet.
	plan := &c.Header.Plan
	recorded := int64(len(plan.Layers)) * int64(len(plan.Heads)) * pos
	sums := recorded * 8 * totals(plan)
	if plan.PromptWindows > 0 {
		sums += recorded * 8
	}
	waiting := min(64<<20, recorded*4*64)
	sums *= int64(together)
	n.Recording = sums + waiting + (sums+waiting)/2
	if n.Batch > 1 || streams { // prompts stay in memory, encoded, until their replies end
		n.Recording += int64(n.Batch)*n.held + int64(n.Batch-1)*n.rows
	}
	return n
}

// Memory returns the memory of a run whose weights take the given bytes.
func (n *Need) Memory(weights int64) int64 {
	return weights + n.Cache + n.States + n.Work + n.Recording
}

// MostBatch is the largest batch that Batch returns. The gain of larger ones is small.
const MostBatch = 8

// Most returns the largest number up to most that fits if all smaller ones do, and 1 if 2
// does not fit.
func Most(most int, fits func(n int) bool) int {
	n := 1
	for n < most && fits(n+1) {
		n++
	}
	return n
}

// Batch returns how many replies of a capture can be decoded together if the machine has
// the given memory available, in bytes, including that for the weights: as many as leave
// half of it free, at most MostBatch.
func Batch(c capture.Config, m model.Config, weights int64, threads int, available int64) int {
	return Most(MostBatch, func(n int) bool {
		c.Batch = n
		need := Capture(&c, m, threads)
		return need.Batch == n && need.Memory(weights) <= available/2
	})
}

// CardBatch returns how many replies of a capture can be decoded together on a card whose
// weights leave the given bytes free: as many as leave half of these free, and, of what is
// recorded, half of the host's available memory, at most MostBatch.
func CardBatch(c capture.Config, m model.Config, free, available int64) int {
	return Most(MostBatch, func(n int) bool {
		c.Batch = n
		need := Capture(&c, m, 1)
		card := need.CardMemory(&m, &c.Header.Plan)
		return need.Batch == n && card.Total()-card.Weights <= free/2 && need.Recording <= available/2
	})
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
	n.documents = n.documents || p.Document != ""
	n.PromptTokens += prompt
	n.ReplyTokens += reply
	n.Positions = max(n.Positions, prompt+reply)
	info := capture.ModelInfo("", m)
	rows, factors := plan.StoreBytes(&info, prompt, reply)
	disk := factors
	waiting := int64(min(reply, 64)) * int64(m.Heads*(m.HeadDim+1)) * 4 * int64(len(plan.Layers))
	if plan.StoreFor(&info, prompt, reply) == dumps.StoreRows {
		disk = rows
		waiting = min(64<<20, int64(reply)*int64(prompt+reply)*4*int64(len(plan.Layers)*len(plan.Heads)))
	}
	windows := int64(plan.Windows(prompt))
	recorded := int64(len(plan.Layers)) * int64(len(plan.Heads)) * int64(prompt)
	disk += recorded * 5 / 2 * (totals(plan) + windows/2)
	n.Disk += disk
	n.held = max(n.held, disk)
	through := prompt // tokens that pass through the model in pieces
	if p.Reply != nil {
		through += reply
		n.pieces += (reply + cpu.PieceRows() - 1) / cpu.PieceRows()
	} else {
		n.Generated += reply
		n.replies += min(1, reply)
		n.rows = max(n.rows, waiting)
		n.CacheRead += float64(m.CacheBytes()) * float64(reply) * (float64(prompt) + float64(reply)/2)
	}
	attention := 0.0
	for _, l := range m.AttentionLayers() {
		shape := &m.Shapes[l]
		attention += float64(shape.Heads * (shape.KeyDim + shape.ValueDim))
	}
	n.FLOPs += 2*weights*float64(through) + attention*float64(through)*float64(through)
}

// CardMemory estimates the memory that a run with a plan takes on a card, including the
// weights, and a cache for each reply of a batch.
func (n *Need) CardMemory(m *model.Config, plan *dumps.Plan) cuda.Memory {
	memory := m.CardMemory(plan.Compute, n.Positions, cuda.Recorded{
		Layers: len(plan.Layers), Heads: len(plan.Heads), Sums: !plan.NoPromptSums, Side: plan.Overview,
	})
	memory.Cache *= int64(n.Batch)
	return memory
}

// Pace is the expected speed of a run on the processor, per second, and its duration
// at that speed.
type Pace struct{ FLOPs, Bytes, Seconds float64 }

// Pace predicts the duration on a machine with the given rates, for the given bytes
// of packed weights and an arithmetic: f32 or bf16.
func (n *Need) Pace(r cpu.Rates, weights int64, compute string) Pace {
	r = r.OfModel(cpu.Compute(compute))
	return Pace{FLOPs: r.FLOPs, Bytes: r.Bytes, Seconds: n.FLOPs/r.FLOPs + n.Read(weights)/r.Bytes}
}

// Read returns the bytes that decoding reads from memory: the cache for each token, and
// all weights for each token of the batch together.
func (n *Need) Read(weights int64) float64 {
	return n.CacheRead + float64(n.Generated)/float64(max(1, n.Batch))*float64(weights)
}
