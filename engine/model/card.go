package model

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
)

// ParseDevice reads a device's name: cpu, cuda or cuda:i. cuda is the first
// card.
func ParseDevice(name string) (card int, onCard bool, err error) {
	if name == "cpu" || name == "" {
		return 0, false, nil
	}
	kind, number, numbered := strings.Cut(name, ":")
	if numbered {
		card, err = strconv.Atoi(number)
	}
	if kind != "cuda" || err != nil || card < 0 || numbered && strconv.Itoa(card) != number {
		return 0, false, fmt.Errorf("device %q: want cpu or cuda[:i]", name)
	}
	return card, true, nil
}

// Tokens that callers pass at once.
const (
	piece     = 504
	cardPiece = 4096
)

// loadOnCard reads the weights as they lie and brings them to a card.
func (m *Model) loadOnCard(ck *checkpoint.Checkpoint, index int, o Options) error {
	if err := m.load(ck, nil, cpu.F32); err != nil {
		return err
	}
	var err error
	m.card, err = cuda.Load(index, m.decoder(), cuda.Options{Compute: o.Compute, Chunk: o.Chunk, Log: o.Log})
	return err
}

// sizes are what the memory of a card follows from.
func (c *Config) sizes() cuda.Sizes {
	s := cuda.Sizes{
		Layers: c.Layers, Hidden: c.Hidden, Intermediate: c.Intermediate, Heads: c.Heads, KVHeads: c.KVHeads,
		HeadDim: c.HeadDim, ValueDim: c.ValueDim, Vocab: c.Vocab, Experts: c.Experts, TopExperts: c.TopExperts,
		ExpertSize: c.ExpertSize, SharedSize: c.SharedSize, TiedHead: c.TiedHead, Plain: c.Plain,
	}
	for l := range c.Layers {
		if c.sparse(l) {
			s.SparseLayers++
		}
	}
	return s
}

// CardMemory estimates what a sequence of n positions takes of a card whose
// recorder sums over the queries of some layers' heads.
func (c *Config) CardMemory(compute string, n, layers, heads int) cuda.Memory {
	s := c.sizes()
	return s.Memory(compute, 0, n, layers, heads)
}

// kinds of rotation, as a card's layers name them.
const (
	noTurns = iota
	globalTurns
	localTurns
)

func (c *Config) ropeKind(layer int) int {
	switch {
	case c.NoRope != nil && c.NoRope[layer]:
		return noTurns
	case c.LocalRope != nil && c.LayerWindows[layer] > 0:
		return localTurns
	}
	return globalTurns
}

// decoder describes the model to a card: all that a family does differently is
// in the configuration and in what its layers hold.
func (m *Model) decoder() *cuda.Decoder {
	c := &m.config
	return &cuda.Decoder{
		Sizes: c.sizes(), NormEps: c.NormEps, Scale: c.Scale, SoftCap: c.SoftCap, LogitCap: c.LogitCap,
		EmbedScale: c.EmbedScale, ResidualScale: c.ResidualScale, LogitScale: c.LogitScale,
		ClipQKV: c.ClipQKV, Activation: c.Activation, LayerNorm: c.LayerNorm, NoPreNorms: c.arch.NoPreNorms, Parallel: c.Parallel,
		WideQKNorm: c.arch.WideQKNorm, AdjacentPairs: c.Rope.Pairing == cpu.Adjacent,
		Embed: m.embed, Places: m.places, Head: m.head.Parts()[0], Norm: m.norm, NormBias: m.normBias, HeadBias: m.headBias,
		Layer: func(i int) (*cuda.Layer, error) { return m.cardLayer(i), nil },
		Turns: func(kind, length, pos0, n int) cuda.Turns {
			var t turns
			switch kind {
			case globalTurns:
				t = c.Rope.at(max(length, pos0+n)).turns(pos0, n)
			case localTurns:
				t = c.LocalRope.turns(pos0, n)
			}
			return cuda.Turns{Cos: t.cos, Sin: t.sin, Half: t.half}
		},
		Route: func(logits []float32, take func(int, float32)) {
			for _, r := range c.route(logits) {
				take(r.expert, r.weight)
			}
		},
	}
}

func (m *Model) cardLayer(i int) *cuda.Layer {
	w := &m.layers[i]
	l := &cuda.Layer{
		AttnNorm: w.attnNorm, FFNNorm: w.ffnNorm, AttnPostNorm: w.attnPostNorm, FFNPostNorm: w.ffnPostNorm, QNorm: w.qNorm, KNorm: w.kNorm,
		AttnNormBias: w.attnNormBias, FFNNormBias: w.ffnNormBias, GateUpBias: w.gateUpBias, DownBias: w.downBias,
		QKVBias: w.qkvBias, OutBias: w.outBias, QKV: w.qkv.Parts(), Out: w.out.Parts(),
		Window: m.config.LayerWindows[i], Rope: m.config.ropeKind(i),
	}
	if w.router == nil {
		l.GateUp, l.Down = w.gateUp.Parts(), w.down.Parts()
		return l
	}
	l.Router = w.router.Parts()
	for _, e := range w.experts {
		l.Experts = append(l.Experts, cuda.Expert{GateUp: e.gateUp.Parts(), Down: e.down.Parts()})
	}
	if w.shared != nil {
		l.Shared = &cuda.Expert{GateUp: w.shared.gateUp.Parts(), Down: w.shared.down.Parts()}
		l.SharedGate = w.sharedGate
	}
	return l
}

// onCard passes tokens on to the card's sequence, at most step at a time where
// that is 1.
func (s *Session) onCard(ctx context.Context, tokens []int32, step int, p Pass) error {
	out := cuda.Pass{LogitsFrom: p.LogitsFrom, Length: p.Length, Logits: p.Logits, Hidden: p.Hidden}
	if step == 1 {
		out.Step = 1
	}
	if p.Logits == nil {
		out.LogitsFrom = len(tokens)
	}
	if p.Recorder == nil {
		return s.card.Forward(ctx, tokens, out)
	}
	r := p.Recorder
	out.States = r.States
	if r.Wants != nil {
		out.Record = r.Wants
		out.Rows = r.Rows
		out.Sums = r.Sums
		out.Whole = r.Whole
		out.Cells = r.Cells
		out.Done = r.Done
		return s.card.Forward(ctx, tokens, out)
	}
	start := s.Len() // the position of the pass's row 0
	out.Record = func(_, pos0, n int) cuda.Record {
		end := pos0 + n
		from := max(pos0, min(start+p.RecordFrom, end))
		w := cuda.Record{Rows: end, LSE: end, States: end}
		if r.Tile != nil {
			w.Rows = from
			w.LSE = from
		}
		if r.States != nil {
			w.States = from
		}
		return w
	}
	out.Rows = func(layer int, rows *cuda.Rows) {
		r.Tile(layer, &cpu.Tile{
			Head:    rows.Head,
			Row0:    rows.Pos0 - start,
			Rows:    rows.Rows,
			Pos0:    rows.Pos0,
			Keys:    rows.Keys,
			Stride:  rows.Stride,
			Weights: rows.Weights,
			LSE:     rows.LSE,
		})
	}
	return s.card.Forward(ctx, tokens, out)
}
