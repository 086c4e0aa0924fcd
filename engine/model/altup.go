package model

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// In Gemma 3n, a token has several states (arXiv:2301.13310). A layer computes only one
// of them, the active state. Before the layer, each state is predicted as a mixture of
// all states. After it, each prediction is corrected by the difference between the output
// of the layer and the prediction of the active state.

// tokenStates holds the weights that make the states from an embedding before the first
// layer, and one state from all states after the last layer.
type tokenStates struct {
	widen  []*cpu.Matrix // of the states after the first, [hidden, hidden]
	narrow []*cpu.Matrix
}

// altUp holds the weights by which a layer predicts and corrects the states.
type altUp struct {
	norm    []float32
	router  *cpu.Matrix // [Streams, hidden]
	predict []float32   // [Streams, Streams, Streams]
	correct []float32   // [Streams, Streams]
	scale   []float32   // of the active state, before the layer's own input is computed from it
	left    *cpu.Matrix // a low-rank path parallel to the attention: [Laurel, hidden]
	right   *cpu.Matrix // [hidden, Laurel]
	leave   []float32   // the norm of that path
}

// tokenStates reads the weights that make several states and join them.
func (l *loader) tokenStates() (*tokenStates, error) {
	if l.c.Streams == 0 {
		return nil, nil
	}
	var w tokenStates
	var err error
	if w.widen, err = l.squares("widen"); err != nil {
		return nil, err
	}
	w.narrow, err = l.squares("narrow")
	return &w, err
}

// squares reads the matrices [hidden, hidden] of all states but the first. GGUF files
// have them in one tensor.
func (l *loader) squares(role string) ([]*cpu.Matrix, error) {
	c := l.c
	list := make([]*cpu.Matrix, c.Streams-1)
	if !c.gguf {
		for i := range list {
			var err error
			if list[i], err = l.matrices(i, c.Hidden, part{role, c.Hidden}); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	all, err := l.tensor(role, -1, ".weight", len(list), c.Hidden, c.Hidden)
	if err != nil {
		return nil, err
	}
	for i := range list {
		t, err := all.Slice(i*c.Hidden, (i+1)*c.Hidden)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		if list[i], err = l.pack(t); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// altUp reads the weights of a layer that concern the states. Those of the small products
// stay exact, like the weights of routers.
func (l *loader) altUp(at int) (*altUp, error) {
	c := l.c
	if c.Streams == 0 {
		return nil, nil
	}
	var w altUp
	var err error
	if w.router, err = l.exactly().matrices(at, c.Hidden, part{"altup_router", c.Streams}); err != nil {
		return nil, err
	}
	if w.left, err = l.matrices(at, c.Hidden, part{"laurel_left", c.Laurel}); err != nil {
		return nil, err
	}
	if w.right, err = l.matrices(at, c.Laurel, part{"laurel_right", c.Hidden}); err != nil {
		return nil, err
	}
	for _, v := range []struct {
		dst          *[]float32
		role, suffix string
		shape        []int
	}{
		{&w.norm, "altup_norm", ".weight", []int{c.Hidden}},
		{&w.predict, "altup_predict", ".weight", []int{c.Streams * c.Streams, c.Streams}},
		{&w.correct, "altup_correct", ".weight", []int{c.Streams, c.Streams}},
		{&w.scale, "altup_scale", l.bare(), []int{c.Hidden}},
		{&w.leave, "laurel_norm", ".weight", []int{c.Hidden}},
	} {
		t, err := l.tensor(v.role, at, v.suffix, v.shape...)
		if err != nil {
			return nil, err
		}
		if *v.dst, err = l.finite(t, 0); err != nil {
			return nil, err
		}
	}
	return &w, nil
}

// widen makes the states of a chunk's tokens from their embeddings, in in.states.
func (s *cpuSequence) widen(in *chunk) {
	c := s.config
	if c.Streams == 0 {
		return
	}
	size := in.n * c.Hidden
	all := in.room(&s.buf.states, c.Streams*size)
	in.states = all
	copy(all[:size], in.x)
	for k, w := range s.tokenStates.widen {
		state := all[(k+1)*size : (k+2)*size]
		s.multiply(w, cpu.Dense(state, in.n, c.Hidden), cpu.Dense(in.x, in.n, c.Hidden), false)
		for i := range in.n {
			matchMagnitude(state[i*c.Hidden:(i+1)*c.Hidden], in.x[i*c.Hidden:(i+1)*c.Hidden])
		}
	}
}

// matchMagnitude scales x to the root mean square of like.
func matchMagnitude(x, like []float32) {
	target := float32(math.Sqrt(float64(meanSquare(like))))
	now := float32(math.Sqrt(float64(max(meanSquare(x), 1e-5))))
	for i, v := range x {
		x[i] = float32(v*target) / now
	}
}

func meanSquare(x []float32) float32 { return float32(simd.SumSquares(x) / float64(len(x))) }

// narrow joins the states of a chunk's rows from row from on, and writes the result to
// in.x.
func (s *cpuSequence) narrow(in *chunk, from int) {
	c := s.config
	if c.Streams == 0 || from >= in.n {
		return
	}
	size := in.n * c.Hidden
	n := in.n - from
	first := in.states[from*c.Hidden : size]
	sum := in.x[from*c.Hidden : size]
	y := grow(&s.buf.mixed, n*c.Hidden)
	copy(sum, first)
	for k, w := range s.tokenStates.narrow {
		state := in.states[(k+1)*size+from*c.Hidden : (k+2)*size]
		s.multiply(w, cpu.Dense(y, n, c.Hidden), cpu.Dense(state, n, c.Hidden), false)
		for i := range n {
			row := y[i*c.Hidden : (i+1)*c.Hidden]
			matchMagnitude(row, first[i*c.Hidden:(i+1)*c.Hidden])
			simd.AddScaled(sum[i*c.Hidden:(i+1)*c.Hidden], row, 1)
		}
	}
	for i := range sum {
		sum[i] /= float32(c.Streams)
	}
}

// modalities computes the mixtures of n states x by the router of a layer, [n, Streams].
func (s *cpuSequence) modalities(w *altUp, x []float32, n int) []float32 {
	c := s.config
	h := grow(&s.buf.mixed, n*c.Hidden)
	m := grow(&s.buf.routed, n*c.Streams)
	by := 1 / float32(c.Hidden)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := h[i*c.Hidden : (i+1)*c.Hidden]
		cpu.RMSNorm(row, x[i*c.Hidden:(i+1)*c.Hidden], w.norm, c.NormEps)
		simd.Scale(row, by)
	})
	s.multiply(w.router, cpu.Dense(m, n, c.Streams), cpu.Dense(h, n, c.Hidden), false)
	for i, v := range m {
		m[i] = float32(math.Tanh(float64(v)))
	}
	return m
}

// predict replaces the states of a chunk by their predictions, and copies that of the
// active state to in.x.
func (s *cpuSequence) predict(w *altUp, in *chunk) {
	c := s.config
	k := c.Streams
	size := in.n * c.Hidden
	m := s.modalities(w, in.states[c.ActiveStream*size:(c.ActiveStream+1)*size], in.n)
	s.rows(in.n, func(i int, scratch *cpu.Scratch) {
		buf := scratch.Floats(k*k + k)
		coefficients := buf[:k*k]
		old := buf[k*k:]
		for j := range coefficients {
			coefficients[j] = dot(w.predict[j*k:(j+1)*k], m[i*k:(i+1)*k])
		}
		for d := i * c.Hidden; d < (i+1)*c.Hidden; d++ {
			for j := range old {
				old[j] = in.states[j*size+d]
			}
			for j, v := range old {
				in.states[j*size+d] = dot(coefficients[j*k:(j+1)*k], old) + v
			}
		}
		copy(in.x[i*c.Hidden:(i+1)*c.Hidden], in.states[c.ActiveStream*size+i*c.Hidden:])
	})
}

// dot returns the sum of the products of two short vectors.
func dot(a, b []float32) float32 {
	var sum float32
	for i, v := range a {
		sum += float32(v * b[i])
	}
	return sum
}

// correct moves the states of a chunk's rows from row from on by how far in.x, the output
// of layer l, is from the prediction of the active state, and adds the layer's own input
// to all but the first.
func (s *cpuSequence) correct(l int, in *chunk, from int) {
	c := s.config
	w := s.layers[l].altUp
	k := c.Streams
	n := in.n - from
	size := in.n * c.Hidden
	x := in.x[from*c.Hidden : size]
	m := s.modalities(w, x, n)
	active := in.states[c.ActiveStream*size+from*c.Hidden : (c.ActiveStream+1)*size]
	s.rows(n, func(i int, scratch *cpu.Scratch) {
		by := scratch.Floats(k)
		for j := range by {
			by[j] = dot(w.correct[j*k:(j+1)*k], m[i*k:(i+1)*k]) + 1
		}
		for d := i * c.Hidden; d < (i+1)*c.Hidden; d++ {
			moved := x[d] - active[d]
			for j, b := range by {
				in.states[j*size+from*c.Hidden+d] += float32(moved * b)
			}
			x[d] = active[d]
			if c.StreamScale {
				x[d] *= w.scale[d-i*c.Hidden]
			}
		}
	})
	y := s.ownInput(l, in, from, x)
	for j := 1; j < k; j++ {
		simd.AddScaled(in.states[j*size+from*c.Hidden:(j+1)*size], y, 1)
	}
}

// laurel writes the output of the low-rank path for the attention's input h to
// s.buf.laurel: the sum of h and the norm of right·left·h.
func (s *cpuSequence) laurel(w *altUp, h []float32, n int) {
	c := s.config
	low := grow(&s.buf.act, n*c.Laurel)
	y := grow(&s.buf.laurel, n*c.Hidden)
	s.multiply(w.left, cpu.Dense(low, n, c.Laurel), cpu.Dense(h, n, c.Hidden), false)
	s.multiply(w.right, cpu.Dense(y, n, c.Hidden), cpu.Dense(low, n, c.Laurel), false)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := y[i*c.Hidden : (i+1)*c.Hidden]
		cpu.RMSNorm(row, row, w.leave, c.NormEps)
		simd.AddScaled(row, h[i*c.Hidden:(i+1)*c.Hidden], 1)
	})
}

// addLaurel combines the output x of the attention with the output of the low-rank path.
func (s *cpuSequence) addLaurel(x []float32, from int) {
	for i, v := range s.buf.laurel[from*s.config.Hidden:][:len(x)] {
		x[i] = (x[i] + v) / float32(math.Sqrt2)
	}
}
