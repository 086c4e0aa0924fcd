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
type SSD struct {
	Heads, HeadDim   int
	Groups, State    int       // heads of a group have the same b and c
	A, D, DtBias     []float32 // [Heads]; A is negative
	MinStep, MaxStep float64   // MaxStep may be +Inf
}

// StateSize returns the number of floats of a state, [Heads, State, HeadDim], which are
// zeros before the first position.
func (s *SSD) StateSize() int { return s.Heads * s.HeadDim * s.State }

// InputWidth returns the number of channels of x, b and c together.
func (s *SSD) InputWidth() int { return s.Heads*s.HeadDim + 2*s.Groups*s.State }

// Run writes y of heads lo to hi-1, [positions, Heads*HeadDim], and brings their states to
// the last position. The rows of xbc, [positions, InputWidth], hold x of all heads, then b
// of all groups, then c; dt is [positions, Heads]. buf is a buffer of HeadDim elements.
// Results do not depend on how positions are split into calls.
func (s *SSD) Run(y, xbc, dt Mat, state []float32, lo, hi int, buf []float32) {
	size := s.State * s.HeadDim
	for h := lo; h < hi; h++ {
		for i := range y.Rows {
			out := y.Data[i*y.Stride+h*s.HeadDim:][:s.HeadDim]
			row := xbc.Data[i*xbc.Stride:][:s.InputWidth()]
			s.advance(h, out, row, dt.Data[i*dt.Stride+h], state[h*size:(h+1)*size], buf[:s.HeadDim])
		}
	}
}

// advance computes y of one position of a head; scaled is a buffer.
func (s *SSD) advance(h int, y, row []float32, dt float32, state, scaled []float32) {
	inner := s.Heads * s.HeadDim
	group := h / (s.Heads / s.Groups)
	x := row[h*s.HeadDim:][:s.HeadDim]
	b := row[inner+group*s.State:][:s.State]
	c := row[inner+(s.Groups+group)*s.State:][:s.State]
	step := min(max(softplus(float64(dt+s.DtBias[h])), s.MinStep), s.MaxStep)
	for j, v := range x {
		scaled[j] = float32(step * float64(v))
		y[j] = s.D[h] * v
	}
	simd.Scale(state, float32(math.Exp(step*float64(s.A[h]))))
	for n := range s.State {
		line := state[n*s.HeadDim:][:s.HeadDim]
		simd.AddScaled(line, scaled, b[n])
		simd.AddScaled(y, line, c[n])
	}
}

// softplus returns log(1 + exp(x)).
func softplus(x float64) float64 {
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
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
