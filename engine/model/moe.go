package model

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// expert is one feed-forward of a mixture.
type expert struct{ gateUp, down *cpu.Matrix }

// sparse says that a layer has a mixture.
func (c *Config) sparse(layer int) bool { return c.Experts > 0 && (c.Sparse == nil || c.Sparse[layer]) }

// mixture reads a layer's router and experts: each in tensors of its own, whose
// names "expert_gate", "expert_up" and "expert_down" give by layer and expert, or
// all in one, [experts, out, in].
func (l *loader) mixture(at int, w *layer) error {
	c := l.c
	var err error
	if w.router, err = l.exactly().matrices(at, c.Hidden, part{"router", c.Experts}); err != nil {
		return err
	}
	stacks, err := l.stacks(at)
	if err != nil {
		return err
	}
	for e := range c.Experts {
		list, down, err := l.expert(at, e, stacks)
		if err != nil {
			return err
		}
		var x expert
		if x.gateUp, err = l.pack(list...); err != nil {
			return err
		}
		if x.down, err = l.pack(down); err != nil {
			return err
		}
		w.experts = append(w.experts, x)
	}
	if c.SharedSize == 0 {
		return nil
	}
	w.shared = &expert{}
	if w.shared.gateUp, err = l.matrices(at, c.Hidden, part{"shared_gate", c.SharedSize}, part{"shared_up", c.SharedSize}); err != nil {
		return err
	}
	if w.shared.down, err = l.matrices(at, c.SharedSize, part{"shared_down", c.Hidden}); err != nil {
		return err
	}
	shape := []int{1, c.Hidden}
	if t, ok := l.find(l.name("shared_router", at, ".weight")); ok && len(t.Shape) == 1 { // GGUF files have either
		shape = shape[1:]
	}
	t, err := l.tensor("shared_router", at, ".weight", shape...)
	if err == nil {
		w.sharedGate, err = t.Float32()
	}
	return err
}

// stack is a tensor that holds a part of every expert.
type stack struct {
	t    tensor.Tensor
	rows int // of one expert
}

// stacks finds the tensors that hold all experts; none where each has its own.
func (l *loader) stacks(at int) (map[string]stack, error) {
	c, found := l.c, map[string]stack{}
	for role, shape := range map[string][2]int{
		"experts_gate": {c.ExpertSize, c.Hidden}, "experts_up": {c.ExpertSize, c.Hidden},
		"experts_gate_up": {2 * c.ExpertSize, c.Hidden}, "experts_down": {c.Hidden, c.ExpertSize},
	} {
		for _, suffix := range []string{".weight", ""} {
			name := l.name(role, at, suffix)
			if _, ok := l.find(name); name == suffix || !ok {
				continue
			}
			t, err := l.tensor(role, at, suffix, c.Experts, shape[0], shape[1])
			if err != nil {
				return nil, err
			}
			found[role] = stack{t, shape[0]}
			break
		}
	}
	return found, nil
}

// expert finds an expert's gate and up, and its down.
func (l *loader) expert(at, e int, stacks map[string]stack) ([]tensor.Tensor, tensor.Tensor, error) {
	c := l.c
	var list []tensor.Tensor
	for _, role := range []string{"experts_gate_up", "experts_gate", "experts_up", "experts_down"} {
		s, ok := stacks[role]
		if !ok {
			continue
		}
		t, err := s.t.Slice(e*s.rows, (e+1)*s.rows)
		if err != nil {
			return nil, t, fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		if role == "experts_down" {
			return list, t, nil
		}
		list = append(list, t)
	}
	for _, p := range []struct {
		role    string
		out, in int
	}{{"expert_gate", c.ExpertSize, c.Hidden}, {"expert_up", c.ExpertSize, c.Hidden}, {"expert_down", c.Hidden, c.ExpertSize}} {
		name := fmt.Sprintf(c.arch.Names[p.role], at, e) + ".weight"
		if l.c.gguf || c.arch.Names[p.role] == "" {
			name = l.name("experts_down", at, ".weight")
		}
		t, ok := l.find(name)
		if !ok {
			return nil, t, fmt.Errorf("%s: no tensor %s, which a %s model has", l.ck.Path(), name, c.Architecture)
		}
		if !slices.Equal(t.Shape, []int{p.out, p.in}) {
			return nil, t, fmt.Errorf("%s: tensor %s has shape %v, the configuration makes it [%d %d]", l.ck.Path(), name, t.Shape, p.out, p.in)
		}
		list = append(list, t)
	}
	return list[:2], list[2], nil
}

// mixture writes the weighted sum of the experts that each row is sent to:
// the largest of softmax(router·h), of equal ones the lower.
func (s *Session) mixture(w *layer, out, h []float32, n int) {
	m, c, b := s.m, &s.m.config, &s.buf
	logits := grow(&b.routed, n*c.Experts)
	w.router.Mul(m.pool, cpu.Dense(logits, n, c.Experts), cpu.Dense(h, n, c.Hidden))
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
		act := s.gated(w.experts[e].gateUp, nil, in[:len(list)*c.Hidden], len(list))
		y := in[len(list)*c.Hidden:]
		w.experts[e].down.Mul(m.pool, cpu.Dense(y, len(list), c.Hidden), cpu.Dense(act, len(list), c.ExpertSize))
		for i, r := range list {
			dst := out[r.row*c.Hidden : (r.row+1)*c.Hidden]
			for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
				dst[j] += r.weight * v
			}
		}
	}
	if w.shared != nil {
		s.shared(w, out, h, n)
	}
}

// shared adds the expert that every token goes through, times the sigmoid of its
// gate.
func (s *Session) shared(w *layer, out, h []float32, n int) {
	m, c := s.m, &s.m.config
	y := grow(&s.buf.gathered, n*c.Hidden)
	act := s.gated(w.shared.gateUp, nil, h, n)
	w.shared.down.Mul(m.pool, cpu.Dense(y, n, c.Hidden), cpu.Dense(act, n, c.SharedSize))
	for i := range n {
		gate := 0.0
		for j, v := range h[i*c.Hidden : (i+1)*c.Hidden] {
			gate += float64(v) * float64(w.sharedGate[j])
		}
		share := float32(1 / (1 + math.Exp(-gate)))
		for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
			out[i*c.Hidden+j] += share * v
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
