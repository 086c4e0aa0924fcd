package snapkv

import (
	"fmt"
	"math"
	"testing"
)

// literal are the methods written out as their papers say, one position at a
// time: score(l, head, position, budget), larger is kept first.
var literal = map[string]func(l *Layer, h, j, budget int) float64{
	"snapkv": func(l *Layer, h, j, _ int) float64 {
		return pooledByHand(l, func(x int) float64 { return voteOf(l, h, x) }, j)
	},
	"pyramidkv": func(l *Layer, h, j, _ int) float64 {
		return pooledByHand(l, func(x int) float64 { return voteOf(l, h, x) }, j)
	},
	"h2o":    func(l *Layer, h, j, _ int) float64 { return float64(l.Sums[h*l.Len+j]) },
	"oracle": func(l *Layer, h, j, _ int) float64 { return l.Generated[h*l.Len+j] },
	"recent": func(_ *Layer, _, j, _ int) float64 { return float64(j) },
	"streamingllm": func(_ *Layer, _, j, _ int) float64 {
		if j < 4 {
			return 1e6 - float64(j)
		}
		return float64(j)
	},
	"tova": func(l *Layer, _, j, _ int) float64 {
		sum := 0.0
		for h := range l.Heads {
			sum += float64(l.Rows[(h*l.N+l.N-1)*l.Len+j])
		}
		return sum
	},
	"knorm": func(l *Layer, h, j, _ int) float64 { return -norm(l.key(j, h/2)) },
	"keydiff": func(l *Layer, h, j, _ int) float64 {
		mean := make([]float64, l.Dim)
		for x := range l.Len {
			for d, v := range l.key(x, h/2) {
				mean[d] += float64(v) / norm(l.key(x, h/2)) / float64(l.Len)
			}
		}
		dot, a, b := 0.0, 0.0, 0.0
		for d, v := range l.key(j, h/2) {
			dot += float64(v) * mean[d]
			a += float64(v) * float64(v)
			b += mean[d] * mean[d]
		}
		return -dot / math.Sqrt(a*b)
	},
	"chunkkv": func(l *Layer, _, j, _ int) float64 {
		prefix, sum, n := l.Len-literalWindow, 0.0, 0.0
		for x := j / 20 * 20; x < min(prefix, j/20*20+20); x++ {
			n++
			for h := range l.Heads {
				sum += voteOf(l, h, x)
			}
		}
		return sum / n
	},
	"cake": func(l *Layer, h, j, _ int) float64 {
		return pooledByHand(l, func(x int) float64 {
			mean, square := 0.0, 0.0
			for i := l.N - literalWindow; i < l.N; i++ {
				v := float64(l.Rows[(h*l.N+i)*l.Len+x])
				mean += v / literalWindow
				square += v * v / literalWindow
			}
			return mean + 200*(square-mean*mean)
		}, j)
	},
	"criticalkv": func(l *Layer, h, j, budget int) float64 {
		vote := func(x int) float64 { return pooledByHand(l, func(y int) float64 { return voteOf(l, h, y) }, x) }
		better := 0
		for x := range l.Len - literalWindow {
			if v := vote(x); v > vote(j) || v == vote(j) && x < j {
				better++
			}
		}
		second := (vote(j) + 1e-4) * norm(l.value(j, h/2))
		if better < budget/2 {
			return 1e6 + second
		}
		return second
	},
	"expectedattention": func(l *Layer, h, j, _ int) float64 {
		scores := make([]float64, literalWindow)
		mean, variance := 0.0, 0.0
		for i := range scores {
			row := l.N - literalWindow + i
			for d, v := range l.key(j, h/2) {
				scores[i] += float64(l.Queries[(row*l.Heads+h)*l.Dim+d]) * float64(v)
			}
			mean += scores[i] / literalWindow
		}
		for _, s := range scores {
			variance += (s - mean) * (s - mean) / literalWindow
		}
		d := float64(l.Dim)
		return math.Exp(mean/math.Sqrt(d)+variance/(2*d)) * norm(l.value(j, h/2))
	},
}

const literalWindow = 8

func voteOf(l *Layer, h, j int) float64 {
	sum := 0.0
	for i := l.N - literalWindow; i < l.N; i++ {
		sum += float64(l.Rows[(h*l.N+i)*l.Len+j])
	}
	return sum
}

// pooledByHand is avg_pool1d of five with zero padding that counts.
func pooledByHand(l *Layer, f func(j int) float64, j int) float64 {
	sum := 0.0
	for x := j - 2; x <= j+2; x++ {
		if x >= 0 && x < l.Len-literalWindow {
			sum += f(x) / 5
		}
	}
	return sum
}

// TestMethodsAgainstLiteral compares every selection with sorting literal
// scores.
func TestMethodsAgainstLiteral(t *testing.T) {
	for _, m := range Methods {
		score, ok := literal[m.Name]
		if _, list := literalLists[m.Name]; list {
			continue
		}
		if !ok {
			switch m.Name {
			case "random", "full":
				continue
			case "adakv", "headkv", "adapyramidkv", "duoattention", "adaexpected", "criticaladakv":
				continue // in tests of their own
			}
			t.Errorf("%s has no literal version", m.Name)
			continue
		}
		for seed := range uint64(3) {
			l := randomLayer(10 + seed)
			c := testConfig(literalWindow + 13)
			got, err := m.Select(l, c, 13)
			if err != nil {
				t.Fatal(err)
			}
			for h := range l.Heads {
				values := make([]float64, l.Len-literalWindow)
				for j := range values {
					values[j] = score(l, h, j, 13)
				}
				want := bestByHand(values, 13)
				if fmt.Sprint(got[h]) != fmt.Sprint(want) {
					t.Errorf("%s, head %d: %v, want %v", m.Name, h, got[h], want)
				}
			}
		}
	}
}

// TestMergedHeads compares selections by kv head with literal scores merged over
// each kv head's query heads: votes before criticalkv's second stage, and
// expectedattention's as probabilities.
func TestMergedHeads(t *testing.T) {
	group := func(l *Layer, g int, f func(h int) float64) float64 { return (f(2*g) + f(2*g+1)) / 2 }
	for name, score := range map[string]func(l *Layer, g, j int) float64{
		"snapkv": func(l *Layer, g, j int) float64 {
			return group(l, g, func(h int) float64 { return literal["snapkv"](l, h, j, 13) })
		},
		"criticalkv": func(l *Layer, g, j int) float64 {
			vote := func(x int) float64 {
				return group(l, g, func(h int) float64 { return literal["snapkv"](l, h, x, 13) })
			}
			better := 0
			for x := range l.Len - literalWindow {
				if vote(x) > vote(j) {
					better++
				}
			}
			second := (vote(j) + 1e-4) * norm(l.value(j, g))
			if better < 13/2 {
				return 1e6 + second
			}
			return second
		},
		"expectedattention": func(l *Layer, g, j int) float64 {
			return group(l, g, func(h int) float64 {
				sum := 0.0
				for x := range l.Len - literalWindow {
					sum += literal["expectedattention"](l, h, x, 13) / norm(l.value(x, g))
				}
				return literal["expectedattention"](l, h, j, 13) / sum
			})
		},
	} {
		m, err := FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		for seed := range uint64(3) {
			l, c := randomLayer(20+seed), testConfig(literalWindow+13)
			c.Group = "mean"
			got, err := m.Select(l, c, 13)
			if err != nil || len(got) != l.KVHeads {
				t.Fatalf("%s: %d selections (%v), want one a kv head", name, len(got), err)
			}
			for g := range got {
				values := make([]float64, l.Len-literalWindow)
				for j := range values {
					values[j] = score(l, g, j)
				}
				if want := TopK(values, 13); fmt.Sprint(got[g]) != fmt.Sprint(want) {
					t.Errorf("%s, kv head %d: %v, want %v", name, g, got[g], want)
				}
			}
		}
	}
}

// TestHeadKVBudgets: scores 1, 3, 2, 4 of each of four layers share out half of
// everything: of an even 20 a head 10 are fixed, 160 go by score, 1/40 each.
func TestHeadKVBudgets(t *testing.T) {
	scores := make([][]float64, 4)
	for h := range scores {
		scores[h] = make([]float64, 80)
	}
	got, err := headKV.ShareHeads(scores, 80, 1, testConfig(28))
	if want := "[14 22 18 26]"; err != nil || fmt.Sprint(got) != want {
		t.Errorf("%v (%v), want %s", got, err, want)
	}
}
