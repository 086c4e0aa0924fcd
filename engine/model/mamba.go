package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// MambaShape describes Mamba-2 layers. A layer keeps a matrix [State, HeadDim] per head,
// and the last inputs of a convolution.
type MambaShape struct {
	Heads   int
	HeadDim int
	Groups  int // heads of a group, which are consecutive, have the same input and output vectors
	State   int
	Kernel  int // positions that the convolution reads

	Activation string // of what is convolved, one of cpu.Activations

	MinStep, MaxStep float64 // limits of the step of a position

	Normed    bool // outputs are normalized, the channels of a group together
	NormFirst bool // the gate is applied after the norm instead of before it

	// The input is multiplied by InScale, and its projection to the gate, the inputs, the
	// input vectors, the output vectors and the steps by Parts (Falcon-H1); nil: by 1.
	InScale float32
	Parts   []float32
}

// inner is the number of elements of the outputs of all heads of a token.
func (m *MambaShape) inner() int { return m.Heads * m.HeadDim }

// channels is the number of channels of the convolution: inputs, input vectors and output
// vectors.
func (m *MambaShape) channels() int { return m.inner() + 2*m.Groups*m.State }

// projected is the number of elements that the input of a token is projected to: a gate,
// the channels of the convolution, and a step per head.
func (m *MambaShape) projected() int { return m.inner() + m.channels() + m.Heads }

// size returns the size of a layer's state and weights.
func (m *MambaShape) size(hidden int) MixerSize {
	rule := m.rule()
	return MixerSize{
		State:   (m.Kernel-1)*m.channels() + rule.StateSize(),
		Weights: hidden * (m.projected() + m.inner()),
	}
}

// rule returns the recurrence, without its weights.
func (m *MambaShape) rule() cpu.SSD {
	return cpu.SSD{Heads: m.Heads, HeadDim: m.HeadDim, Groups: m.Groups, State: m.State, MinStep: m.MinStep, MaxStep: m.MaxStep}
}

// readMamba reads the sizes of the Mamba-2 layers. inner is the number of elements of the
// outputs of all heads, or 0 if it follows from the sizes of the heads.
func (c *Config) readMamba(f *fields, inner int) *MambaShape {
	m := &MambaShape{
		Heads:   f.count("mamba_n_heads", 128, 1),
		Groups:  f.count("mamba_n_groups", 1, 1),
		State:   f.count("mamba_d_state", 256, 1),
		Kernel:  f.count("mamba_d_conv", 4, 2),
		Normed:  true,
		MinStep: 0,
		MaxStep: math.Inf(1),

		Activation: c.Activation,
	}
	if f.err != nil {
		return m
	}
	m.HeadDim = inner / m.Heads
	if v, ok := f.get("mamba_d_head"); ok && v != "auto" && !f.gguf() {
		m.HeadDim = f.count("mamba_d_head", m.HeadDim, 1)
	}
	switch {
	case inner > 0 && m.HeadDim*m.Heads != inner:
		f.bad("mamba_n_heads", m.Heads, fmt.Sprintf("heads of %d channels with %d channels in all", m.HeadDim, inner))
	case m.Heads%m.Groups != 0:
		f.bad("mamba_n_groups", m.Groups, fmt.Sprintf("a divisor of %d, the number of heads", m.Heads))
	case m.Heads > maxHeads:
		f.bad("mamba_n_heads", m.Heads, fmt.Sprintf("at most %d", maxHeads))
	case max(m.HeadDim, m.State) > maxDim:
		f.bad("mamba_d_state", m.State, fmt.Sprintf("heads and states of at most %d", maxDim))
	}
	return m
}

// limitSteps reads the limits of the steps of a hub checkpoint.
func (m *MambaShape) limitSteps(f *fields) {
	limits := f.numbers("time_step_limit", 2, m.MinStep, m.MaxStep)
	m.MinStep, m.MaxStep = limits[0], limits[1]
	if f.err == nil && !(m.MinStep <= m.MaxStep) {
		f.bad("time_step_limit", fmt.Sprintf("%g to %g", m.MinStep, m.MaxStep), "two numbers in ascending order")
	}
}

// mambaHeads is the number of heads that one task of the recurrence computes. Their
// vectors are often the same, and are multiplied once.
const mambaHeads = 4

// mamba2 is a Mamba-2 layer.
type mamba2 struct {
	*MambaShape
	in, out         *cpu.Matrix // in: the gate, the channels of the convolution and the steps
	inBias, outBias []float32
	factors         []float32 // of what is projected, before the bias; nil: 1
	conv            cpu.Conv
	ssd             cpu.SSD
	norm            cpu.GatedNorm
}

func (m *mamba2) matrices() []*cpu.Matrix { return []*cpu.Matrix{m.in, m.out} }

func (m *mamba2) mix(s *cpuSequence, mx *mixing) {
	hidden := s.config.Hidden
	n, inner, channels := mx.n, m.inner(), m.channels()
	all := cpu.Dense(grow(&s.buf.mixer, n*m.projected()), n, m.projected())
	s.multiply(m.in, all, cpu.Dense(mx.in, n, hidden), false)
	if m.factors != nil {
		s.rows(n, func(i int, _ *cpu.Scratch) {
			row := all.Data[i*all.Stride:][:all.Cols]
			for j, by := range m.factors {
				row[j] *= by
			}
		})
	}
	addBias(all.Data, m.inBias, n)
	// The outputs follow what was convolved.
	buf := grow(&s.buf.mixerConv, n*(channels+inner))
	xbc := cpu.Dense(buf[:n*channels], n, channels)
	y := cpu.Dense(buf[n*channels:], n, inner)
	mx.convolve(s, &m.conv, xbc, all.Sub(0, inner, n, channels))
	s.rows(n, func(i int, scratch *cpu.Scratch) {
		row := xbc.Data[i*channels : (i+1)*channels]
		cpu.Activate(m.Activation, row, row, nil, scratch)
	})
	steps := all.Sub(0, inner+channels, n, m.Heads)
	mx.each(s, (m.Heads+mambaHeads-1)/mambaHeads, func(part int, state []float32, row, rows int, scratch *cpu.Scratch) {
		lo := part * mambaHeads
		hi := min(lo+mambaHeads, m.Heads)
		m.ssd.Run(y.Sub(row, 0, rows, inner), xbc.Sub(row, 0, rows, channels), steps.Sub(row, 0, rows, m.Heads), state[m.conv.StateSize():], lo, hi, scratch)
	})
	n -= mx.from
	if n == 0 {
		return
	}
	y = y.Sub(mx.from, 0, n, inner)
	gate := all.Sub(mx.from, 0, n, inner)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		m.norm.Run(y.Data[i*inner:(i+1)*inner], gate.Data[i*gate.Stride:][:inner])
	})
	out := mx.out[mx.from*hidden:]
	s.multiply(m.out, cpu.Dense(out, n, hidden), y, false)
	addBias(out, m.outBias, n)
}

// mambaNames has the names of tensors of Mamba-2 layers in hub checkpoints, and mambaGGUF
// those in GGUF files.
var (
	mambaNames = map[string]string{
		"mamba_in":   "model.layers.%d.mamba.in_proj",
		"mamba_conv": "model.layers.%d.mamba.conv1d",
		"mamba_a":    "model.layers.%d.mamba.A_log",
		"mamba_d":    "model.layers.%d.mamba.D",
		"mamba_dt":   "model.layers.%d.mamba.dt_bias",
		"mamba_norm": "model.layers.%d.mamba.norm",
		"mamba_out":  "model.layers.%d.mamba.out_proj",
	}
	mambaGGUF = map[string]string{
		"mamba_in":   "blk.%d.ssm_in",
		"mamba_conv": "blk.%d.ssm_conv1d",
		"mamba_a":    "blk.%d.ssm_a",
		"mamba_d":    "blk.%d.ssm_d",
		"mamba_dt":   "blk.%d.ssm_dt.bias",
		"mamba_norm": "blk.%d.ssm_norm",
		"mamba_out":  "blk.%d.ssm_out",
	}
)

// mamba reads a Mamba-2 layer, if the layer has one.
func (l *loader) mamba(at int) (mixer, error) {
	if l.c.Mixers[at].State == 0 {
		return nil, nil
	}
	shape := l.c.Mamba
	m := &mamba2{MambaShape: shape}
	var err error
	if m.in, err = l.matrices(at, l.c.Hidden, part{"mamba_in", shape.projected()}); err != nil {
		return nil, err
	}
	if m.inBias, err = l.bias("mamba_in", at, shape.projected()); err != nil {
		return nil, err
	}
	if m.factors = shape.factors(); m.factors != nil {
		for j := range m.inBias {
			m.inBias[j] *= m.factors[j]
		}
		simd.Scale(m.factors, shape.InScale)
	}
	if m.out, err = l.matrices(at, shape.inner(), part{"mamba_out", l.c.Hidden}); err != nil {
		return nil, err
	}
	if m.outBias, err = l.bias("mamba_out", at, l.c.Hidden); err != nil {
		return nil, err
	}
	if m.conv, err = l.conv("mamba_conv", at, shape.channels(), shape.Kernel); err != nil {
		return nil, err
	}
	if m.ssd, err = l.mambaRule(at); err != nil {
		return nil, err
	}
	m.norm = cpu.GatedNorm{Group: shape.inner() / shape.Groups, Eps: l.c.NormEps, NormFirst: shape.NormFirst}
	if shape.Normed {
		m.norm.Weight, err = l.mambaVector("mamba_norm", at, ".weight", shape.Groups, shape.inner()/shape.Groups)
	}
	return m, err
}

// mambaRule reads the recurrence of a Mamba-2 layer.
func (l *loader) mambaRule(at int) (cpu.SSD, error) {
	m := l.c.Mamba
	r := m.rule()
	var err error
	if r.A, err = l.mambaVector("mamba_a", at, "", m.Heads, 1); err != nil {
		return r, err
	}
	if !l.c.gguf { // GGUF files have A itself
		for h, v := range r.A {
			r.A[h] = -float32(math.Exp(float64(v)))
		}
	}
	if r.D, err = l.mambaVector("mamba_d", at, "", m.Heads, 1); err != nil {
		return r, err
	}
	r.DtBias, err = l.vector("mamba_dt", at, "", m.Heads, 0)
	return r, err
}

// mambaVector reads a vector, which GGUF files store as a matrix [rows, cols].
func (l *loader) mambaVector(role string, at int, suffix string, rows, cols int) ([]float32, error) {
	if !l.c.gguf {
		return l.vector(role, at, suffix, rows*cols, 0)
	}
	return l.vectorOf(role, at, suffix, 0, rows, cols)
}

// factors returns the factor of each element of the projection, or nil if all are 1.
func (m *MambaShape) factors() []float32 {
	if m.Parts == nil {
		return nil
	}
	list := make([]float32, 0, m.projected())
	for i, n := range []int{m.inner(), m.inner(), m.Groups * m.State, m.Groups * m.State, m.Heads} {
		list = append(list, slices.Repeat(m.Parts[i:i+1], n)...)
	}
	return list
}
