package model

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// Step appends tokens[i] to sequence list[i], for all sequences together. On the
// processor, the weights are then read once for all of them; reading the weights is
// most of the cost of a single token. passes[i] sets what sequence i hands over, as in
// Forward; its only row is row 0. The numbers are those of Forward, bit for bit, whatever
// the other sequences are.
func (m *Model) Step(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error {
	if len(list) != len(tokens) || len(list) != len(passes) {
		return fmt.Errorf("%d sequences, %d tokens, %d passes: want equal numbers", len(list), len(tokens), len(passes))
	}
	restart := false
	for i, s := range list {
		restart = restart || m.config.Rope.Restart && s.long != m.config.Rope.Varies(max(passes[i].Length, s.Len()+1))
	}
	if len(list) < 2 || restart {
		return oneByOne(ctx, list, tokens, passes)
	}
	if err := m.backend.step(ctx, list, tokens, passes); err != nil {
		return m.orChanged(err)
	}
	if m.config.Rope.Restart {
		for i, s := range list {
			s.tokens = append(s.tokens, tokens[i])
		}
	}
	return m.orChanged(nil)
}

// oneByOne runs the sequences of a step one after another.
func oneByOne(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error {
	for i, s := range list {
		if err := s.Forward(ctx, tokens[i:i+1], passes[i]); err != nil {
			return err
		}
	}
	return nil
}

func (p *processor) step(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error {
	b := &batch{processor: p, passes: slices.Clone(passes), pos: make([]int, len(list))}
	for i, s := range list {
		seq, ok := s.seq.(*cpuSequence)
		if !ok || seq.processor != p || slices.Contains(b.list, seq) {
			return fmt.Errorf("sequence %d belongs to another model or is listed twice", i)
		}
		if id := tokens[i]; id < 0 || int(id) >= p.config.Vocab {
			return fmt.Errorf("token %d, the vocabulary has %d", id, p.config.Vocab)
		}
		b.list = append(b.list, seq)
		b.pos[i] = seq.length()
	}
	b.lead = b.list[0]
	b.lead.apart = true
	defer func() { b.lead.apart = false }()
	return b.run(ctx, tokens)
}

// batch is one step of several sequences. Its chunk has one row per sequence.
type batch struct {
	*processor
	list   []*cpuSequence
	passes []Pass
	pos    []int        // by sequence
	lead   *cpuSequence // the sequence whose buffers are used
}

func (b *batch) run(ctx context.Context, tokens []int32) error {
	c := b.config
	in := &chunk{n: len(b.list), p: &Pass{Logits: b.logits}}
	in.x = grow(&b.buf.x, in.n*c.Hidden)
	for i := range b.list {
		if err := b.lead.embedding(in.x[i*c.Hidden:(i+1)*c.Hidden], tokens[i], b.pos[i]); err != nil {
			return err
		}
	}
	if err := b.lead.begin(tokens, in); err != nil {
		return err
	}
	angles := b.rotations()
	err := b.eachLayer(ctx, in.n, func(l int) error {
		if shape := &c.Shapes[l]; shape.HasAttention() {
			q, k, v := b.lead.states(l, in, angles.layer(shape))
			b.attend(l, q, k, v)
		} else if shape.Kind != None {
			b.lead.normedInput(l, in)
		}
		if b.layers[l].mixer != nil {
			b.lead.mix(l, in.n, 0, b.mixerStates(l))
		}
		b.lead.finish(l, in, 0)
		return nil
	})
	if err != nil {
		return err
	}
	for _, s := range b.list {
		s.seen++
	}
	b.lead.logits(in)
	return b.endPass()
}

// logits passes on the logits of a sequence that wants them.
func (b *batch) logits(row int, l []float32) {
	if p := &b.passes[row]; p.Logits != nil && p.LogitsFrom < 1 {
		p.Logits(0, l)
	}
}

// rotations joins the rotations of the sequences' positions.
func (b *batch) rotations() rotations {
	all := rotations{of: map[*Rope]turns{}}
	for i, pos := range b.pos {
		all.add(b.config.rotations(max(b.passes[i].Length, pos+1), pos, 1))
	}
	return all
}

// attend computes the attention of each sequence's query over its own cache, of all
// sequences together.
func (b *batch) attend(l int, q, k, v []float32) {
	c := b.config
	shape := &c.Shapes[l]
	nq, no := shape.queryWidth(), shape.outputWidth()
	nk, nv := c.newWidths(l)
	out := grow(&b.buf.attn, len(b.list)*no)
	b.buf.attn = out
	steps := make([]cpu.Step, len(b.list))
	for i, s := range b.list {
		if shape.CacheOf == l {
			s.kv[l].Append(nil, k[i*nk:(i+1)*nk], v[i*nv:(i+1)*nv], 1)
		}
		query := cpu.Queries{Q: q[i*nq : (i+1)*nq], Out: out[i*no : (i+1)*no], Rows: 1, Pos0: b.pos[i]}
		if rec := b.recorder(i); rec != nil {
			query.Visit = rec.visit(l, 0)
		}
		steps[i] = cpu.Step{KV: s.cache(l), Queries: query}
	}
	a := c.attention(l, slices.Max(b.pos)+1)
	a.Sinks = b.layers[l].sinks
	a.RunSteps(b.pool, steps)
	for i := range b.list {
		if rec := b.recorder(i); rec != nil && rec.States != nil {
			rec.States(l, b.pos[i], 1, q[i*nq:(i+1)*nq], k[i*nk:(i+1)*nk], v[i*nv:(i+1)*nv])
		}
	}
}

// mixerStates returns the states of the sequences in a layer.
func (b *batch) mixerStates(l int) [][]float32 {
	list := make([][]float32, len(b.list))
	for i, s := range b.list {
		list[i] = s.mixerStates[l]
	}
	return list
}

// recorder returns the recorder of a sequence, or nil if nothing is recorded.
func (b *batch) recorder(i int) *Recorder {
	if b.passes[i].RecordFrom > 0 {
		return nil
	}
	return b.passes[i].Recorder
}
