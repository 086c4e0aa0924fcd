package model

import (
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
)

// logitRows is the number of rows whose logits are computed together. It bounds
// their memory.
const logitRows = 32

// logits hands over the logits of a chunk's rows from the pass's LogitsFrom on.
func (s *cpuSequence) logits(in *chunk) {
	c := s.config
	p := in.p
	s.narrow(in, max(0, p.LogitsFrom-in.row0))
	for lo := max(0, p.LogitsFrom-in.row0); lo < in.n; lo += logitRows {
		rows := min(logitRows, in.n-lo)
		h := grow(&s.buf.h, rows*c.Hidden)
		out := grow(&s.buf.logits, rows*c.Vocab)
		for i := range rows {
			c.norm(h[i*c.Hidden:(i+1)*c.Hidden], in.x[(lo+i)*c.Hidden:(lo+i+1)*c.Hidden], s.norm, s.normBias)
		}
		if p.Hidden != nil && lo+rows == in.n {
			p.Hidden(c.Layers, h[(rows-1)*c.Hidden:])
		}
		s.multiply(s.head, cpu.Dense(out, rows, c.Vocab), cpu.Dense(h, rows, c.Hidden), false)
		addBias(out, s.headBias, rows)
		c.scaleLogits(out)
		for i := range rows {
			p.Logits(in.row0+lo+i, out[i*c.Vocab:(i+1)*c.Vocab])
		}
	}
}

// scaleLogits divides logits by the model's scale and applies its soft cap.
func (c *Config) scaleLogits(x []float32) {
	if c.LogitScale != 1 {
		for i := range x {
			x[i] /= c.LogitScale
		}
	}
	if c.LogitCap > 0 {
		for i, v := range x {
			x[i] = c.LogitCap * float32(math.Tanh(float64(v/c.LogitCap)))
		}
	}
}
