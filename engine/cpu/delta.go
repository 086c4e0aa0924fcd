package cpu

import "github.com/attnscope/attnscope/internal/simd"

// DeltaRule appends one position to the state of a head of gated delta rule, and writes
// what its query reads to out. The state S, [len(k), len(v)], maps keys to values; it is
// zero at the beginning of a sequence:
//
//	S ← decay · S
//	S ← S + k ⊗ beta (v - Sᵀk)
//	out = Sᵀq
//
// buf is a buffer of len(v) elements.
func DeltaRule(out, state, q, k, v []float32, decay, beta float32, buf []float32) {
	n := len(v)
	delta := buf[:n]
	clear(delta)
	for i, x := range k {
		row := state[i*n : (i+1)*n]
		simd.Scale(row, decay)
		simd.AddScaled(delta, row, x)
	}
	for j, x := range v {
		delta[j] = beta * (x - delta[j])
	}
	out = out[:n]
	clear(out)
	for i, x := range k {
		row := state[i*n : (i+1)*n]
		simd.AddScaled(row, delta, x)
		simd.AddScaled(out, row, q[i])
	}
}
