package snapkv

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// knorm keeps the keys of smallest norm (arXiv:2406.11430).
var knorm = Method{
	Name: "knorm", Source: "arXiv:2406.11430", Nested: true, Needs: Needs{Keys: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		return perKV(l, c, func(j, g int) float64 { return -norm(l.key(j, g)) }), nil
	},
}

// keyDiff keeps the keys least like the mean direction (arXiv:2504.15364).
var keyDiff = Method{
	Name: "keydiff", Source: "arXiv:2504.15364", Nested: true, Needs: Needs{Keys: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		mean := make([][]float64, l.KVHeads)
		for g := range mean {
			mean[g] = make([]float64, l.Dim)
			for j := range l.Len {
				k := l.key(j, g)
				n := math.Max(norm(k), 1e-12)
				for d, v := range k {
					mean[g][d] += float64(v) / n
				}
			}
		}
		return perKV(l, c, func(j, g int) float64 {
			k, dot, length := l.key(j, g), 0.0, 0.0
			for d, v := range k {
				dot += float64(v) * mean[g][d]
				length += mean[g][d] * mean[g][d]
			}
			return -dot / math.Max(norm(k)*math.Sqrt(length), 1e-12)
		}), nil
	},
}

// criticalKV spends half the budget by votes and ranks the rest by votes times
// the norm of the value (arXiv:2502.03805; kvpress uses |W_O v|, this |v|).
var criticalKV = Method{
	Name: "criticalkv", Source: "arXiv:2502.03805", ByCapacity: true, Needs: Needs{Rows: true, Values: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		list, err := pooledVotes(l, c)
		if err != nil {
			return nil, err
		}
		list = c.Group.merge(list, l.KVHeads) // both stages look at the merged votes
		for h, v := range list {
			first := TopK(v, c.Budget()/2)
			top := 0.0
			for j := range v {
				v[j] = (v[j] + 1e-4) * norm(l.value(j, h*l.KVHeads/len(list)))
				top = math.Max(top, v[j])
			}
			for _, j := range first {
				v[j] += 2*top + 1
			}
		}
		out := make([][]float64, l.Heads)
		for h := range out {
			out[h] = slices.Clone(list[h*len(list)/l.Heads])
		}
		return out, nil
	},
}

// expectedAttention ranks by the weight that queries drawn like the window's
// would give a key, times the value's norm where values are recorded:
// exp(mean·k/√d + k·Cov·k/(2d)) (kvpress; here the queries keep the rotations
// of the prompt's end instead of being averaged over positions to come).
var expectedAttention = Method{
	Name: "expectedattention", Source: "kvpress", Nested: true, Needs: Needs{Keys: true, Queries: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		group := l.Heads / l.KVHeads
		out := make([][]float64, l.Heads)
		prefix, d := l.Len-c.Window, l.Dim
		spread := make([]float32, prefix*d)
		for h := range out {
			mean, cov := queryMoments(l, h, c.Window)
			keys := l.Keys[h/group*d:]
			simd.GemmT(simd.Dense(spread, prefix, d), simd.Mat[float32]{Data: keys, Rows: prefix, Cols: d, Stride: l.KVHeads * d}, simd.Dense(cov, d, d))
			out[h] = make([]float64, prefix)
			for j := range out[h] {
				k := l.key(j, h/group)
				dot, square := float64(simd.Dot(k, mean)), float64(simd.Dot(k, spread[j*d:(j+1)*d]))
				out[h][j] = dot/math.Sqrt(float64(d)) + square/float64(2*d)
			}
			if c.Group.Merges() { // heads are merged as probabilities; alone, logarithms rank alike and do not underflow
				softmax(out[h])
			}
			for j := range out[h] {
				if l.Values == nil {
					break
				}
				if n := norm(l.value(j, h/group)); c.Group.Merges() {
					out[h][j] *= n
				} else {
					out[h][j] += math.Log(n + 1e-12)
				}
			}
		}
		return out, nil
	},
}

// softmax turns scores into probabilities, in place.
func softmax(x []float64) {
	top, sum := slices.Max(x), 0.0
	for j, v := range x {
		x[j] = math.Exp(v - top)
		sum += x[j]
	}
	for j := range x {
		x[j] /= sum
	}
}

// queryMoments are mean [dim] and covariance [dim, dim] of a head's queries over
// the window.
func queryMoments(l *Layer, h, window int) (mean, cov []float32) {
	d, n := l.Dim, float32(window)
	mean, cov = make([]float32, d), make([]float32, d*d)
	query := func(i int) []float32 { return l.Queries[((l.N-window+i)*l.Heads+h)*d:][:d] }
	for i := range window {
		for x, v := range query(i) {
			mean[x] += v / n
		}
	}
	columns := make([]float32, d*window) // the queries, centred, [dim, window]
	for i := range window {
		for x, v := range query(i) {
			columns[x*window+i] = v - mean[x]
		}
	}
	simd.GemmT(simd.Dense(cov, d, d), simd.Dense(columns, d, window), simd.Dense(columns, d, window))
	simd.Scale(cov, 1/n)
	return mean, cov
}
