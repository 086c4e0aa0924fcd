package snapkv

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// expectedAttention ranks by the expected weight of a key, times the norm of the value
// if values are recorded. The query is drawn from a normal distribution with the mean
// and the covariance of the window's queries.
//
//	score[h, j] = exp(mean·K[j] / √d + K[j]ᵀ·Cov·K[j] / (2d)) · |V[j]|
//
// A layer whose scores have another scale s has s for 1/√d and s² for 1/d.
//
// If every query head selects for itself, scores are the logarithms of this: they give
// the same order and do not underflow. If the group merges heads, the exponentials
// become probabilities over the positions before they are multiplied by the norms.
//
// The original averages the rotations of the queries over future positions; here queries
// keep the rotations of the window.
//
// Source: Devoto et al., "Expected Attention: KV Cache Compression by Estimating Attention
// from Future Queries Distribution", arXiv:2510.00636, ExpectedAttentionPress of kvpress.
var expectedAttention = Method{
	Name:    "expectedattention",
	Source:  "arXiv:2510.00636",
	Common:  true,
	Needs:   Needs{Keys: true, Queries: true},
	Nested:  true,
	ByGroup: true,
	Score:   scoreExpectedAttention,
}

func scoreExpectedAttention(l *Layer, c Config) ([][]float64, error) {
	return expectedScores(l, c, c.Group.Merges())
}

// expectedScores returns the scores of the query heads, from probabilities over the
// positions or from logarithms.
func expectedScores(l *Layer, c Config, probabilities bool) ([][]float64, error) {
	group := l.Heads / l.KVHeads
	prefix := l.Len - c.Window
	d := l.Dim
	scores := make([][]float64, l.Heads)
	spread := simd.Dense(make([]float32, prefix*d), prefix, d) // keys times covariance
	for h := range scores {
		mean, cov := queryMoments(l, h, c.Window)
		keys := simd.Mat[float32]{Data: l.Keys[h/group*d:], Rows: prefix, Cols: d, Stride: l.KVHeads * d}
		simd.GemmT(spread, keys, simd.Dense(cov, d, d))
		score := make([]float64, prefix)
		for j := range score {
			k := l.key(j, h/group)
			dot := float64(simd.Dot(k, mean))
			square := float64(simd.Dot(k, spread.Data[j*d:(j+1)*d]))
			score[j] = l.expected(dot, square)
		}
		if probabilities {
			softmax(score)
		}
		if l.Values != nil {
			for j := range score {
				n := norm(l.value(j, h/group))
				if probabilities {
					score[j] *= n
				} else {
					score[j] += math.Log(n + 1e-12)
				}
			}
		}
		scores[h] = score
	}
	return scores, nil
}

// expected returns the logarithm of the expected weight, from mean·K and Kᵀ·Cov·K.
func (l *Layer) expected(dot, square float64) float64 {
	if l.Scale == 0 {
		return dot/math.Sqrt(float64(l.Dim)) + square/float64(2*l.Dim)
	}
	return float64(l.Scale*dot) + float64(l.Scale*l.Scale*square/2)
}

// softmax turns scores into probabilities, in place.
func softmax(x []float64) {
	top := slices.Max(x)
	sum := 0.0
	for j, v := range x {
		x[j] = math.Exp(v - top)
		sum += x[j]
	}
	for j := range x {
		x[j] /= sum
	}
}

// queryMoments returns the mean [dim] and the covariance [dim, dim] of a head's
// queries over the window.
func queryMoments(l *Layer, h, window int) (mean, cov []float32) {
	d := l.Dim
	n := float32(window)
	mean = make([]float32, d)
	cov = make([]float32, d*d)
	query := func(i int) []float32 { return l.Queries[((l.N-window+i)*l.Heads+h)*d:][:d] }
	for i := range window {
		for x, v := range query(i) {
			mean[x] += v / n
		}
	}
	columns := make([]float32, d*window) // the centered queries, [dim, window]
	for i := range window {
		for x, v := range query(i) {
			columns[x*window+i] = v - mean[x]
		}
	}
	centered := simd.Dense(columns, d, window)
	simd.GemmT(simd.Dense(cov, d, d), centered, centered)
	simd.Scale(cov, 1/n)
	return mean, cov
}
