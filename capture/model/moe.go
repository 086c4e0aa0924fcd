package model

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/capture/cpu"
)

// expert is one feed-forward of a mixture.
type expert struct{ gateUp, down *cpu.Matrix }

// mixture reads a layer's router and experts. Names gives, by role, "router"
// with the layer, and "expert_gate", "expert_up" and "expert_down" with layer and
// expert.
func (l *loader) mixture(at int, w *layer) error {
	c := l.c
	find := func(role string, out, in int, ids ...any) (*cpu.Matrix, error) {
		return l.named(fmt.Sprintf(c.arch.Names[role], ids...), out, in)
	}
	var err error
	if w.router, err = find("router", c.Experts, c.Hidden, at); err != nil {
		return err
	}
	for e := range c.Experts {
		gate, err := l.raw(fmt.Sprintf(c.arch.Names["expert_gate"], at, e), c.Intermediate, c.Hidden)
		if err != nil {
			return err
		}
		up, err := l.raw(fmt.Sprintf(c.arch.Names["expert_up"], at, e), c.Intermediate, c.Hidden)
		if err != nil {
			return err
		}
		var x expert
		if x.gateUp, err = l.pack(gate, up); err != nil {
			return err
		}
		if x.down, err = find("expert_down", c.Hidden, c.Intermediate, at, e); err != nil {
			return err
		}
		w.experts = append(w.experts, x)
	}
	return nil
}

// mixture writes the weighted sum of the experts that each row is sent to:
// the largest of softmax(router·h), of equal ones the lower.
func (s *Session) mixture(w *layer, out, h []float32, n int) {
	m, c, b := s.m, &s.m.config, &s.buf
	logits := grow(&b.routed, n*c.Experts)
	w.router.Mul(m.pool, logits, c.Experts, h, c.Hidden, n)
	type route struct {
		row    int
		weight float32
	}
	routes := make([][]route, c.Experts)
	for i := range n {
		for _, r := range c.route(logits[i*c.Experts : (i+1)*c.Experts]) {
			routes[r.expert] = append(routes[r.expert], route{i, r.weight})
		}
	}
	clear(out)
	for e, list := range routes {
		if len(list) == 0 {
			continue
		}
		in := grow(&b.gathered, 2*len(list)*c.Hidden)
		for i, r := range list {
			copy(in[i*c.Hidden:(i+1)*c.Hidden], h[r.row*c.Hidden:(r.row+1)*c.Hidden])
		}
		act := s.gated(w.experts[e].gateUp, in[:len(list)*c.Hidden], len(list))
		y := in[len(list)*c.Hidden:]
		w.experts[e].down.Mul(m.pool, y, c.Hidden, act, c.Intermediate, len(list))
		for i, r := range list {
			dst := out[r.row*c.Hidden : (r.row+1)*c.Hidden]
			for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
				dst[j] += r.weight * v
			}
		}
	}
}

type routed struct {
	expert int
	weight float32
}

// route picks a row's experts from the router's logits.
func (c *Config) route(logits []float32) []routed {
	top, sum := math.Inf(-1), 0.0
	for _, v := range logits {
		top = max(top, float64(v))
	}
	p := make([]float64, len(logits))
	for e, v := range logits {
		p[e] = math.Exp(float64(v) - top)
		sum += p[e]
	}
	var list []routed
	kept := 0.0
	for range c.TopExperts {
		best := -1
		for e, v := range p {
			if v >= 0 && (best < 0 || v > p[best]) {
				best = e
			}
		}
		list = append(list, routed{best, float32(p[best] / sum)})
		kept += p[best] / sum
		p[best] = -1
	}
	if c.NormExperts {
		for i := range list {
			list[i].weight = float32(float64(list[i].weight) / kept)
		}
	}
	return list
}

// readExperts reads the sizes of a mixture.
func (c *Config) readExperts(f *fields, count string) {
	c.Experts, c.TopExperts = f.count(count, 8, 1), f.count("num_experts_per_tok", 2, 1)
	if f.err == nil && c.TopExperts > c.Experts {
		f.bad("num_experts_per_tok", c.TopExperts, fmt.Sprintf("at most %d, the experts", c.Experts))
	}
}
