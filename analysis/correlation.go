package analysis

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// spearman returns the rank correlation of measure and loss. Ties share their mean rank.
func spearman(list []Point) float64 {
	x := make([]float64, len(list))
	y := make([]float64, len(list))
	for i, p := range list {
		x[i] = p.X
		y[i] = p.Y
	}
	return pearson(ranks(x), ranks(y))
}

// ranks returns the ranks of the values, from 0. Ties share their mean rank.
func ranks(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(x[a], x[b]) })
	out := make([]float64, len(x))
	for lo := 0; lo < len(order); {
		hi := lo + 1
		for hi < len(order) && x[order[hi]] == x[order[lo]] {
			hi++
		}
		for _, i := range order[lo:hi] {
			out[i] = float64(lo+hi-1) / 2
		}
		lo = hi
	}
	return out
}

// pearson returns the correlation of x and y, or NaN if one of them is constant.
func pearson(x, y []float64) float64 {
	mx := Mean(x)
	my := Mean(y)
	xy := 0.0
	xx := 0.0
	yy := 0.0
	for i := range x {
		xy += float64((x[i] - mx) * (y[i] - my))
		xx += float64((x[i] - mx) * (x[i] - mx))
		yy += float64((y[i] - my) * (y[i] - my))
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	return xy / math.Sqrt(xx*yy)
}

// spearmanInterval returns the 95 % bootstrap interval of the rank correlation: 500
// times, prompts are drawn with replacement, each with all its points. With fewer than
// two prompts, both ends are NaN.
func spearmanInterval(list []Point, seed uint64) (lo, hi float64) {
	var prompts []string
	points := map[string][]Point{} // by prompt
	for _, p := range list {
		if points[p.Prompt] == nil {
			prompts = append(prompts, p.Prompt)
		}
		points[p.Prompt] = append(points[p.Prompt], p)
	}
	if len(prompts) < 2 {
		return math.NaN(), math.NaN()
	}
	r := rand.New(rand.NewPCG(seed, 0x5b))
	const draws = 500
	values := make([]float64, draws)
	for i := range values {
		var sample []Point
		for range prompts {
			sample = append(sample, points[prompts[r.IntN(len(prompts))]]...)
		}
		values[i] = spearman(sample)
	}
	slices.Sort(values)
	return values[draws/40], values[draws-1-draws/40]
}
