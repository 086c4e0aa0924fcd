package model

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
)

// A mixer computes what a layer has instead of attention or in addition to it. It
// combines the input of a token with a state of the earlier tokens, which has the same
// size at every position. Architecture.Mixer reads its weights.
type mixer interface {
	// matrices lists the packed matrices.
	matrices() []*cpu.Matrix
	// mix writes the outputs of all rows of m from row m.from on, and updates the states
	// to those after the last row.
	mix(s *cpuSequence, m *mixing)
}

// mixing is what a mixer computes for a layer of a chunk.
type mixing struct {
	n      int       // rows
	from   int       // first row whose output is needed
	in     []float32 // [n, hidden], after the layer's norm
	out    []float32 // [n, hidden]
	states [][]float32
}

// each calls f for all states and parts of a layer, on all threads: with a state and the
// rows that pass through it. Either all rows are consecutive positions of one sequence,
// or each row belongs to a sequence of its own.
func (m *mixing) each(s *cpuSequence, parts int, f func(part int, state []float32, row, n int, scratch *cpu.Scratch)) {
	rows := m.n / len(m.states)
	s.pool.Run(len(m.states)*parts, func(task, worker int) {
		i := task / parts
		f(task%parts, m.states[i], i*rows, rows, s.pool.Scratch(worker))
	})
}

// convChannels is the number of channels of a convolution that one task computes.
const convChannels = 256

// convolve writes the convolution of the rows x to dst. The states begin with that of the
// convolution.
func (m *mixing) convolve(s *cpuSequence, c *cpu.Conv, dst, x cpu.Mat) {
	parts := (c.Channels + convChannels - 1) / convChannels
	m.each(s, parts, func(part int, state []float32, row, n int, _ *cpu.Scratch) {
		lo := part * convChannels
		hi := min(lo+convChannels, c.Channels)
		c.Run(dst.Sub(row, 0, n, dst.Cols), x.Sub(row, 0, n, x.Cols), state, lo, hi)
	})
}

// A MixerSize counts what the mixer of a layer holds.
type MixerSize struct {
	State   int // elements of the state that a sequence keeps
	Weights int // weights that each token is multiplied by
	Width   int // activations of a token
}

// MixerWidth returns the largest number of activations that a token has in a mixer.
func (c *Config) MixerWidth() int {
	n := 0
	for _, m := range c.Mixers {
		n = max(n, m.Width)
	}
	return n
}

// linearLayers gives layers a mixer instead of attention: the layers that layer_types or,
// in GGUF files, recurrent_layers lists. If neither is given, otherwise selects them.
func (c *Config) linearLayers(f *fields, otherwise func(layer int) bool, size MixerSize) {
	types, _ := f.values["layer_types"].([]any)
	pattern, _ := f.get("recurrent_layers")
	list, _ := pattern.([]any)
	c.Mixers = make([]MixerSize, c.Layers)
	for l := range c.Shapes {
		linear := otherwise(l)
		if l < len(types) {
			name, _ := types[l].(string)
			linear = c.arch.LayerTypes[name] == Linear
		}
		if l < len(list) {
			linear, _ = list[l].(bool)
		}
		if linear {
			c.Shapes[l] = LayerShape{Kind: Linear, CacheOf: l}
			c.Mixers[l] = size
		}
	}
}

// StateBytes returns the memory of the states that a sequence on the processor keeps
// besides its keys and values, which does not depend on its length.
func (c *Config) StateBytes() int64 {
	n := 0
	for _, m := range c.Mixers {
		n += m.State
	}
	return 4 * int64(n)
}

// newStates returns the states of an empty sequence, by layer; nil where a layer has
// none.
func (c *Config) newStates() [][]float32 {
	list := make([][]float32, c.Layers)
	for l, m := range c.Mixers {
		if m.State > 0 {
			list[l] = make([]float32, m.State)
		}
	}
	return list
}

// mix runs the normalized rows of a chunk, s.buf.h, through the mixer of layer l, and
// leaves the outputs from row from on in s.buf.mixerOut.
func (s *cpuSequence) mix(l, n, from int, states [][]float32) {
	d := s.config.Hidden
	m := &mixing{n: n, from: from, in: s.buf.h[:n*d], out: grow(&s.buf.mixerOut, n*d), states: states}
	s.layers[l].mixer.mix(s, m)
}

// A mark is a length to which a sequence with states can be cut, and the states there.
type mark struct {
	n      int
	states [][]float32
}

// recurrent reports whether the model has states, from which earlier states do not
// follow.
func (c *Config) recurrent() bool { return c.StateBytes() > 0 }

// mark keeps the present states, and what is not quantized yet of a quantized cache, and
// drops those of the last mark.
func (s *cpuSequence) mark() {
	for _, kv := range s.caches() {
		kv.Mark()
	}
	if s.config.recurrent() {
		s.marked = mark{s.seen, cloneStates(s.mixerStates)}
	}
}

// statesAt returns the states after the first n tokens, which the caller must copy.
func (s *cpuSequence) statesAt(n int) ([][]float32, error) {
	switch {
	case n == s.seen || !s.config.recurrent():
		return s.mixerStates, nil
	case n == 0:
		return s.config.newStates(), nil
	case s.marked.states != nil && s.marked.n == n:
		return s.marked.states, nil
	}
	return nil, fmt.Errorf("the sequence has %d tokens and cannot be cut to %d: the model has layers without attention, "+
		"and their states at that length were not kept", s.seen, n)
}

func cloneStates(list [][]float32) [][]float32 {
	out := make([][]float32, len(list))
	for l, state := range list {
		out[l] = slices.Clone(state)
	}
	return out
}

// errNoAttention says that a layer without attention was asked for what it does not have.
func errNoAttention(layer int) error {
	return fmt.Errorf("layer %d has no attention", layer)
}
