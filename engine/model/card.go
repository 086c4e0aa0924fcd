package model

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
)

// cardPiece is the number of tokens that callers should pass to a card at once.
const cardPiece = 4096

// cardBackend is the backend that runs on a card.
type cardBackend struct{ cuda.Model }

func (b cardBackend) newSequence() sequence { return cardSequence{b.NewSequence()} }
func (b cardBackend) piece() int            { return cardPiece }
func (b cardBackend) weightBytes() int64    { return b.WeightBytes() }
func (b cardBackend) close()                { b.Close() }

func (b cardBackend) step(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error {
	sequences := make([]cuda.Sequence, len(list))
	out := make([]cuda.Pass, len(list))
	for i, s := range list {
		seq, ok := s.seq.(cardSequence)
		if !ok || s.m.backend != backend(b) || slices.Contains(sequences, seq.Sequence) {
			return fmt.Errorf("sequence %d belongs to another model or is listed twice", i)
		}
		p := passes[i]
		if p.Hidden != nil {
			return oneByOne(ctx, list, tokens, passes)
		}
		if _, err := s.prepare(tokens[i:i+1], &p); err != nil {
			return err
		}
		sequences[i] = seq.Sequence
		out[i] = seq.pass(1, p)
	}
	return b.Step(ctx, sequences, tokens, out)
}

// cardSequence is a sequence on a card.
type cardSequence struct{ cuda.Sequence }

func (s cardSequence) length() int         { return s.Len() }
func (s cardSequence) inMemory() bool      { return false }
func (s cardSequence) cacheBytes() int64   { return s.CacheBytes() }
func (s cardSequence) reserve(n int) error { return s.Reserve(n) }
func (s cardSequence) mark()               {}
func (s cardSequence) close()              { s.Close() }

func (s cardSequence) truncate(n int) error {
	s.Truncate(n)
	return nil
}

func (s cardSequence) copy(n, room int) (sequence, error) {
	c, err := s.Copy(n, room)
	if err != nil {
		return nil, err
	}
	return cardSequence{c}, nil
}

func (s cardSequence) keys(layer, pos, n int) ([]float32, error)   { return s.Keys(layer, pos, n) }
func (s cardSequence) values(layer, pos, n int) ([]float32, error) { return s.Values(layer, pos, n) }

func (s cardSequence) slots(int) ([]int, error) {
	return nil, errors.New("a compressed cache on a card cannot be compressed again: use --device cpu")
}

func (s cardSequence) stores(int) ([]Store, error) {
	return nil, errors.New("the keys of a compressed cache cannot be read from a card: use --device cpu")
}

func (s cardSequence) choose(layer int, q []float32, n int, picks []Pick) ([][][]int32, bool, error) {
	keep, err := s.Select(layer, q, n, picks)
	var small *cuda.MemoryError
	if errors.As(err, &small) {
		return nil, false, nil
	}
	return keep, err == nil, err
}

func (s cardSequence) compress(keep [][][]int32) (sequence, error) {
	c, err := s.Compress(keep)
	if err != nil {
		return nil, err
	}
	return cardSequence{c}, nil
}

func (s cardSequence) quantize(CacheFormat) error {
	return errors.New("a cache on a card cannot be quantized: use --device cpu")
}

func (s cardSequence) forward(ctx context.Context, tokens []int32, single bool, p Pass) error {
	out := s.pass(len(tokens), p)
	if single {
		out.Step = 1
	}
	return s.Forward(ctx, tokens, out)
}

// pass returns what a card hands over of a pass of n tokens.
func (s cardSequence) pass(n int, p Pass) cuda.Pass {
	out := cuda.Pass{LogitsFrom: p.LogitsFrom, Length: p.Length, Logits: p.Logits, Hidden: p.Hidden}
	if p.Logits == nil {
		out.LogitsFrom = n
	}
	if p.Recorder != nil {
		p.Recorder.watchCard(&out, s.Len(), p.RecordFrom)
	}
	return out
}

// watchCard sets the callbacks of a card's pass that begins at position start. A
// recorder without Wants gets all weights from row recordFrom of the pass on.
func (r *Recorder) watchCard(p *cuda.Pass, start, recordFrom int) {
	p.States = r.States
	if r.Wants != nil {
		p.Record = r.Wants
		p.Rows = r.Rows
		p.Sums = r.Sums
		p.Whole = r.Whole
		p.Cells = r.Cells
		p.Done = r.Done
		return
	}
	p.Record = func(_, pos0, n int) cuda.Record {
		end := pos0 + n
		from := max(pos0, min(start+recordFrom, end))
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
	p.Rows = func(layer int, rows *cuda.Rows) {
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
}

// NoCard returns what a model needs that cards do not support, or an empty string.
func (c *Config) NoCard() string {
	if what := c.differ(); what != "" {
		return what
	}
	switch {
	case c.recurrent():
		return "layers with both attention and a recurrence"
	case c.Factors != nil:
		return "constants that multiply queries, keys and outputs"
	case c.arch.OutputGate:
		return "attention with a gate on its output"
	case c.QueryGrowth != 0:
		return "a model whose queries grow with their position"
	case c.KeyBias != nil:
		return "a model with biases of the positions (ALiBi)"
	case c.ValueNorm:
		return "a model that normalizes values"
	case c.BareQKNorm:
		return "a model that normalizes queries and keys without weights"
	case c.arch.NormLast:
		return "a model that normalizes queries and keys after the rotation"
	case c.Experts > 0 && c.Router.Biased:
		return "a mixture whose router has a bias"
	case c.SharedSize > 0 && !c.SharedGate:
		return "a mixture with a shared expert without a gate"
	}
	return ""
}

// loadOnCard reads the weights as they are in the file and brings them to a card.
func (m *Model) loadOnCard(ck *checkpoint.Checkpoint, index int, o Options) error {
	if what := m.config.NoCard(); what != "" {
		return &cuda.UnsupportedError{What: what}
	}
	var err error
	if m.weights, err = loadWeights(ck, &m.config, false, cpu.F32); err != nil {
		return err
	}
	card, err := cuda.Load(index, m.decoder(), cuda.Options{Compute: o.Compute, Chunk: o.Chunk, Log: o.Log})
	if err != nil {
		return err
	}
	m.backend = cardBackend{card}
	return nil
}

// sizes returns the sizes that determine the memory needed on a card.
func (c *Config) sizes() cuda.Sizes {
	s := cuda.Sizes{
		Layers:       c.Layers,
		Hidden:       c.Hidden,
		Intermediate: c.Intermediate,
		Heads:        c.Heads,
		KVHeads:      c.KVHeads,
		HeadDim:      c.HeadDim,
		ValueDim:     c.ValueDim,
		Vocab:        c.Vocab,
		Experts:      c.Experts,
		TopExperts:   c.TopExperts,
		ExpertSize:   c.ExpertSize,
		SharedSize:   c.SharedSize,
		TiedHead:     c.TiedHead,
		Plain:        c.Plain,
	}
	for l := range c.Layers {
		if c.sparse(l) {
			s.SparseLayers++
		}
	}
	return s
}

// decoder describes the model to a card. The configuration and the set of weights per
// layer express the differences between families.
func (m *Model) decoder() *cuda.Decoder {
	c := &m.config
	w := m.weights
	return &cuda.Decoder{
		Sizes:         c.sizes(),
		NormEps:       c.NormEps,
		Scale:         c.Scale,
		SoftCap:       c.SoftCap,
		LogitCap:      c.LogitCap,
		EmbedScale:    c.EmbedScale,
		ResidualScale: c.ResidualScale,
		LogitScale:    c.LogitScale,
		ClipQKV:       c.ClipQKV,
		Activation:    c.Activation,
		LayerNorm:     c.LayerNorm,
		NoPreNorms:    c.arch.NoPreNorms,
		Parallel:      c.Parallel,
		WideQKNorm:    c.arch.WideQKNorm,
		AdjacentPairs: c.Rope.Pairing == cpu.Adjacent,

		Embed:    w.embed,
		Places:   w.places,
		Head:     w.head.Parts()[0],
		Norm:     w.norm,
		NormBias: w.normBias,
		HeadBias: w.headBias,
		Layer:    func(i int) (*cuda.Layer, error) { return m.cardLayer(i), nil },
		Turns:    c.cardTurns,
		Route: func(logits []float32, take func(int, float32)) {
			for _, r := range c.route(logits, nil) {
				take(r.expert, r.weight)
			}
		},
	}
}

// The kinds of rotation by which a card knows the rotation of a layer.
const (
	noTurns = iota
	globalTurns
	localTurns
)

// ropeKind returns the kind of rotation of a layer.
func (c *Config) ropeKind(layer int) int {
	switch {
	case c.Shapes[layer].Rope == nil:
		return noTurns
	case c.hasLocalRope(layer):
		return localTurns
	}
	return globalTurns
}

// cardTurns returns the turns of positions pos0 to pos0+n-1 for a kind of rotation, in
// a sequence of at least length tokens.
func (c *Config) cardTurns(kind, length, pos0, n int) cuda.Turns {
	var t turns
	switch kind {
	case globalTurns:
		t = c.Rope.at(max(length, pos0+n)).turns(pos0, n)
	case localTurns:
		t = c.LocalRope.turns(pos0, n)
	}
	return cuda.Turns{Cos: t.cos, Sin: t.sin, Half: t.half}
}

func (m *Model) cardLayer(i int) *cuda.Layer {
	w := &m.weights.layers[i]
	l := &cuda.Layer{
		AttnNorm:     w.attnNorm,
		FFNNorm:      w.ffnNorm,
		AttnNormBias: w.attnNormBias,
		FFNNormBias:  w.ffnNormBias,
		AttnPostNorm: w.attnPostNorm,
		FFNPostNorm:  w.ffnPostNorm,
		QNorm:        w.qNorm,
		KNorm:        w.kNorm,
		QKV:          w.qkv.Parts(),
		QKVBias:      w.qkvBias,
		Out:          w.out.Parts(),
		OutBias:      w.outBias,
		GateUpBias:   w.gateUpBias,
		DownBias:     w.downBias,
		Window:       m.config.LayerWindows[i],
		Rope:         m.config.ropeKind(i),
	}
	if w.router == nil {
		l.GateUp = w.gateUp.Parts()
		l.Down = w.down.Parts()
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
