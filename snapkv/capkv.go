package snapkv

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

const (
	capTemperature = 5.0  // tau of CapKV, as in kvpress
	capFloor       = 1e-6 // added to the weights of values
)

// capKV ranks by how much a value adds to the capacity of the kept values, each weighted
// by the similarity of its key to the mean query. The first Config.Sinks positions are
// kept and do not count.
//
//	w[h, j]     = exp(5·cos(K[j], mean of the window's queries)), relative to the largest
//	A[h]        = I + Σ w[h, j]·V[j]·V[j]ᵀ
//	score[h, j] = w[h, j] · V[j]ᵀ · A[h]⁻¹ · V[j]
//
// kvpress takes the mean of all queries, without the sinks, and averages their rotations
// over future positions; here queries keep the rotations of the window.
//
// Source: Yang et al., "Rethinking KV Cache Eviction via a Unified Information-Theoretic
// Objective" (CapKV), arXiv:2604.25975, as kvpress does it.
var capKV = Method{
	Name:    "capkv",
	Source:  "arXiv:2604.25975",
	Needs:   Needs{Keys: true, Values: true, Queries: true},
	Nested:  true,
	BySinks: true,
	Score:   scoreCapKV,
}

func scoreCapKV(l *Layer, c Config) ([][]float64, error) {
	group := l.Heads / l.KVHeads
	first := min(c.sinks(), l.Len)
	n := l.Len - first
	d := l.ValueDim
	scores := make([][]float64, l.Heads)
	columns := make([]float32, d*n) // values of the kv head, [dim, position]
	scaled := make([]float32, d*n)  // the same, times the roots of their weights
	roots := make([]float32, n)
	capacity := make([]float32, d*d)
	solved := simd.Dense(make([]float32, n*d), n, d)
	for h := range scores {
		kv := h / group
		if h%group == 0 {
			for j := range n {
				for i, v := range l.value(first+j, kv) {
					columns[i*n+j] = v
				}
			}
		}
		weights := capWeights(l, h, c.Window, first)
		for j, w := range weights {
			roots[j] = float32(math.Sqrt(w + capFloor))
		}
		for i := range d {
			to := scaled[i*n : (i+1)*n]
			for j, v := range columns[i*n : (i+1)*n] {
				to[j] = v * roots[j]
			}
		}
		simd.GemmT(simd.Dense(capacity, d, d), simd.Dense(scaled, d, n), simd.Dense(scaled, d, n))
		inverse, err := inverseOf(capacity, d, 1)
		if err != nil {
			return nil, err
		}
		values := simd.Mat[float32]{Data: l.Values[(first*l.KVHeads+kv)*d:], Rows: n, Cols: d, Stride: l.KVHeads * d}
		simd.GemmT(solved, values, simd.Dense(inverse, d, d))
		score := make([]float64, l.Len)
		for j, w := range weights {
			score[first+j] = w * float64(simd.Dot(l.value(first+j, kv), solved.Data[j*d:(j+1)*d]))
		}
		scores[h] = score[:l.Len-c.Window]
		raiseSinks(scores[h], c)
	}
	return scores, nil
}

// capWeights returns w of the positions from first on.
func capWeights(l *Layer, h, window, first int) []float64 {
	mean := make([]float64, l.Dim)
	for i := l.N - window; i < l.N; i++ {
		for d, v := range l.query(h, i) {
			mean[d] += float64(v)
		}
	}
	weights := make([]float64, l.Len-first)
	top := math.Inf(-1)
	for j := range weights {
		weights[j] = cosine(l.key(first+j, h*l.KVHeads/l.Heads), mean)
		top = max(top, weights[j])
	}
	for j, v := range weights {
		weights[j] = math.Exp(float64(capTemperature * (v - top)))
	}
	return weights
}
