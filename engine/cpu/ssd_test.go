package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// chunks are ways to split 70 positions.
var chunks = [][]int{{70}, {1, 69}, {32, 33, 5}, {2, 1, 1, 66}, slices.Repeat([]int{7}, 10), slices.Repeat([]int{1}, 70)}

// TestSSD compares the recurrence with the attention-like form of the same layer in
// float64, without a state: y[i] is the sum over j up to i of
// (c[i]·b[j]) exp(the sum of Δ A from j+1 to i) Δ[j] x[j], and D x[i].
func TestSSD(t *testing.T) {
	const n = 70
	for _, shape := range []SSD{
		{Heads: 4, HeadDim: 12, Groups: 2, State: 8, MaxStep: math.Inf(1)},
		{Heads: 3, HeadDim: 16, Groups: 1, State: 40, MinStep: 0.3, MaxStep: 0.9},
		{Heads: 2, HeadDim: 33, Groups: 2, State: 5, MinStep: 0.001, MaxStep: math.Inf(1)},
	} {
		t.Run(fmt.Sprintf("heads=%d", shape.Heads), func(t *testing.T) {
			r := rand.New(rand.NewPCG(2, uint64(shape.Heads)))
			s := shape
			s.D = normals(r, s.Heads)
			s.DtBias = normals(r, s.Heads)
			s.A = normals(r, s.Heads)
			for h, v := range s.A {
				s.A[h] = -float32(math.Exp(float64(v)))
			}
			inner, width := s.Heads*s.HeadDim, s.InputWidth()
			xbc, dt := normals(r, n*width), normals(r, n*s.Heads)
			dt[0] = 40 // a step for which exp(dt) + 1 would be rounded
			dt[s.Heads] = -40
			want := make([]float64, n*inner)
			for h := range s.Heads {
				literalSSD(&s, h, want, xbc, dt, n)
			}
			var buf Scratch
			for _, split := range chunks {
				y := make([]float32, n*inner)
				state := make([]float32, s.StateSize())
				at := 0
				for _, rows := range split {
					out, in, steps := Dense(y[at*inner:], rows, inner), Dense(xbc[at*width:], rows, width), Dense(dt[at*s.Heads:], rows, s.Heads)
					s.Run(out, in, steps, state, 0, 1, &buf)
					s.Run(out, in, steps, state, 1, s.Heads, &buf)
					at += rows
				}
				for i, v := range y {
					if math.Abs(float64(v)-want[i]) > 1e-5*(1+math.Abs(want[i])) {
						t.Fatalf("chunks %v: position %d, channel %d is %g, want %g", split, i/inner, i%inner, v, want[i])
					}
				}
			}
		})
	}
}

// literalSSD adds the outputs of one head of n positions to y.
func literalSSD(s *SSD, h int, y []float64, xbc, dt []float32, n int) {
	inner, width := s.Heads*s.HeadDim, s.InputWidth()
	group := h * s.Groups / s.Heads
	step := make([]float64, n)
	for i := range step {
		step[i] = min(max(math.Log(1+math.Exp(float64(dt[i*s.Heads+h])+float64(s.DtBias[h]))), s.MinStep), s.MaxStep)
	}
	for i := range n {
		for j := range i + 1 {
			decay := 0.0
			for k := j + 1; k <= i; k++ {
				decay += step[k] * float64(s.A[h])
			}
			score := 0.0
			for m := range s.State {
				score += float64(xbc[i*width+inner+(s.Groups+group)*s.State+m]) * float64(xbc[j*width+inner+group*s.State+m])
			}
			for d := range s.HeadDim {
				y[i*inner+h*s.HeadDim+d] += score * math.Exp(decay) * step[j] * float64(xbc[j*width+h*s.HeadDim+d])
			}
		}
		for d := range s.HeadDim {
			y[i*inner+h*s.HeadDim+d] += float64(s.D[h]) * float64(xbc[i*width+h*s.HeadDim+d])
		}
	}
}

// TestGatedNorm compares the three forms of the norm with their definitions.
func TestGatedNorm(t *testing.T) {
	const channels, group, eps = 36, 12, 1e-3
	r := rand.New(rand.NewPCG(3, 4))
	x, gate, weight := normals(r, channels), normals(r, channels), normals(r, channels)
	silu := func(i int) float64 { return float64(gate[i]) / (1 + math.Exp(-float64(gate[i]))) }
	for _, n := range []GatedNorm{
		{Group: group, Eps: eps},
		{Weight: weight, Group: group, Eps: eps},
		{Weight: weight, Group: group, Eps: eps, NormFirst: true},
	} {
		got := slices.Clone(x)
		n.Run(got, gate)
		for i, v := range got {
			in := func(j int) float64 {
				if n.NormFirst {
					return float64(x[j])
				}
				return float64(x[j]) * silu(j)
			}
			squares := 0.0
			for j := i / group * group; j < (i/group+1)*group; j++ {
				squares += in(j) * in(j)
			}
			want := in(i) / math.Sqrt(squares/group+eps)
			switch {
			case n.Weight == nil:
				want = in(i)
			case n.NormFirst:
				want *= float64(weight[i]) * silu(i)
			default:
				want *= float64(weight[i])
			}
			if math.Abs(float64(v)-want) > 1e-6 {
				t.Fatalf("%+v: channel %d is %g, want %g", n, i, v, want)
			}
		}
	}
}
