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

// sparse reports whether a layer has a mixture of experts.
func (c *Config) sparse(layer int) bool { return c.Experts > 0 && (c.Sparse == nil || c.Sparse[layer]) }

// readExperts reads the sizes of a mixture; count is the field that gives the number
// of experts.
func (c *Config) readExperts(f *fields, count string) {
	c.Experts = f.count(count, 8, 1)
	c.TopExperts = f.count("num_experts_per_tok", 2, 1)
	if f.err == nil && c.TopExperts > c.Experts {
		f.bad("num_experts_per_tok", c.TopExperts, fmt.Sprintf("at most %d, the number of experts", c.Experts))
	}
}

// mixture reads a layer's router and experts. Checkpoints have either a tensor per
// expert, under the roles "expert_gate", "expert_up" and "expert_down", or one
// tensor for all of them, [experts, out, in].
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
		gateUp, down, err := l.expert(at, e, stacks)
		if err != nil {
			return err
		}
		var x expert
		if x.gateUp, err = l.pack(gateUp...); err != nil {
			return err
		}
		if x.down, err = l.pack(down); err != nil {
			return err
		}
		w.experts = append(w.experts, x)
	}
	if c.SharedSize > 0 {
		return l.sharedExpert(at, w)
	}
	return nil
}

// sharedExpert reads the expert that every token goes through, and its gate.
func (l *loader) sharedExpert(at int, w *layer) error {
	c := l.c
	gateUp, err := l.matrices(at, c.Hidden, part{"shared_gate", c.SharedSize}, part{"shared_up", c.SharedSize})
	if err != nil {
		return err
	}
	down, err := l.matrices(at, c.SharedSize, part{"shared_down", c.Hidden})
	if err != nil {
		return err
	}
	w.shared = &expert{gateUp, down}
	shape := []int{1, c.Hidden}
	if t, ok := l.find(l.name("shared_router", at, ".weight")); ok && len(t.Shape) == 1 { // GGUF files have either
		shape = shape[1:]
	}
	t, err := l.tensor("shared_router", at, ".weight", shape...)
	if err != nil {
		return err
	}
	if l.ck.HeadersOnly() {
		return nil
	}
	w.sharedGate, err = t.Float32()
	return err
}

// stack is a tensor that holds one matrix of every expert.
type stack struct {
	t    tensor.Tensor
	rows int // per expert
}

// stacks finds the tensors that hold all experts, by role. The map is empty if each
// expert has tensors of its own.
func (l *loader) stacks(at int) (map[string]stack, error) {
	c := l.c
	shapes := map[string][2]int{
		"experts_gate":    {c.ExpertSize, c.Hidden},
		"experts_up":      {c.ExpertSize, c.Hidden},
		"experts_gate_up": {2 * c.ExpertSize, c.Hidden},
		"experts_down":    {c.Hidden, c.ExpertSize},
	}
	found := map[string]stack{}
	for role, shape := range shapes {
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

// expert finds the tensors of one expert: gate and up, which may be one, and down.
func (l *loader) expert(at, e int, stacks map[string]stack) (gateUp []tensor.Tensor, down tensor.Tensor, err error) {
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
			return gateUp, t, nil
		}
		gateUp = append(gateUp, t)
	}
	return l.singleExpert(at, e)
}

// singleExpert finds the tensors of an expert that has its own.
func (l *loader) singleExpert(at, e int) (gateUp []tensor.Tensor, down tensor.Tensor, err error) {
	c := l.c
	var list []tensor.Tensor
	for _, p := range []struct {
		role    string
		out, in int
	}{
		{"expert_gate", c.ExpertSize, c.Hidden},
		{"expert_up", c.ExpertSize, c.Hidden},
		{"expert_down", c.Hidden, c.ExpertSize},
	} {
		name := fmt.Sprintf(c.arch.Names[p.role], at, e) + ".weight"
		if l.c.gguf || c.arch.Names[p.role] == "" {
			name = l.name("experts_down", at, ".weight")
		}
		t, ok := l.find(name)
		if !ok {
			return nil, t, l.missing(name)
		}
		if !slices.Equal(t.Shape, []int{p.out, p.in}) {
			return nil, t, l.misshapen(name, t, p.out, p.in)
		}
		list = append(list, t)
	}
	return list[:2], list[2], nil
}

// routed is an expert that a token is sent to.
type routed struct {
	expert int
	weight float32
}

// route returns the TopExperts experts with the largest softmax of a token's router
// logits, in descending order; equal ones are in order of their index. Their weights
// are the softmax, scaled to a sum of 1 if NormExperts is set.
func (c *Config) route(logits []float32) []routed {
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	p := make([]float64, len(logits))
	sum := 0.0
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

// mixture writes to out, for each of the n rows of h, the weighted sum of the outputs
// of its experts. It gathers the rows of each expert to multiply them in one product.
func (s *cpuSequence) mixture(w *layer, out, h []float32, n int) {
	c := s.config
	logits := grow(&s.buf.routed, n*c.Experts)
	s.multiply(w.router, cpu.Dense(logits, n, c.Experts), cpu.Dense(h, n, c.Hidden), false)
	type share struct {
		row    int
		weight float32
	}
	shares := make([][]share, c.Experts)
	for i := range n {
		for _, r := range c.route(logits[i*c.Experts : (i+1)*c.Experts]) {
			shares[r.expert] = append(shares[r.expert], share{i, r.weight})
		}
	}
	clear(out)
	for e, list := range shares {
		if len(list) == 0 {
			continue
		}
		rows := len(list)
		in := grow(&s.buf.gathered, 2*rows*c.Hidden) // the second half receives the result
		for i, r := range list {
			copy(in[i*c.Hidden:(i+1)*c.Hidden], h[r.row*c.Hidden:(r.row+1)*c.Hidden])
		}
		act := s.gated(w.experts[e].gateUp, nil, in[:rows*c.Hidden], rows)
		y := in[rows*c.Hidden:]
		s.multiply(w.experts[e].down, cpu.Dense(y, rows, c.Hidden), cpu.Dense(act, rows, c.ExpertSize), false)
		for i, r := range list {
			dst := out[r.row*c.Hidden : (r.row+1)*c.Hidden]
			for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
				dst[j] += float32(r.weight * v)
			}
		}
	}
	if w.shared != nil {
		s.addShared(w, out, h, n)
	}
}

// addShared adds the output of the shared expert, times the sigmoid of its gate.
func (s *cpuSequence) addShared(w *layer, out, h []float32, n int) {
	c := s.config
	y := grow(&s.buf.gathered, n*c.Hidden)
	act := s.gated(w.shared.gateUp, nil, h, n)
	s.multiply(w.shared.down, cpu.Dense(y, n, c.Hidden), cpu.Dense(act, n, c.SharedSize), false)
	for i := range n {
		gate := 0.0
		for j, v := range h[i*c.Hidden : (i+1)*c.Hidden] {
			gate += float64(v) * float64(w.sharedGate[j]) // an exact product
		}
		share := float32(1 / (1 + math.Exp(-gate)))
		for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
			out[i*c.Hidden+j] += float32(share * v)
		}
	}
}
