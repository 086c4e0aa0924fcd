package snapkv

import "math"

// cakeGamma weighs the variance of a position's weight over the window (CAKE,
// as in its repository).
const cakeGamma = 200.0

// cake ranks by mean plus variance of the window's weights, pooled, and gives
// layers budgets in proportion to entropy and variance of their attention.
var cake = Method{
	Name: "cake", Source: "arXiv:2503.12491", Nested: true, Needs: Needs{Rows: true},
	Score: func(l *Layer, c Config) ([][]float64, error) {
		out := make([][]float64, l.Heads)
		for h := range out {
			mean, variance := moments(l, c, h)
			for j := range mean {
				mean[j] += cakeGamma * variance[j]
			}
			var err error
			if out[h], err = Pool(mean, c.Kernel, c.Pooling); err != nil {
				return nil, err
			}
		}
		return out, nil
	},
	LayerStat: func(l *Layer, c Config) float64 {
		entropy, spread := 0.0, 0.0
		for h := range l.Heads {
			mean, variance := moments(l, c, h)
			for j := range mean {
				if mean[j] > 0 {
					entropy -= mean[j] * math.Log(mean[j])
				}
				spread += variance[j]
			}
		}
		return entropy * spread
	},
	ShareLayers: func(stats []float64, c Config) []int {
		sum := 0.0
		for _, v := range stats {
			sum += v
		}
		out := make([]int, len(stats))
		for i, v := range stats {
			share := 1 / float64(len(stats))
			if sum > 0 {
				share = v / sum
			}
			out[i] = int(share * float64(c.Budget()*len(stats)))
		}
		return out
	},
}

// moments are mean and variance of the window's weights at each prefix
// position.
func moments(l *Layer, c Config, h int) (mean, variance []float64) {
	prefix := l.Len - c.Window
	mean, variance = make([]float64, prefix), make([]float64, prefix)
	for i := l.N - c.Window; i < l.N; i++ {
		row := l.Rows[(h*l.N+i)*l.Len:]
		for j := range mean {
			v := float64(row[j])
			mean[j] += v
			variance[j] += v * v
		}
	}
	w := float64(c.Window)
	for j := range mean {
		mean[j] /= w
		variance[j] = math.Max(0, variance[j]/w-mean[j]*mean[j])
	}
	return mean, variance
}
