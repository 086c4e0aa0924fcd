package model

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// expert is one feed-forward of a mixture.
type expert struct {
	gateUp, down         *cpu.Matrix
	gateUpBias, downBias []float32 // nil: none
}

// A Router says how the experts of a token are chosen. By default they are those with the
// largest softmax of the router's logits, which is also their weight.
type Router struct {
	Sigmoid bool // the sigmoids of the logits take the place of the softmax
	Offset  bool // the logits have a bias, which counts in both
	Biased  bool // every expert has a bias, which counts in the choice and not in the weight
	// Experts are in groups of equal size. The choice is among the TopGroups best groups:
	// those whose two best experts have the largest sum, or with BestOne, whose best
	// expert is the best. 0 or 1: all experts are one group.
	Groups, TopGroups int
	BestOne           bool
	Scale             float64 // factor of the weights; 0: 1
	NormFloor         float64 // added to the sum by which weights are divided if they are scaled to a sum of 1
	ScaleInput        bool    // the weight of an expert multiplies its input, not its output (Llama 4)
}

// sparse reports whether a layer has a mixture of experts.
func (c *Config) sparse(layer int) bool { return c.Experts > 0 && (c.Sparse == nil || c.Sparse[layer]) }

// feeds reports whether a layer has a feed-forward or a mixture.
func (c *Config) feeds(layer int) bool { return c.FeedForward == nil || c.FeedForward[layer] }

// expertWidth is the number of channels that an expert reads and writes.
func (c *Config) expertWidth() int { return cmp.Or(c.ExpertHidden, c.Hidden) }

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
	if c.Router.Biased {
		if w.routerBias, err = l.vector("router_bias", at, "", c.Experts, 0); err != nil {
			return err
		}
	}
	if c.Router.Offset {
		if w.routerOffset, err = l.vector("router", at, ".bias", c.Experts, 0); err != nil {
			return err
		}
	}
	if c.BesideDense {
		if w.beside, err = l.besideDense(at); err != nil {
			return err
		}
	}
	if c.ExpertHidden > 0 {
		if w.toExperts, err = l.matrices(at, c.Hidden, part{"experts_in", c.ExpertHidden}); err != nil {
			return err
		}
		if w.fromExperts, err = l.matrices(at, c.ExpertHidden, part{"experts_out", c.Hidden}); err != nil {
			return err
		}
	}
	stacks, err := l.stacks(at)
	if err != nil {
		return err
	}
	biases, err := l.expertBiases(at)
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
		if biases != nil {
			x.gateUpBias = biases.gateUp[e*2*c.ExpertSize:][:2*c.ExpertSize]
			x.downBias = biases.down[e*c.Hidden:][:c.Hidden]
		}
		w.experts = append(w.experts, x)
	}
	if c.SharedSize > 0 {
		return l.sharedExpert(at, w)
	}
	return nil
}

// sharedExpert reads the expert that every token goes through, and its gate if it has
// one.
func (l *loader) sharedExpert(at int, w *layer) error {
	c := l.c
	parts := []part{{"shared_gate", c.SharedSize}, {"shared_up", c.SharedSize}}
	switch {
	case c.Plain:
		parts = parts[1:]
	case !c.gguf && c.arch.Names["shared_gate_up"] != "":
		parts = []part{{"shared_gate_up", 2 * c.SharedSize}}
	}
	gateUp, err := l.matrices(at, c.Hidden, parts...)
	if err != nil {
		return err
	}
	if w.gateUpBias, err = l.biases(at, parts...); err != nil {
		return err
	}
	if w.downBias, err = l.bias("shared_down", at, c.Hidden); err != nil {
		return err
	}
	down, err := l.matrices(at, c.SharedSize, part{"shared_down", c.Hidden})
	if err != nil {
		return err
	}
	w.shared = &expert{gateUp: gateUp, down: down}
	if !c.SharedGate {
		return nil
	}
	shape := []int{1, c.Hidden}
	if t, ok := l.find(l.name("shared_router", at, ".weight")); ok && len(t.Shape) == 1 { // GGUF files have either
		shape = shape[1:]
	}
	t, err := l.tensor("shared_router", at, ".weight", shape...)
	if err != nil {
		return err
	}
	if l.dataless() {
		return nil
	}
	w.sharedGate, err = t.Float32()
	return err
}

// stack is a tensor that holds one matrix of every expert.
type stack struct {
	t    tensor.Tensor
	rows int // per expert
	// crossed says that a matrix is [in, out], and twins that outputs of gate and up
	// alternate.
	crossed, twins bool
}

// matrices returns the matrices of an expert.
func (s *stack) matrices(e int) ([]tensor.Tensor, error) {
	t, err := s.t.Slice(e*s.rows, (e+1)*s.rows)
	if err == nil && s.crossed {
		t, err = t.TransposedView()
	}
	if err != nil || !s.twins {
		return []tensor.Tensor{t}, err
	}
	gate, err := t.EveryRow(0, 2)
	if err != nil {
		return nil, err
	}
	up, err := t.EveryRow(1, 2)
	return []tensor.Tensor{gate, up}, err
}

// stacks finds the tensors that hold all experts, by role. The map is empty if each
// expert has tensors of its own.
func (l *loader) stacks(at int) (map[string]stack, error) {
	c := l.c
	width := c.expertWidth()
	shapes := map[string][2]int{
		"experts_gate":    {c.ExpertSize, width},
		"experts_up":      {c.ExpertSize, width},
		"experts_gate_up": {2 * c.ExpertSize, width},
		"experts_down":    {width, c.ExpertSize},
	}
	found := map[string]stack{}
	for role, shape := range shapes {
		for _, suffix := range []string{".weight", ""} {
			name := l.name(role, at, suffix)
			if _, ok := l.find(name); name == suffix || !ok {
				continue
			}
			s := stack{rows: shape[0]}
			if c.arch.CrossedExperts && !c.gguf {
				t, _ := l.find(name)
				s.twins = c.arch.TwinChannels && role == "experts_gate_up"
				s.crossed = t.Coded == nil
			}
			if s.crossed {
				shape[0], shape[1] = shape[1], shape[0]
				s.rows = shape[0]
			}
			var err error
			if s.t, err = l.tensor(role, at, suffix, c.Experts, shape[0], shape[1]); err != nil {
				return nil, err
			}
			found[role] = s
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
		list, err := s.matrices(e)
		if err != nil {
			return nil, down, fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		if role == "experts_down" {
			return gateUp, list[0], nil
		}
		gateUp = append(gateUp, list...)
	}
	return l.singleExpert(at, e)
}

// stackedBiases holds the biases of all experts of a layer: [experts, 2*channels], gate
// before up, and [experts, hidden].
type stackedBiases struct{ gateUp, down []float32 }

// expertBiases reads the biases of the experts, if the family has them.
func (l *loader) expertBiases(at int) (*stackedBiases, error) {
	c := l.c
	if !c.arch.TwinChannels {
		return nil, nil
	}
	suffix := "_bias"
	if c.gguf {
		suffix = ".bias"
	}
	var b stackedBiases
	var err error
	if b.down, err = l.stackedVectors("experts_down", at, suffix, c.Hidden); err != nil {
		return nil, err
	}
	n := c.ExpertSize
	b.gateUp = make([]float32, c.Experts*2*n)
	if !c.gguf {
		both, err := l.stackedVectors("experts_gate_up", at, suffix, 2*n)
		if err != nil {
			return nil, err
		}
		for i, v := range both {
			b.gateUp[i/(2*n)*2*n+i%2*n+i%(2*n)/2] = v
		}
		return &b, nil
	}
	for half, role := range []string{"experts_gate", "experts_up"} {
		v, err := l.stackedVectors(role, at, suffix, n)
		if err != nil {
			return nil, err
		}
		for e := range c.Experts {
			copy(b.gateUp[(2*e+half)*n:], v[e*n:(e+1)*n])
		}
	}
	return &b, nil
}

// stackedVectors reads a tensor that holds one vector of every expert.
func (l *loader) stackedVectors(role string, at int, suffix string, n int) ([]float32, error) {
	t, err := l.tensor(role, at, suffix, l.c.Experts, n)
	if err != nil {
		return nil, err
	}
	return l.finite(t, 0)
}

// singleExpert finds the tensors of an expert that has its own.
func (l *loader) singleExpert(at, e int) (gateUp []tensor.Tensor, down tensor.Tensor, err error) {
	c := l.c
	var list []tensor.Tensor
	width := c.expertWidth()
	for _, p := range []struct {
		role    string
		out, in int
	}{
		{"expert_gate", c.ExpertSize, width},
		{"expert_up", c.ExpertSize, width},
		{"expert_down", width, c.ExpertSize},
	} {
		if p.role == "expert_gate" && c.Plain {
			continue
		}
		name := fmt.Sprintf(c.arch.Names[p.role], at, e) + ".weight"
		if l.c.gguf || c.arch.Names[p.role] == "" {
			name = l.name("experts_down", at, ".weight")
		}
		t, ok := l.find(name)
		var err error
		if !ok {
			t, err = l.missing(name, p.out, p.in)
		} else if !slices.Equal(t.Shape, []int{p.out, p.in}) {
			t, err = l.misshapen(name, t, p.out, p.in)
		}
		if err != nil {
			return nil, t, err
		}
		list = append(list, t)
	}
	last := len(list) - 1
	return list[:last], list[last], nil
}

// routed is an expert that a token is sent to.
type routed struct {
	expert int
	weight float32
}

// route returns the TopExperts experts that the router chooses for a token, in descending
// order; equal ones are in order of their index. Their weights are scaled to a sum of 1 if
// NormExperts is set. bias is that of a layer's router, or nil.
func (c *Config) route(logits, bias []float32) []routed {
	p := c.Router.shares(logits)
	choice := slices.Clone(p)
	for e, b := range bias {
		choice[e] = float64(float32(p[e]) + b)
	}
	c.Router.leaveGroups(choice)
	var list []routed
	kept := c.Router.NormFloor
	for range c.TopExperts {
		best := -1
		for e, v := range choice {
			if !math.IsInf(v, -1) && (best < 0 || v > choice[best]) {
				best = e
			}
		}
		if best < 0 { // only if the groups left have fewer experts, which checkGroups refuses
			break
		}
		list = append(list, routed{best, float32(p[best])})
		kept += p[best]
		choice[best] = math.Inf(-1)
	}
	for i := range list {
		if c.NormExperts {
			list[i].weight = float32(float64(list[i].weight) / kept)
		}
		if c.Router.Scale > 0 {
			list[i].weight *= float32(c.Router.Scale)
		}
	}
	return list
}

// shares returns the softmax or the sigmoids of a router's logits.
func (r *Router) shares(logits []float32) []float64 {
	p := make([]float64, len(logits))
	if r.Sigmoid {
		for e, v := range logits {
			p[e] = 1 / (1 + math.Exp(-float64(v)))
		}
		return p
	}
	top := math.Inf(-1)
	for _, v := range logits {
		top = max(top, float64(v))
	}
	sum := 0.0
	for e, v := range logits {
		p[e] = math.Exp(float64(v) - top)
		sum += p[e]
	}
	for e := range p {
		p[e] /= sum
	}
	return p
}

// leaveGroups sets the experts outside the best groups to -Inf.
func (r *Router) leaveGroups(choice []float64) {
	if r.Groups < 2 {
		return
	}
	size := len(choice) / r.Groups
	sums := make([]float64, r.Groups)
	for g := range sums {
		best := slices.Sorted(slices.Values(choice[g*size : (g+1)*size]))
		sums[g] = best[size-1]
		if !r.BestOne {
			sums[g] += best[size-2]
		}
	}
	left := make([]bool, r.Groups)
	for range r.TopGroups {
		best := -1
		for g, v := range sums {
			if !left[g] && (best < 0 || v > sums[best]) {
				best = g
			}
		}
		left[best] = true
	}
	for e := range choice {
		if !left[e/size] {
			choice[e] = math.Inf(-1)
		}
	}
}

// readDeepExperts reads a mixture under the names of DeepSeek V3: sigmoids, a bias for the
// choice, groups of experts, shared experts without a gate, and dense layers at the
// beginning.
func (c *Config) readDeepExperts(f *fields, normed bool) {
	if f.count("n_routed_experts", 0, 0) == 0 {
		return
	}
	c.readExperts(f, "n_routed_experts")
	c.ExpertSize = f.count("moe_intermediate_size", c.Intermediate, 1)
	c.SharedSize = c.ExpertSize * f.count("n_shared_experts", 0, 0)
	c.NormExperts = f.flag("norm_topk_prob", normed)
	c.Router = Router{
		Sigmoid: true, Biased: true, Scale: f.positive("routed_scaling_factor", 1),
		Groups: f.count("n_group", 1, 0), TopGroups: f.count("topk_group", 1, 0),
	}
	c.checkGating(f)
	c.checkGroups(f)
	c.denseFirst(f.count("first_k_dense_replace", 0, 0))
}

// denseFirst says that the first n layers have no mixture.
func (c *Config) denseFirst(n int) {
	c.Sparse = make([]bool, c.Layers)
	for l := range c.Sparse {
		c.Sparse[l] = l >= n
	}
}

// The functions of a router in GGUF files.
const (
	ggufSoftmax = 1
	ggufSigmoid = 2
	// The softmax of the logits of the chosen experts.
	ggufSoftmaxOfChosen = 3
)

// checkGating reports a GGUF file whose router has another function than the family's.
func (c *Config) checkGating(f *fields) {
	if !f.gguf() {
		return
	}
	want := ggufSoftmax
	if c.Router.Sigmoid {
		want = ggufSigmoid
	}
	if n := f.count("expert_gating_func", want, 0); n != 0 && n != want {
		f.bad("expert_gating_func", n, fmt.Sprintf("%d in a %s model", want, c.Architecture))
	}
}

// checkGroups reports groups of experts that are impossible.
func (c *Config) checkGroups(f *fields) {
	r := c.Router
	if r.Groups < 2 || f.err != nil {
		return
	}
	size := c.Experts / r.Groups
	switch {
	case c.Experts%r.Groups != 0 || size < 2 && !r.BestOne:
		f.bad("n_group", r.Groups, fmt.Sprintf("groups of equal size, of two or more of the %d experts", c.Experts))
	case r.TopGroups < 1 || r.TopGroups > r.Groups:
		f.bad("topk_group", r.TopGroups, fmt.Sprintf("1 to %d, the number of groups", r.Groups))
	case c.TopExperts > size*r.TopGroups:
		f.bad("num_experts_per_tok", c.TopExperts, fmt.Sprintf("at most %d, the experts of the chosen groups", size*r.TopGroups))
	}
}

// mixture writes to out, for each of the n rows of h, the weighted sum of the outputs
// of its experts.
func (s *cpuSequence) mixture(w *layer, out, h []float32, n int) {
	s.experts(w, out, h, s.routing(w, h, n), n)
}

// routing returns the router's logits of n rows.
func (s *cpuSequence) routing(w *layer, h []float32, n int) []float32 {
	c := s.config
	logits := grow(&s.buf.routed, n*c.Experts)
	s.multiply(w.router, cpu.Dense(logits, n, c.Experts), cpu.Dense(h, n, c.Hidden), false)
	addBias(logits, w.routerOffset, n)
	return logits
}

// experts writes to out the weighted sum of the outputs of the experts that the router's
// logits choose. It gathers the rows of each expert to multiply them in one product.
func (s *cpuSequence) experts(w *layer, out, h, logits []float32, n int) {
	c := s.config
	type share struct {
		row    int
		weight float32
	}
	shares := make([][]share, c.Experts)
	for i := range n {
		for _, r := range c.route(logits[i*c.Experts:(i+1)*c.Experts], w.routerBias) {
			if w.beside != nil {
				r.weight *= w.beside.expertScale[r.expert]
			}
			shares[r.expert] = append(shares[r.expert], share{i, r.weight})
		}
	}
	width := c.expertWidth()
	sum, x := out, h
	if w.toExperts != nil {
		latent := grow(&s.buf.expertsIn, 2*n*width) // the second half receives the sum
		x = latent[:n*width]
		sum = latent[n*width:]
		s.multiply(w.toExperts, cpu.Dense(x, n, width), cpu.Dense(h, n, c.Hidden), false)
	}
	clear(sum)
	for e, list := range shares {
		if len(list) == 0 {
			continue
		}
		rows := len(list)
		in := grow(&s.buf.gathered, 2*rows*width) // the second half receives the result
		for i, r := range list {
			row := in[i*width : (i+1)*width]
			copy(row, x[r.row*width:(r.row+1)*width])
			if c.Router.ScaleInput {
				simd.Scale(row, r.weight)
				list[i].weight = 1
			}
		}
		act := s.gated(w.experts[e].gateUp, w.experts[e].gateUpBias, in[:rows*width], rows, Trim{})
		y := in[rows*width:]
		s.multiply(w.experts[e].down, cpu.Dense(y, rows, width), cpu.Dense(act, rows, c.ExpertSize), false)
		addBias(y, w.experts[e].downBias, rows)
		for i, r := range list {
			dst := sum[r.row*width : (r.row+1)*width]
			for j, v := range y[i*width : (i+1)*width] {
				dst[j] += float32(r.weight * v)
			}
		}
	}
	if w.fromExperts != nil {
		s.multiply(w.fromExperts, cpu.Dense(out, n, c.Hidden), cpu.Dense(sum, n, width), false)
	}
	if w.shared != nil {
		s.addShared(w, out, h, n)
	}
}

// addShared adds the output of the shared expert, times the sigmoid of its gate if it has
// one.
func (s *cpuSequence) addShared(w *layer, out, h []float32, n int) {
	c := s.config
	y := grow(&s.buf.gathered, n*c.Hidden)
	act := s.gated(w.shared.gateUp, w.gateUpBias, h, n, Trim{})
	s.multiply(w.shared.down, cpu.Dense(y, n, c.Hidden), cpu.Dense(act, n, c.SharedSize), false)
	addBias(y, w.downBias, n)
	for i := range n {
		if w.sharedGate == nil {
			for j, v := range y[i*c.Hidden : (i+1)*c.Hidden] {
				out[i*c.Hidden+j] += v
			}
			continue
		}
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
