package snapkv

import (
	"errors"
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// leverageRidge is added to the diagonal of the keys' Gram matrix, as in kvpress.
const leverageRidge = 1e-2

// leverage ranks by the leverage scores of the keys: how far a key is from the mean of all
// keys, measured by their covariance.
//
//	x[j]     = K[j] - mean of all keys
//	score[j] = x[j]ᵀ · (Σ x·xᵀ + 0.01·I)⁻¹ · x[j]
//
// The original takes keys before their rotation and projects them to 48 random
// dimensions; here the keys are those of the cache, without a projection.
//
// Source: Chari and Van Durme, "Compactor: Calibrated Query-Agnostic KV Cache Compression
// with Approximate Leverage Scores", arXiv:2507.08143.
var leverage = Method{
	Name:   "leverage",
	Source: "arXiv:2507.08143",
	Needs:  Needs{Keys: true},
	Nested: true,
	Alike:  true,
	Score:  scoreLeverage,
}

func scoreLeverage(l *Layer, c Config) ([][]float64, error) {
	scores, err := leverageScores(l, 0, l.Len)
	if err != nil {
		return nil, err
	}
	for kv := range scores {
		scores[kv] = scores[kv][:l.Len-c.Window]
	}
	return ofKVHeads(scores, l.Heads), nil
}

// leverageScores returns the leverage scores of positions [from, to) among each other,
// [kv head][position].
func leverageScores(l *Layer, from, to int) ([][]float64, error) {
	n := to - from
	d := l.Dim
	scores := make([][]float64, l.KVHeads)
	x := make([]float32, n*d)       // centered keys, [position, dim]
	columns := make([]float32, n*d) // the same, [dim, position]
	solved := simd.Dense(make([]float32, n*d), n, d)
	gram := make([]float32, d*d)
	for kv := range scores {
		mean := make([]float64, d)
		for j := range n {
			for i, v := range l.key(from+j, kv) {
				mean[i] += float64(v) / float64(n)
			}
		}
		for j := range n {
			for i, v := range l.key(from+j, kv) {
				v -= float32(mean[i])
				x[j*d+i] = v
				columns[i*n+j] = v
			}
		}
		simd.GemmT(simd.Dense(gram, d, d), simd.Dense(columns, d, n), simd.Dense(columns, d, n))
		inverse, err := inverseOf(gram, d, leverageRidge)
		if err != nil {
			return nil, err
		}
		simd.GemmT(solved, simd.Dense(x, n, d), simd.Dense(inverse, d, d))
		scores[kv] = make([]float64, n)
		for j := range scores[kv] {
			scores[kv][j] = max(0, float64(simd.Dot(x[j*d:(j+1)*d], solved.Data[j*d:(j+1)*d])))
		}
	}
	return scores, nil
}

// inverseOf returns the inverse of a symmetric matrix [d, d] whose eigenvalues are not
// negative, after ridge is added to its diagonal. It returns an error if the matrix is not
// of this kind, for example because an element is not finite.
func inverseOf(m []float32, d int, ridge float64) ([]float32, error) {
	a := make([]float64, d*d) // the lower triangle becomes that of Cholesky's factor L
	for i, v := range m {
		a[i] = float64(v)
	}
	for i := range d {
		a[i*d+i] += ridge
		for j := range i + 1 {
			s := a[i*d+j]
			for k := range j {
				s -= float64(a[i*d+k] * a[j*d+k])
			}
			switch {
			case i > j:
				a[i*d+j] = s / a[j*d+j]
			case s > 0:
				a[i*d+i] = math.Sqrt(s)
			default:
				return nil, errors.New("the covariance of the keys or values has no inverse: are they finite?")
			}
		}
	}
	inverse := make([]float32, d*d)
	column := make([]float64, d)
	for c := range d {
		clear(column)
		column[c] = 1
		for i := range d { // L·y = e
			for k := range i {
				column[i] -= float64(a[i*d+k] * column[k])
			}
			column[i] /= a[i*d+i]
		}
		for i := d - 1; i >= 0; i-- { // Lᵀ·x = y
			for k := i + 1; k < d; k++ {
				column[i] -= float64(a[k*d+i] * column[k])
			}
			column[i] /= a[i*d+i]
		}
		for i, v := range column {
			inverse[i*d+c] = float32(v)
		}
	}
	return inverse, nil
}
