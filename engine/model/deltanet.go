package model

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// DeltaShape describes layers with the gated delta rule. A layer keeps a matrix
// [KeyDim, ValueDim] per value head.
type DeltaShape struct {
	KeyHeads   int // heads of queries and keys
	ValueHeads int // a multiple of KeyHeads
	KeyDim     int
	ValueDim   int
	Kernel     int // positions that the convolution before the rule reads

	// Tiled says that value head i has key head i mod KeyHeads, not i /
	// (ValueHeads/KeyHeads).
	Tiled bool
}

// keyWidth is the number of elements of all keys of a token.
func (d *DeltaShape) keyWidth() int { return d.KeyHeads * d.KeyDim }

// valueWidth is the number of elements of all values of a token.
func (d *DeltaShape) valueWidth() int { return d.ValueHeads * d.ValueDim }

// channels is the number of channels of the convolution: queries, keys and values.
func (d *DeltaShape) channels() int { return 2*d.keyWidth() + d.valueWidth() }

// keyHead returns the key head of a value head.
func (d *DeltaShape) keyHead(head int) int {
	if d.Tiled {
		return head % d.KeyHeads
	}
	return head / (d.ValueHeads / d.KeyHeads)
}

// size returns the size of a layer's state and weights.
func (d *DeltaShape) size(hidden int) MixerSize {
	return MixerSize{
		State:   (d.Kernel-1)*d.channels() + d.ValueHeads*d.KeyDim*d.ValueDim,
		Weights: hidden * (d.channels() + 2*d.valueWidth() + 2*d.ValueHeads),
		Width:   2*d.channels() + 2*d.ValueHeads + hidden,
	}
}

// deltaNet is a layer with the gated delta rule.
type deltaNet struct {
	*DeltaShape
	eps  float32
	qkv  *cpu.Matrix // queries, keys and values, before the convolution
	gate *cpu.Matrix // of the outputs
	rate *cpu.Matrix // by value head: how much is written, then how much is kept
	conv cpu.Conv
	keep []float32 // by value head: -exp(A_log)
	bias []float32 // by value head: of the step
	norm []float32 // of a head's output
	out  *cpu.Matrix
}

func (d *deltaNet) matrices() []*cpu.Matrix { return []*cpu.Matrix{d.qkv, d.gate, d.rate, d.out} }

func (d *deltaNet) mix(s *cpuSequence, m *mixing) {
	hidden := s.config.Hidden
	in := cpu.Dense(m.in, m.n, hidden)
	qkv := cpu.Dense(grow(&s.buf.mixer, m.n*d.channels()), m.n, d.channels())
	x := cpu.Dense(grow(&s.buf.mixerConv, m.n*d.channels()), m.n, d.channels())
	rates := grow(&s.buf.mixerRates, m.n*2*d.ValueHeads)
	s.multiply(d.qkv, qkv, in, false)
	s.multiply(d.rate, cpu.Dense(rates, m.n, 2*d.ValueHeads), in, false)
	m.convolve(s, &d.conv, x, qkv)
	s.rows(m.n, func(i int, scratch *cpu.Scratch) {
		row := x.Data[i*x.Stride:][:x.Cols]
		cpu.Activate(s.config.Activation, row, row, nil, scratch)
		d.normalize(row)
		d.rates(rates[i*2*d.ValueHeads:][:2*d.ValueHeads])
	})
	y := qkv.Data[:m.n*d.valueWidth()] // the input of the convolution is no longer needed
	m.each(s, d.ValueHeads, func(head int, state []float32, row, n int, scratch *cpu.Scratch) {
		size := d.KeyDim * d.ValueDim
		state = state[d.conv.StateSize()+head*size:][:size]
		buf := scratch.Floats(d.ValueDim)
		key := d.keyHead(head) * d.KeyDim
		for i := row; i < row+n; i++ {
			q := x.Data[i*x.Stride+key:][:d.KeyDim]
			k := x.Data[i*x.Stride+d.keyWidth()+key:][:d.KeyDim]
			v := x.Data[i*x.Stride+2*d.keyWidth()+head*d.ValueDim:][:d.ValueDim]
			r := rates[i*2*d.ValueHeads:]
			cpu.DeltaRule(y[i*d.valueWidth()+head*d.ValueDim:], state, q, k, v, r[d.ValueHeads+head], r[head], buf)
		}
	})
	rows := m.n - m.from
	if rows == 0 {
		return
	}
	gate := grow(&s.buf.mixerConv, rows*d.valueWidth())
	y = y[m.from*d.valueWidth():]
	s.multiply(d.gate, cpu.Dense(gate, rows, d.valueWidth()), cpu.Dense(m.in[m.from*hidden:], rows, hidden), false)
	s.rows(rows, func(i int, _ *cpu.Scratch) {
		for at := i * d.valueWidth(); at < (i+1)*d.valueWidth(); at += d.ValueDim {
			o := y[at : at+d.ValueDim]
			cpu.RMSNorm(o, o, d.norm, d.eps)
			simd.SiLUMul(o, gate[at:at+d.ValueDim], o)
		}
	})
	s.multiply(d.out, cpu.Dense(m.out[m.from*hidden:], rows, hidden), cpu.Dense(y, rows, d.valueWidth()), false)
}

// normalize gives the queries and keys of a row the length 1, and the queries the scale
// of the rule.
func (d *deltaNet) normalize(row []float32) {
	scale := float32(1 / math.Sqrt(float64(d.KeyDim)))
	for at := 0; at < 2*d.keyWidth(); at += d.KeyDim {
		head := row[at : at+d.KeyDim]
		by := float32(1 / math.Sqrt(simd.SumSquares(head)+1e-6))
		if at < d.keyWidth() {
			by *= scale
		}
		simd.Scale(head, by)
	}
}

// rates computes the shares that are written and the shares that are kept from the
// projections of a row. The shares that are written are sigmoids.
func (d *deltaNet) rates(row []float32) {
	for h := range d.ValueHeads {
		row[h] = float32(1 / (1 + math.Exp(-float64(row[h]))))
		step := float64(row[d.ValueHeads+h] + d.bias[h])
		if step < 20 {
			step = math.Log1p(math.Exp(step))
		}
		row[d.ValueHeads+h] = float32(math.Exp(float64(d.keep[h]) * step))
	}
}

// deltaNames has the names of tensors of layers with the gated delta rule in hub
// checkpoints, and deltaGGUF those in GGUF files.
var (
	deltaNames = map[string]string{
		"delta_qkvz": "model.layers.%d.linear_attn.in_proj_qkvz",
		"delta_qkv":  "model.layers.%d.linear_attn.in_proj_qkv",
		"delta_z":    "model.layers.%d.linear_attn.in_proj_z",
		"delta_ba":   "model.layers.%d.linear_attn.in_proj_ba",
		"delta_b":    "model.layers.%d.linear_attn.in_proj_b",
		"delta_a":    "model.layers.%d.linear_attn.in_proj_a",
		"delta_conv": "model.layers.%d.linear_attn.conv1d",
		"delta_keep": "model.layers.%d.linear_attn.A_log",
		"delta_bias": "model.layers.%d.linear_attn.dt_bias",
		"delta_norm": "model.layers.%d.linear_attn.norm",
		"delta_out":  "model.layers.%d.linear_attn.out_proj",
	}
	deltaGGUF = map[string]string{
		"ffn_norm":   "blk.%d.post_attention_norm",
		"delta_qkvz": "blk.%d.ssm_in",
		"delta_qkv":  "blk.%d.attn_qkv",
		"delta_z":    "blk.%d.attn_gate",
		"delta_ba":   "blk.%d.ssm_ba",
		"delta_b":    "blk.%d.ssm_beta",
		"delta_a":    "blk.%d.ssm_alpha",
		"delta_conv": "blk.%d.ssm_conv1d",
		"delta_keep": "blk.%d.ssm_a",
		"delta_bias": "blk.%d.ssm_dt.bias",
		"delta_norm": "blk.%d.ssm_norm",
		"delta_out":  "blk.%d.ssm_out",
	}
)

// deltaNet reads a layer with the gated delta rule.
func (l *loader) deltaNet(at int) (mixer, error) {
	if l.c.Shapes[at].HasAttention() {
		return nil, nil
	}
	shape := l.c.Delta
	d := &deltaNet{DeltaShape: shape, eps: l.c.NormEps}
	qkv, gate, err := l.deltaInputs(at)
	if err != nil {
		return nil, err
	}
	rate, err := l.deltaRates(at)
	if err != nil {
		return nil, err
	}
	if d.qkv, err = l.pack(qkv...); err != nil {
		return nil, err
	}
	if d.gate, err = l.pack(gate...); err != nil {
		return nil, err
	}
	if d.rate, err = l.pack(rate...); err != nil {
		return nil, err
	}
	if d.conv, err = l.conv("delta_conv", at, shape.channels(), shape.Kernel); err != nil {
		return nil, err
	}
	if d.keep, err = l.vector("delta_keep", at, "", shape.ValueHeads, 0); err != nil {
		return nil, err
	}
	if !l.c.gguf { // GGUF files have -exp(A_log)
		for h, v := range d.keep {
			d.keep[h] = -float32(math.Exp(float64(v)))
		}
	}
	if d.bias, err = l.vector("delta_bias", at, "", shape.ValueHeads, 0); err != nil {
		return nil, err
	}
	if d.norm, err = l.vector("delta_norm", at, ".weight", shape.ValueDim, 0); err != nil {
		return nil, err
	}
	d.out, err = l.matrices(at, shape.valueWidth(), part{"delta_out", l.c.Hidden})
	return d, err
}

// deltaInputs finds the projections to queries, keys and values, and to the gate of the
// outputs. They may be one tensor that has these of each key head together.
func (l *loader) deltaInputs(at int) (qkv, gate []tensor.Tensor, err error) {
	d := l.c.Delta
	if _, ok := l.find(l.name("delta_qkvz", at, ".weight")); !ok {
		q, err := l.tensor("delta_qkv", at, ".weight", d.channels(), l.c.Hidden)
		if err != nil {
			return nil, nil, err
		}
		z, err := l.tensor("delta_z", at, ".weight", d.valueWidth(), l.c.Hidden)
		return []tensor.Tensor{q}, []tensor.Tensor{z}, err
	}
	t, err := l.tensor("delta_qkvz", at, ".weight", d.channels()+d.valueWidth(), l.c.Hidden)
	if err != nil {
		return nil, nil, err
	}
	values := d.valueWidth() / d.KeyHeads
	parts, err := l.headParts(t, d.KeyHeads, d.KeyDim, d.KeyDim, values, values)
	if err != nil {
		return nil, nil, err
	}
	return parts[:3*d.KeyHeads], parts[3*d.KeyHeads:], nil
}

// deltaRates finds the projections to the shares that are written and kept.
func (l *loader) deltaRates(at int) ([]tensor.Tensor, error) {
	d := l.c.Delta
	if _, ok := l.find(l.name("delta_ba", at, ".weight")); !ok {
		b, err := l.tensor("delta_b", at, ".weight", d.ValueHeads, l.c.Hidden)
		if err != nil {
			return nil, err
		}
		a, err := l.tensor("delta_a", at, ".weight", d.ValueHeads, l.c.Hidden)
		return []tensor.Tensor{b, a}, err
	}
	t, err := l.tensor("delta_ba", at, ".weight", 2*d.ValueHeads, l.c.Hidden)
	if err != nil {
		return nil, err
	}
	group := d.ValueHeads / d.KeyHeads
	return l.headParts(t, d.KeyHeads, group, group)
}

// headParts splits a weight that has parts of the given sizes for each head, one head
// after another, and returns the first part of all heads, then the second, and so on.
func (l *loader) headParts(t tensor.Tensor, heads int, sizes ...int) ([]tensor.Tensor, error) {
	stride := 0
	for _, n := range sizes {
		stride += n
	}
	var list []tensor.Tensor
	start := 0
	for _, n := range sizes {
		for h := range heads {
			part, err := t.Slice(h*stride+start, h*stride+start+n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
			}
			list = append(list, part)
		}
		start += n
	}
	return list, nil
}

// conv reads a causal convolution, [channels, 1, kernel] in hub checkpoints and
// [channels, kernel] in GGUF files, and its bias if it has one.
func (l *loader) conv(role string, at, channels, kernel int) (cpu.Conv, error) {
	c := cpu.Conv{Channels: channels, Kernel: kernel}
	shape := []int{channels, 1, kernel}
	if l.c.gguf {
		shape = []int{channels, kernel}
	}
	t, err := l.tensor(role, at, ".weight", shape...)
	if err != nil {
		return c, err
	}
	if c.Bias, err = l.bias(role, at, channels); err != nil {
		return c, err
	}
	v, err := l.finite(t, 0)
	if err != nil {
		return c, err
	}
	c.Weights = make([]float32, channels*kernel)
	for i, x := range v {
		c.Weights[i%kernel*channels+i/kernel] = x
	}
	return c, nil
}
