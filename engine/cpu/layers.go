package cpu

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// RMSNorm writes x / rms(x) * weight to dst, with rms(x)² = mean(x²) + eps. Squares
// are summed in float64.
func RMSNorm(dst, x, weight []float32, eps float32) {
	scale := float32(1 / math.Sqrt(simd.SumSquares(x)/float64(len(x))+float64(eps)))
	simd.MulScaled(dst, x, weight, scale)
}

// LayerNorm writes (x - mean) / √(variance + eps) * weight + bias to dst; a nil weight
// counts as 1 and a nil bias as 0. Sums are computed in float64.
func LayerNorm(dst, x, weight, bias []float32, eps float32) {
	var sum, squares float64
	for _, v := range x {
		sum += float64(v)
	}
	mean := sum / float64(len(x))
	for _, v := range x {
		d := float64(v) - mean
		squares += float64(d * d)
	}
	scale := 1 / math.Sqrt(squares/float64(len(x))+float64(eps))
	dst = dst[:len(x)]
	for i, v := range x {
		y := float32((float64(v) - mean) * scale)
		if weight != nil {
			y *= weight[i]
		}
		if bias != nil {
			y += bias[i]
		}
		dst[i] = y
	}
}

// Activations lists the functions that Activate knows.
var Activations = []string{"silu", "gelu_tanh", "gelu", "relu", "relu2"}

// Activate writes act(gate) * up to dst, or act(gate) if up is empty. kind is one of
// Activations.
func Activate(kind string, dst, gate, up []float32, s *Scratch) {
	if kind == "silu" && len(up) > 0 {
		simd.SiLUMul(dst, gate, up)
		return
	}
	switch kind {
	case "silu":
		ones := s.Floats(len(gate))
		for i := range ones {
			ones[i] = 1
		}
		simd.SiLUMul(dst, gate, ones)
	case "gelu_tanh":
		geluTanh(dst, gate, s)
	case "gelu":
		for i, g := range gate {
			dst[i] = float32(0.5 * float64(g) * (1 + math.Erf(float64(g)/math.Sqrt2)))
		}
	case "relu":
		for i, g := range gate {
			dst[i] = max(g, 0)
		}
	case "relu2":
		for i, g := range gate {
			r := max(g, 0)
			dst[i] = r * r
		}
	}
	for i, u := range up {
		dst[i] *= u
	}
}

// ClampedSwiGLU writes g sigmoid(alpha g) (u + 1) to dst, with g = min(gate, limit) and u
// = up clamped to [-limit, limit].
func ClampedSwiGLU(dst, gate, up []float32, alpha, limit float32) {
	for i, g := range gate {
		g = min(g, limit)
		u := max(min(up[i], limit), -limit)
		dst[i] = g / (1 + float32(math.Exp(-float64(float32(alpha*g))))) * (u + 1)
	}
}

// geluTanh writes the tanh form of GELU, g/2 (1 + tanh(√(2/π)(g + 0.044715 g³))).
func geluTanh(dst, gate []float32, s *Scratch) {
	e := s.Floats(len(gate))
	for i, g := range gate {
		inner := 0.7978845608028654 * (g + float32(0.044715*g*g*g))
		e[i] = -2 * max(min(inner, 40), -40)
	}
	simd.ExpSum(e, 0)
	for i, v := range e { // (1 + tanh(y))/2 = 1 / (1 + exp(-2y))
		dst[i] = gate[i] / (1 + v)
	}
}

// Pairing says which two channels of a head RoPE rotates together.
type Pairing uint8

// Half pairs channel i with i + dim/2, as checkpoints of the hub do. Adjacent pairs
// 2i with 2i+1, as GGUF files of the Llama family do.
const (
	Half Pairing = iota
	Adjacent
)

// Rope rotates the first 2*len(cos) channels of a head, in place, by the angles whose
// cosines and sines are given.
func Rope(x, cos, sin []float32, pairing Pairing) {
	n := len(cos)
	sin = sin[:n]
	if pairing == Adjacent {
		for i, c := range cos {
			a, b := x[2*i], x[2*i+1]
			x[2*i] = float32(a*c) - float32(b*sin[i])
			x[2*i+1] = float32(b*c) + float32(a*sin[i])
		}
		return
	}
	lo, hi := x[:n], x[n:2*n]
	for i, c := range cos {
		a, b := lo[i], hi[i]
		lo[i] = float32(a*c) - float32(b*sin[i])
		hi[i] = float32(b*c) + float32(a*sin[i])
	}
}
