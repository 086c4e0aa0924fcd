package cpu

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// SSD is the recurrence of Mamba-2 (Dao and Gu, 2024, section 6). Head h has a state S
// [State, HeadDim]. With the step size Δ = softplus(dt + DtBias[h]), limited to MinStep
// and MaxStep, an input x [HeadDim] and vectors b and c [State] of the head's group, a
// position computes
//
//	S ← exp(Δ A[h]) S + b (Δ x)ᵀ
//	y = Sᵀ c + D[h] x
//
// Positions are computed in blocks, by the matrix products of section 6.2. The outputs of
// a block are the sum of two parts: one follows from the state before the block, the
// other from the positions in the block, as in attention without softmax.
type SSD struct {
	Heads, HeadDim   int
	Groups, State    int       // heads of a group, which are consecutive, have the same b and c
	A, D, DtBias     []float32 // [Heads]; A is negative
	MinStep, MaxStep float64   // MaxStep may be +Inf
}

// ssdBlock is the number of positions of a block.
const ssdBlock = simd.Width

// panels is the number of panels of 32 channels of a head.
func (s *SSD) panels() int { return simd.Panels(s.HeadDim) }

// headSize is the number of elements of a head's state, panels of 32 channels,
// [State][32] each.
func (s *SSD) headSize() int { return s.panels() * s.State * simd.Width }

// StateSize returns the number of elements of a state, which is zero before the first
// position. Its layout is that of panels.
func (s *SSD) StateSize() int { return s.Heads * s.headSize() }

// InputWidth returns the number of channels of x, b and c together.
func (s *SSD) InputWidth() int { return s.Heads*s.HeadDim + 2*s.Groups*s.State }

// Run writes y of heads lo to hi-1, [positions, Heads*HeadDim], and updates their states
// to those after the last position. The rows of xbc, [positions, InputWidth], hold x of
// all heads, then b of all groups, then c; dt is [positions, Heads].
func (s *SSD) Run(y, xbc, dt Mat, state []float32, lo, hi int, scratch *Scratch) {
	k := newSSDBuffers(s, scratch)
	for row := 0; row < y.Rows; row += ssdBlock {
		n := min(ssdBlock, y.Rows-row)
		group := -1
		for h := lo; h < hi; h++ {
			in := xbc.Sub(row, 0, n, s.InputWidth())
			if g := h / (s.Heads / s.Groups); g != group {
				group = g
				k.scores(s, in, group)
			}
			head := state[h*s.headSize():][:s.headSize()]
			k.steps(s, dt.Sub(row, h, n, 1), h)
			k.advance(s, y.Sub(row, h*s.HeadDim, n, s.HeadDim), in, head, h)
		}
	}
}

// ssdBuffers holds what the computation of a block of one head needs.
type ssdBuffers struct {
	b, c   Mat       // vectors of the group, [positions, State]
	panel  []float32 // b as a panel, [State][32], then Δ x of 32 channels, [positions][32]
	score  []float32 // c·b, [position, earlier position]
	weight []float32 // score, decayed
	scaled []float32 // c, decayed from the beginning of the block; then bᵀ, decayed to its end
	step   [ssdBlock]float64
	sum    [ssdBlock]float64 // Δ A added up to each position
}

func newSSDBuffers(s *SSD, scratch *Scratch) *ssdBuffers {
	wide := max(s.State, ssdBlock) * simd.Width
	buf := scratch.Floats(2*wide + 2*ssdBlock*ssdBlock)
	return &ssdBuffers{
		panel: buf[:wide], scaled: buf[wide : 2*wide],
		score: buf[2*wide:][:ssdBlock*ssdBlock], weight: buf[2*wide+ssdBlock*ssdBlock:],
	}
}

// scores computes the products of the vectors b and c of a group.
func (k *ssdBuffers) scores(s *SSD, in Mat, group int) {
	inner := s.Heads * s.HeadDim
	k.b = in.Sub(0, inner+group*s.State, in.Rows, s.State)
	k.c = in.Sub(0, inner+(s.Groups+group)*s.State, in.Rows, s.State)
	simd.PackPanel(k.panel, k.b, 0)
	simd.MulPanel(Dense(k.score, in.Rows, ssdBlock), k.c, k.panel, false)
}

// steps computes the step sizes of a head, and their sums times A.
func (k *ssdBuffers) steps(s *SSD, dt Mat, h int) {
	sum := 0.0
	for i := range dt.Rows {
		k.step[i] = min(max(softplus(float64(dt.Data[i*dt.Stride]+s.DtBias[h])), s.MinStep), s.MaxStep)
		sum += float64(k.step[i] * float64(s.A[h]))
		k.sum[i] = sum
	}
}

// softplus returns log(1 + exp(x)).
func softplus(x float64) float64 {
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
}

// advance computes y of a block of one head, and its state after the block.
func (k *ssdBuffers) advance(s *SSD, y, in Mat, state []float32, h int) {
	n := in.Rows
	weight := Dense(k.weight, n, n)
	for i := range n { // the weight of position j for i is its score times exp(sum of Δ A after j)
		row := weight.Data[i*n : (i+1)*n]
		for j := range i + 1 {
			row[j] = float32(k.sum[i] - k.sum[j])
		}
		simd.ExpSum(row[:i+1], 0)
		for j := range i + 1 {
			row[j] *= k.score[i*ssdBlock+j]
		}
		clear(row[i+1:])
	}
	c := Dense(k.scaled, n, s.State)
	for i := range n {
		by := float32(math.Exp(k.sum[i]))
		for m, v := range k.c.Data[i*k.c.Stride:][:s.State] {
			c.Data[i*s.State+m] = by * v
		}
	}
	k.outputs(s, y, in, weight, c, state, h)
	b := Dense(k.scaled, s.State, n)
	for i := range n {
		by := float32(math.Exp(k.sum[n-1] - k.sum[i]))
		for m, v := range k.b.Data[i*k.b.Stride:][:s.State] {
			b.Data[m*n+i] = by * v
		}
	}
	simd.Scale(state, float32(math.Exp(k.sum[n-1])))
	for p := range s.panels() {
		k.inputs(s, in, h, p)
		simd.MulPanel(Dense(state[p*s.State*simd.Width:], s.State, simd.Width), b, k.panel, true)
	}
}

// outputs computes y of a block of one head from the weights of the positions in it and
// from the state before it.
func (k *ssdBuffers) outputs(s *SSD, y, in, weight, c Mat, state []float32, h int) {
	for p := range s.panels() {
		out := y.Sub(0, p*simd.Width, y.Rows, min(simd.Width, s.HeadDim-p*simd.Width))
		k.inputs(s, in, h, p)
		simd.MulPanel(out, weight, k.panel, false)
		simd.MulPanel(out, c, state[p*s.State*simd.Width:][:s.State*simd.Width], true)
	}
	for i := range y.Rows {
		x := in.Data[i*in.Stride+h*s.HeadDim:][:s.HeadDim]
		simd.AddScaled(y.Data[i*y.Stride:][:s.HeadDim], x, s.D[h])
	}
}

// inputs writes Δ x of 32 channels of a head to the panel.
func (k *ssdBuffers) inputs(s *SSD, in Mat, h, panel int) {
	channels := min(simd.Width, s.HeadDim-panel*simd.Width)
	for i := range in.Rows {
		row := k.panel[i*simd.Width : (i+1)*simd.Width]
		by := k.step[i]
		for j, v := range in.Data[i*in.Stride+h*s.HeadDim+panel*simd.Width:][:channels] {
			row[j] = float32(by * float64(v))
		}
		clear(row[channels:])
	}
}

// GatedNorm normalizes and gates the output of a recurrence.
type GatedNorm struct {
	Weight    []float32 // [channels]; nil: the output is gated, but not normalized
	Group     int       // channels that are normalized together
	Eps       float32
	NormFirst bool // the gate is applied after the norm instead of before it
}

// Run replaces a row x by norm(x * silu(gate)), or by norm(x) * silu(gate).
func (n *GatedNorm) Run(x, gate []float32) {
	if n.Weight == nil || !n.NormFirst {
		simd.SiLUMul(x, gate, x)
	}
	if n.Weight == nil {
		return
	}
	for at := 0; at < len(x); at += n.Group {
		part := x[at : at+n.Group]
		RMSNorm(part, part, n.Weight[at:at+n.Group], n.Eps)
	}
	if n.NormFirst {
		simd.SiLUMul(x, gate, x)
	}
}
