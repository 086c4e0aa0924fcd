package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestConvAgainstLoop compares a convolution in pieces of several lengths, of columns of
// a wider matrix, with the sum that defines it.
func TestConvAgainstLoop(t *testing.T) {
	const n, channels, kernel, width = 23, 10, 4, 13
	r := rand.New(rand.NewPCG(5, 6))
	for _, biased := range []bool{false, true} {
		c := Conv{Channels: channels, Kernel: kernel, Weights: normals(r, kernel*channels)}
		if biased {
			c.Bias = normals(r, channels)
		}
		x := normals(r, n*width)
		want := make([]float32, n*channels)
		for i := range n {
			for ch := range channels {
				sum := 0.0
				if biased {
					sum = float64(c.Bias[ch])
				}
				for lag := range min(kernel, i+1) {
					sum += float64(c.Weights[(kernel-1-lag)*channels+ch]) * float64(x[(i-lag)*width+ch])
				}
				want[i*channels+ch] = float32(sum)
			}
		}
		for _, piece := range []int{1, 2, 5, n} {
			state := make([]float32, c.StateSize())
			got := make([]float32, n*channels)
			for at := 0; at < n; at += piece {
				rows := min(piece, n-at)
				in := Mat{Data: x[at*width:], Rows: rows, Cols: channels, Stride: width}
				out := Dense(got[at*channels:], rows, channels)
				c.Run(out, in, state, 0, 7)
				c.Run(out, in, state, 7, channels)
			}
			for i, v := range got {
				if math.Abs(float64(v-want[i])) > 1e-5 {
					t.Fatalf("bias %v, pieces of %d: output %d is %g, want %g", biased, piece, i, v, want[i])
				}
			}
		}
	}
}

// TestDeltaRuleAgainstLoop compares the outputs of a sequence with the definition in
// float64.
func TestDeltaRuleAgainstLoop(t *testing.T) {
	const n, kd, vd = 40, 6, 21
	r := rand.New(rand.NewPCG(7, 8))
	state := make([]float32, kd*vd)
	exact := make([]float64, kd*vd)
	out := make([]float32, vd)
	buf := make([]float32, vd)
	for i := range n {
		q, k, v := normals(r, kd), normals(r, kd), normals(r, vd)
		for j := range k {
			k[j] /= 3
		}
		decay, beta := r.Float32(), r.Float32()
		DeltaRule(out, state, q, k, v, decay, beta, buf)
		for j := range vd {
			read := 0.0
			for a := range kd {
				exact[a*vd+j] *= float64(decay)
				read += exact[a*vd+j] * float64(k[a])
			}
			want := 0.0
			for a := range kd {
				exact[a*vd+j] += float64(k[a]) * float64(beta) * (float64(v[j]) - read)
				want += exact[a*vd+j] * float64(q[a])
			}
			if math.Abs(float64(out[j])-want) > 2e-5 {
				t.Fatalf("position %d, channel %d: %g, want %g", i, j, out[j], want)
			}
		}
	}
	if slices.Max(state) == 0 {
		t.Error("the state is still empty")
	}
}

func normals(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}
