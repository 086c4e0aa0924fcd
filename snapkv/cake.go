package snapkv

import "math"

// cakeGamma is the weight of the variance in a position's score, as in CAKE's
// repository.
const cakeGamma = 200.0

// cake ranks by the mean and the variance of a position's weight over the window's
// queries. The budget of a layer is in proportion to how dispersed its attention is
// and how much it changes.
//
//	score[h]     = pool(mean[h] + 200·variance[h])
//	stat(layer)  = (-Σ mean·ln mean) · (Σ variance), sums over heads and positions
//	budget       = budget of the config · layers · stat(layer) / Σ stat
//
// What exceeds the prefix in a layer goes to the others in equal parts, as often as needed;
// CAKE's code does so once.
//
// Source: Qin et al., "CAKE: Cascading and Adaptive KV Cache Eviction with Layer
// Preferences", arXiv:2503.12491.
var cake = Method{
	Name:        "cake",
	Source:      "arXiv:2503.12491",
	Common:      true,
	Needs:       Needs{Rows: true},
	Nested:      true,
	Score:       scoreCake,
	LayerStat:   cakeStat,
	ShareLayers: shareCake,
}

func scoreCake(l *Layer, c Config) ([][]float64, error) {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		score, variance := windowMoments(l, c, h)
		for j := range score {
			score[j] += float64(cakeGamma * variance[j])
		}
		var err error
		if scores[h], err = Pool(score, c.Kernel, c.Pooling); err != nil {
			return nil, err
		}
	}
	return scores, nil
}

func cakeStat(l *Layer, c Config) float64 {
	entropy := 0.0
	spread := 0.0
	for h := range l.Heads {
		mean, variance := windowMoments(l, c, h)
		for j := range mean {
			if mean[j] > 0 {
				entropy -= float64(mean[j] * math.Log(mean[j]))
			}
			spread += variance[j]
		}
	}
	readers := float64(max(1, len(l.Readers))) // a cache with several readers counts as one layer
	return entropy / readers * (spread / readers)
}

func shareCake(stats []float64, prefix int, c Config) []int {
	sum := 0.0
	for _, v := range stats {
		sum += v
	}
	budgets := make([]int, len(stats))
	for i, v := range stats {
		share := 1 / float64(len(stats))
		if sum > 0 {
			share = v / sum
		}
		budgets[i] = int(share * float64(c.Budget()*len(stats)))
	}
	spreadExcess(budgets, prefix)
	return budgets
}

// spreadExcess limits budgets to most, and adds what exceeds it to the others in equal parts;
// the first ones get what is left over.
func spreadExcess(budgets []int, most int) {
	for {
		excess := 0
		var below []int
		for i, b := range budgets {
			if b > most {
				excess += b - most
				budgets[i] = most
			}
			if budgets[i] < most {
				below = append(below, i)
			}
		}
		if excess == 0 || len(below) == 0 {
			return
		}
		for n, i := range below {
			budgets[i] += excess / len(below)
			if n < excess%len(below) {
				budgets[i]++
			}
		}
	}
}

// windowMoments returns the mean and the variance of a head's weights at each prefix
// position over the window's queries.
func windowMoments(l *Layer, c Config, h int) (mean, variance []float64) {
	prefix := l.Len - c.Window
	mean = make([]float64, prefix)
	variance = make([]float64, prefix)
	for i := l.N - c.Window; i < l.N; i++ {
		row := l.Rows[(h*l.N+i)*l.Len:]
		for j := range mean {
			v := float64(row[j])
			mean[j] += v
			variance[j] += v * v // an exact product
		}
	}
	w := float64(c.Window)
	for j := range mean {
		mean[j] /= w
		variance[j] = math.Max(0, variance[j]/w-float64(mean[j]*mean[j]))
	}
	return mean, variance
}
