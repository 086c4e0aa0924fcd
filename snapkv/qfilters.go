package snapkv

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// qFilters ranks by the product of a key with the main direction of the queries of its kv
// head: the first right singular vector of the window's queries, oriented so that their
// mean product with it is positive.
//
//	score[j] = u · K[j], u the first eigenvector of Σ q·qᵀ over the window and the heads
//
// The original computes one direction for each head of a model from a calibration set,
// before the prompt is known.
//
// Source: Godey et al., "Q-Filters: Leveraging QK Geometry for Efficient KV Cache
// Compression", arXiv:2503.02812.
var qFilters = Method{
	Name:   "qfilters",
	Source: "arXiv:2503.02812",
	Needs:  Needs{Keys: true, Queries: true},
	Nested: true,
	Alike:  true,
	Score:  scoreQFilters,
}

func scoreQFilters(l *Layer, c Config) ([][]float64, error) {
	filters := make([][]float64, l.KVHeads)
	for kv := range filters {
		filters[kv] = queryDirection(l, kv, c.Window)
	}
	return byKVHead(l, c, func(j, kv int) float64 {
		dot := 0.0
		for d, v := range l.key(j, kv) {
			dot += float64(float64(v) * filters[kv][d])
		}
		return dot
	}), nil
}

// queryDirection returns u for a kv head, of length 1.
func queryDirection(l *Layer, kv, window int) []float64 {
	group := l.Heads / l.KVHeads
	gram := make([]float64, l.Dim*l.Dim)
	mean := make([]float64, l.Dim)
	for i := l.N - window; i < l.N; i++ {
		for h := kv * group; h < (kv+1)*group; h++ {
			q := l.query(h, i)
			for a, x := range q {
				mean[a] += float64(x)
				for b, y := range q {
					gram[a*l.Dim+b] += float64(x) * float64(y) // an exact product
				}
			}
		}
	}
	u := firstEigenvector(gram, l.Dim)
	dot := 0.0
	for d, v := range mean {
		dot += float64(v * u[d])
	}
	if dot < 0 {
		for d := range u {
			u[d] = -u[d]
		}
	}
	return u
}

// firstEigenvector returns the eigenvector of the largest eigenvalue of a symmetric matrix
// [d, d] without negative eigenvalues. The matrix is squared until only this eigenvalue is
// left; eigenvalues that are closer than a millionth to it are mixed in.
func firstEigenvector(matrix []float64, d int) []float64 {
	const squarings = 24
	m := make([]float32, d*d)
	for range squarings {
		trace := 0.0
		for i := range d {
			trace += matrix[i*d+i]
		}
		if trace == 0 {
			break
		}
		for i, v := range matrix {
			m[i] = float32(v / trace)
		}
		square := make([]float32, d*d)
		simd.GemmT(simd.Dense(square, d, d), simd.Dense(m, d, d), simd.Dense(m, d, d))
		for i, v := range square {
			matrix[i] = float64(v)
		}
	}
	best := 0
	for i := range d {
		if matrix[i*d+i] > matrix[best*d+best] {
			best = i
		}
	}
	u := make([]float64, d)
	length := 0.0
	for i := range u {
		u[i] = matrix[best*d+i]
		length += float64(u[i] * u[i])
	}
	for i := range u {
		u[i] /= max(math.Sqrt(length), 1e-300)
	}
	return u
}
