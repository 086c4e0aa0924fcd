package model

import (
	"context"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// Step appends one token to each of several sequences of a model, all at once:
// the weights are read once for all of them, which is what a single token costs.
// passes[i] says what sequence i hands out, as in Forward; its rows are row 0.
// Weights agree with Forward's as far as float32 sums do.
func (m *Model) Step(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error {
	if len(list) != len(tokens) || len(list) != len(passes) {
		return fmt.Errorf("%d sequences, %d tokens, %d passes", len(list), len(tokens), len(passes))
	}
	if len(list) < 2 || m.card != nil {
		for i, s := range list {
			if err := s.Forward(ctx, tokens[i:i+1], passes[i]); err != nil {
				return err
			}
		}
		return nil
	}
	for i, s := range list {
		if s.m != m || slices.Index(list, s) != i {
			return fmt.Errorf("sequence %d is of another model, or stands twice", i)
		}
		if id := tokens[i]; id < 0 || int(id) >= m.config.Vocab {
			return fmt.Errorf("token %d, the vocabulary has %d", id, m.config.Vocab)
		}
	}
	b := &batch{m: m, list: list, passes: slices.Clone(passes), lead: list[0], pos: make([]int, len(list))}
	return b.run(ctx, tokens)
}

// batch is one step of several sequences; lead lends its buffers.
type batch struct {
	m      *Model
	list   []*Session
	passes []Pass
	lead   *Session
	pos    []int
}

func (b *batch) run(ctx context.Context, tokens []int32) error {
	c, n := &b.m.config, len(b.list)
	x := grow(&b.lead.buf.x, n*c.Hidden)
	for i, s := range b.list {
		b.pos[i] = s.Len()
		if err := b.lead.embed(x[i*c.Hidden:(i+1)*c.Hidden], tokens[i], b.pos[i]); err != nil {
			return err
		}
	}
	global := b.turns(func(i int) *Rope { return c.Rope.at(max(b.passes[i].Length, b.pos[i]+1)) })
	local := global
	if c.LocalRope != nil {
		local = b.turns(func(int) *Rope { return c.LocalRope })
	}
	for l := range b.m.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		t := global
		if c.LayerWindows[l] > 0 {
			t = local
		}
		if c.NoRope != nil && c.NoRope[l] {
			t = turns{}
		}
		q, k, v := b.lead.project(l, x, t, n)
		b.attend(l, q, k, v)
		b.lead.finish(l, x, 0, n)
	}
	for i, p := range b.passes {
		if p.Logits != nil && p.LogitsFrom < 1 {
			continue
		}
		b.passes[i].Logits = nil
	}
	b.lead.logits(x, n, 0, Pass{Logits: func(row int, l []float32) {
		if show := b.passes[row].Logits; show != nil {
			show(0, l)
		}
	}})
	return nil
}

// turns joins the rotations of the sequences' positions.
func (b *batch) turns(rope func(i int) *Rope) turns {
	var all turns
	for i, pos := range b.pos {
		t := rope(i).turns(pos, 1)
		all.cos, all.sin, all.half = append(all.cos, t.cos...), append(all.sin, t.sin...), t.half
	}
	return all
}

// attend lets each sequence's query see its own cache.
func (b *batch) attend(l int, q, k, v []float32) {
	c, n := &b.m.config, len(b.list)
	nq, nk, nv, no := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.KVHeads*c.ValueDim, c.Heads*c.ValueDim
	out := grow(&b.lead.buf.attn, n*no)
	b.lead.buf.attn = out
	a := cpu.Attention{Heads: c.Heads, KeyDim: c.HeadDim, ValueDim: c.ValueDim, Scale: c.Scale, SoftCap: c.SoftCap, Window: c.LayerWindows[l]}
	for i, s := range b.list {
		qi, ki, vi := q[i*nq:(i+1)*nq], k[i*nk:(i+1)*nk], v[i*nv:(i+1)*nv]
		s.kv[l].Append(nil, ki, vi, 1)
		query := cpu.Queries{Q: qi, Out: out[i*no : (i+1)*no], Rows: 1, Pos0: b.pos[i]}
		rec := b.passes[i].Recorder
		if rec == nil || b.passes[i].RecordFrom > 0 {
			a.Run(b.m.pool, s.kv[l], query)
			continue
		}
		query.Visit = rec.visit(l, 0)
		a.Run(b.m.pool, s.kv[l], query)
		if rec.States != nil {
			rec.States(l, b.pos[i], 1, qi, ki, vi)
		}
	}
}
