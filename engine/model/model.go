// Package model runs decoders: one engine, driven by config.json or GGUF
// metadata; what a family does differently is a line of Architectures.
//
//	m, err := model.Load(ck, model.Options{})
//	s := m.NewSession()
//	err = s.Forward(ctx, tokens, model.Pass{LogitsFrom: len(tokens) - 1, Logits: take})
package model

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/checkpoint"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
	"github.com/attnscope/attnscope/engine/tensor"
)

// Options say how a model is run.
type Options struct {
	Threads int               // 0: one for each core
	Compute string            // f32, bf16 or int8: of the products with the layers' weights; the head's stay f32. On a card: f32, bf16 or f16
	Chunk   int               // tokens that pass a layer together; 0: 504
	Device  string            // cpu, or cuda:i; empty: cpu
	Log     func(line string) // what a user should know of a card; may be nil
}

// Model is a loaded decoder. Its sessions must not run at the same time: each
// uses all threads.
type Model struct {
	config Config
	chunk  int
	pool   *cpu.Pool
	embed  tensor.Tensor
	places *tensor.Tensor // embeddings of positions; nil: heads are rotated
	norm   []float32
	head   *cpu.Matrix

	normBias, headBias []float32
	layers             []layer
	card               cuda.Model // nil: the processor runs it
}

// Load packs the weights of a checkpoint.
func Load(ck *checkpoint.Checkpoint, o Options) (*Model, error) {
	c, err := ReadConfig(ck)
	if err != nil {
		return nil, err
	}
	card, onCard, err := ParseDevice(o.Device)
	if err != nil {
		return nil, err
	}
	compute := cpu.Compute(o.Compute)
	if !onCard && compute != "" && !slices.Contains(cpu.Computes, compute) {
		return nil, fmt.Errorf("compute %q: want one of %v", o.Compute, cpu.Computes)
	}
	m := &Model{config: c, chunk: o.Chunk, pool: cpu.NewPool(o.Threads), layers: make([]layer, c.Layers)}
	if m.chunk < 1 {
		m.chunk = 504 // whole tiles of 28 rows, whole kernels of 14
	}
	if onCard {
		err = m.loadOnCard(ck, card, o)
	} else {
		err = m.load(ck, m.pool, compute)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// load reads the weights; without a pool they stay as they lie in the file.
func (m *Model) load(ck *checkpoint.Checkpoint, pool *cpu.Pool, compute cpu.Compute) (err error) {
	c := &m.config
	l := &loader{ck: ck, c: c, p: pool, used: map[string]bool{}}
	if m.embed, err = l.tensor("embed", -1, ".weight", c.Vocab, c.Hidden); err != nil {
		return err
	}
	if !c.arch.BareNorms {
		if m.norm, err = l.vector("norm", -1, ".weight", c.Hidden, c.NormOffset); err != nil {
			return err
		}
	}
	if m.normBias, err = l.bias("norm", -1, c.Hidden); err != nil {
		return err
	}
	if m.headBias, err = l.bias("head", -1, c.Vocab); err != nil {
		return err
	}
	if c.Learned {
		t, err := l.tensor("positions", -1, ".weight", c.MaxPositions, c.Hidden)
		if err != nil {
			return err
		}
		m.places = &t
	}
	head := m.embed
	if !c.TiedHead {
		if head, err = l.tensor("head", -1, ".weight", c.Vocab, c.Hidden); err != nil {
			return err
		}
		row := make([]float32, c.Hidden)
		for i := range c.Vocab { // the tied head is checked when it is packed
			if err := m.embed.Row(row, i); err != nil {
				return fmt.Errorf("%s: %w", ck.Path(), err)
			}
			for x, v := range row {
				if v-v != 0 {
					return fmt.Errorf("%s: tensor %s: element [%d, %d] is %v: the weights are damaged; fetch the checkpoint again", ck.Path(), m.embed.Name, i, x, v)
				}
			}
		}
	}
	if m.head, err = l.pack(head); err != nil {
		return err
	}
	l.compute = compute
	for i := range m.layers {
		if m.layers[i], err = l.layer(i); err != nil {
			return err
		}
		ck.Forget()
	}
	return l.unread()
}

// Config is the model's configuration.
func (m *Model) Config() Config { return m.config }

// Close stops the threads and gives back a card's memory.
func (m *Model) Close() {
	m.pool.Close()
	if m.card != nil {
		m.card.Close()
	}
}

// Piece is the number of tokens that callers pass at once between two looks at
// the clock: a card sums over longer pieces before it hands anything out.
func (m *Model) Piece() int {
	if m.card != nil {
		return cardPiece
	}
	return piece
}

// Threads is the number of threads a session runs on.
func (m *Model) Threads() int { return m.pool.Threads() }

// OutputProjection is W_O of a layer, [hidden, heads*valueDim].
func (m *Model) OutputProjection(layer int) ([]float32, error) {
	return m.layers[layer].output.Float32()
}

// WeightBytes is the memory of the packed weights.
func (m *Model) WeightBytes() int64 {
	if m.card != nil {
		return m.card.WeightBytes()
	}
	n := int64(m.head.Bytes())
	for i := range m.layers {
		w := &m.layers[i]
		n += int64(w.qkv.Bytes() + w.out.Bytes())
		if w.router == nil {
			n += int64(w.gateUp.Bytes() + w.down.Bytes())
			continue
		}
		n += int64(w.router.Bytes())
		for _, e := range w.experts {
			n += int64(e.gateUp.Bytes() + e.down.Bytes())
		}
		if w.shared != nil {
			n += int64(w.shared.gateUp.Bytes() + w.shared.down.Bytes())
		}
	}
	return n
}
