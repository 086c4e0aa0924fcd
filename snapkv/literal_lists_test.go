package snapkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"testing"
)

// literalLists are methods written out as their papers say, one layer at a time: the
// scores of all heads, [head][position], larger is kept first. literal has methods whose
// scores can be stated for one position alone.
var literalLists = map[string]func(l *Layer, budget int) [][]float64{
	"observedattention": byPosition(func(l *Layer, h, j int) float64 {
		return float64(l.Sums[h*l.Len+j]) / float64(l.Len-j)
	}),
	"vatp": byPosition(func(l *Layer, h, j int) float64 {
		size := 0.0
		for _, v := range l.value(j, h/2) {
			size += math.Abs(float64(v))
		}
		return sinkOr(j, 4, float64(l.Sums[h*l.Len+j])*size)
	}),
	"scissorhands": byPosition(func(l *Layer, h, j int) float64 {
		count := 0.0
		for i := l.Len - literalWindow; i < l.Len; i++ {
			if float64(weightOf(l, h, i, j)) > 1/float64(i+1) {
				count++
			}
		}
		return count + voteOf(l, h, j)/1e4
	}),
	"sagekv": byPosition(func(l *Layer, h, j int) float64 {
		return sinkOr(j, 4, float64(weightOf(l, h, l.Len-1, j)))
	}),
	"finch": byPosition(func(l *Layer, h, j int) float64 {
		score := 0.0
		for i := l.Len - literalWindow; i < l.Len; i++ {
			score += float64(weightOf(l, h, i, j)) * float64(i)
		}
		return score
	}),
	"kvzip": byPosition(func(l *Layer, h, j int) float64 { return sinkOr(j, 4, largestByHand(l, h, j)) }),
	"kvcompose": byPosition(func(l *Layer, h, j int) float64 {
		own := func(kv int) float64 { return (largestByHand(l, 2*kv, j) + largestByHand(l, 2*kv+1, j)) / 2 }
		return own(h/2) + (own(0)+own(1))/2
	}),
	"simlayerkv": byPosition(func(_ *Layer, _, j int) float64 { return sinkOr(j, 4, float64(j)) }),
	"uniform": byPosition(func(_ *Layer, _, j int) float64 {
		score := 0.0
		for bit := range 20 {
			if j>>bit&1 == 1 {
				score -= math.Pow(2, -float64(bit))
			}
		}
		return score
	}),
	"nacl": func(l *Layer, budget int) [][]float64 {
		return twoStagesByHand(l, budget, voteOf, func(h, j int) float64 {
			r := rand.New(rand.NewPCG(3, uint64(l.Index)<<48|uint64(h)<<32|uint64(j)))
			return voteOf(l, h, j) / -math.Log(r.Float64())
		})
	},
	"minference": func(l *Layer, budget int) [][]float64 {
		return twoStagesByHand(l, budget, voteOf, func(h, j int) float64 {
			sum := 0.0
			for i := l.Len - literalWindow; i < l.Len; i++ {
				if key := i - (l.Len - j); key >= 0 {
					sum += float64(weightOf(l, h, i, key))
				}
			}
			return sum
		})
	},
	"quest": byPosition(func(l *Layer, h, j int) float64 {
		bound := 0.0
		for d, q := range l.query(h, l.N-1) {
			low, high := math.Inf(1), math.Inf(-1)
			for x := j / 16 * 16; x < min(l.Len-literalWindow, j/16*16+16); x++ {
				low = min(low, float64(l.key(x, h/2)[d]))
				high = max(high, float64(l.key(x, h/2)[d]))
			}
			bound += max(float64(q)*low, float64(q)*high)
		}
		return bound
	}),
	"sparq": byPosition(func(l *Layer, h, j int) float64 { // of six components, the largest one
		best := 0
		q := l.query(h, l.N-1)
		for d := range q {
			if math.Abs(float64(q[d])) > math.Abs(float64(q[best])) {
				best = d
			}
		}
		return float64(q[best]) * float64(l.key(j, h/2)[best])
	}),
	"curdkv": byPosition(func(l *Layer, h, j int) float64 {
		share := func(of func(j, kv int) []float32) float64 {
			own, all := 0.0, 0.0
			for x := j / 16 * 16; x < min(l.Len, j/16*16+16); x++ {
				for _, v := range of(x, h/2) {
					all += float64(v) * float64(v)
					if x == j {
						own += float64(v) * float64(v)
					}
				}
			}
			return own / all
		}
		return sinkOr(j, 4, share(l.key)*share(l.value))
	}),
	"entropychunkkv": func(l *Layer, budget int) [][]float64 {
		score := make([]float64, l.Len-literalWindow)
		for j := range score {
			for h := range l.Heads {
				score[j] += pooledByHand(l, func(x int) float64 { return voteOf(l, h, x) }, j)
			}
		}
		return slices.Repeat([][]float64{gatedByHand(score, budget)}, l.Heads)
	},
	"lagkv":         lagByHand,
	"keydiffblocks": keyDiffBlocksByHand,
	"leverage": func(l *Layer, _ int) [][]float64 {
		return ofKVHeads([][]float64{leverageByHand(l, 0, 0, l.Len), leverageByHand(l, 1, 0, l.Len)}, 4)
	},
	"noncausal": func(l *Layer, _ int) [][]float64 { return nonCausalByHand(l, 0, l.Len) },
	"compactor": func(l *Layer, budget int) [][]float64 {
		from, to := 8, l.Len-4
		attention := nonCausalByHand(l, from, to)
		scores := make([][]float64, 4)
		var geometry, mean []float64
		for kv := range 2 {
			geometry = append(geometry, leverageByHand(l, kv, from, to)...)
			for j := range to - from {
				mean = append(mean, (attention[2*kv][j]+attention[2*kv+1][j])/2)
			}
		}
		a, b := standardByHand(geometry), standardByHand(mean)
		for h := range scores {
			scores[h] = make([]float64, l.Len)
			for j := range scores[h] {
				scores[h][j] = 1e6
				if at := h/2*(to-from) + j - from; j >= from && j < to {
					scores[h][j] = (1-float64(budget+literalWindow)/float64(l.Len))*a[at] + b[at]
				}
			}
		}
		return scores
	},
	"qfilters": func(l *Layer, _ int) [][]float64 {
		list := make([][]float64, 2)
		for kv := range list {
			u := slices.Repeat([]float64{1}, l.Dim)
			sum := make([]float64, l.Dim)
			for range 10000 { // power iteration
				next := make([]float64, l.Dim)
				clear(sum)
				for i := l.N - literalWindow; i < l.N; i++ {
					for h := 2 * kv; h < 2*kv+2; h++ {
						dot := 0.0
						for d, v := range l.query(h, i) {
							dot += float64(v) * u[d]
							sum[d] += float64(v)
						}
						for d, v := range l.query(h, i) {
							next[d] += dot * float64(v)
						}
					}
				}
				length := 0.0
				for _, v := range next {
					length += v * v
				}
				for d := range next {
					u[d] = next[d] / math.Sqrt(length)
				}
			}
			sign := 0.0
			for d := range u {
				sign += u[d] * sum[d]
			}
			for j := range l.Len {
				dot := 0.0
				for d, v := range l.key(j, kv) {
					dot += float64(v) * u[d] * sign
				}
				list[kv] = append(list[kv], dot)
			}
		}
		return ofKVHeads(list, 4)
	},
	"capkv": capByHand,
}

// literalLength is the length of prompts for methods whose blocks are longer than a
// short prompt.
var literalLength = map[string]int{"lagkv": 300, "keydiffblocks": 300, "noncausal": 300, "compactor": 300}

func byPosition(score func(l *Layer, h, j int) float64) func(l *Layer, budget int) [][]float64 {
	return func(l *Layer, _ int) [][]float64 {
		scores := make([][]float64, l.Heads)
		for h := range scores {
			for j := range l.Len - literalWindow {
				scores[h] = append(scores[h], score(l, h, j))
			}
		}
		return scores
	}
}

func weightOf(l *Layer, h, i, j int) float32 { return l.Rows[(h*l.N+i-l.Len+l.N)*l.Len+j] }

func sinkOr(j, sinks int, score float64) float64 {
	if j < sinks {
		return 1e6
	}
	return score
}

func largestByHand(l *Layer, h, j int) float64 {
	largest := 0.0
	for i := l.Len - literalWindow; i < l.Len; i++ {
		largest = max(largest, float64(weightOf(l, h, i, j)))
	}
	return largest
}

func twoStagesByHand(
	l *Layer, budget int, first func(l *Layer, h, j int) float64, second func(h, j int) float64,
) [][]float64 {
	return byPosition(func(l *Layer, h, j int) float64 {
		better := 0
		for x := range l.Len - literalWindow {
			if first(l, h, x) > first(l, h, j) {
				better++
			}
		}
		if better < budget/2 {
			return 1e6
		}
		return second(h, j)
	})(l, budget)
}

func lagByHand(l *Layer, _ int) [][]float64 {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		var keys, values float64 // sums over the partition
		for j := range l.Len {
			p := (j - 4) / 128
			switch {
			case j < 4:
				scores[h] = append(scores[h], 1e6)
				continue
			case p >= (l.Len-4)/128-1:
				scores[h] = append(scores[h], 1000+float64(j))
				continue
			}
			from := 4 + p*128
			spread := func(of func(j, kv int) []float32, x int) float64 {
				var scaled []float64
				for d := range of(0, 0) {
					low, high := math.Inf(1), math.Inf(-1)
					for y := from + 128; y < from+256; y++ {
						low = min(low, float64(of(y, h/2)[d]))
						high = max(high, float64(of(y, h/2)[d]))
					}
					scaled = append(scaled, (float64(of(x, h/2)[d])-low)/(high-low))
				}
				mean, square := 0.0, 0.0
				for _, v := range scaled {
					mean += v / float64(len(scaled))
				}
				for _, v := range scaled {
					square += (v - mean) * (v - mean)
				}
				return math.Exp(math.Sqrt(square / float64(len(scaled)-1)))
			}
			if j == from {
				keys, values = 0, 0
				for x := from; x < from+128; x++ {
					keys += spread(l.key, x)
					values += spread(l.value, x)
				}
			}
			scores[h] = append(scores[h], spread(l.key, j)/keys+spread(l.value, j)/values)
		}
		for from := 4; from+256 <= l.Len; from += 128 { // ranks
			part := slices.Clone(scores[h][from : from+128])
			for i, v := range part {
				rank := 0
				for _, w := range part {
					if w < v {
						rank++
					}
				}
				scores[h][from+i] = float64(rank)
			}
		}
	}
	return scores
}

func keyDiffBlocksByHand(l *Layer, budget int) [][]float64 {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		similarity := func(j int, among []int) float64 {
			mean := make([]float64, l.Dim)
			for _, x := range among {
				for d, v := range l.key(x, h/2) {
					mean[d] += float64(v) / norm(l.key(x, h/2))
				}
			}
			dot, square := 0.0, 0.0
			for d, v := range l.key(j, h/2) {
				dot += float64(v) * mean[d] / norm(l.key(j, h/2))
				square += mean[d] * mean[d]
			}
			return dot / math.Sqrt(square)
		}
		var kept []int
		for j := range l.Len - literalWindow {
			kept = append(kept, j)
			if j >= budget && ((j-budget)%128 == 127 || j == l.Len-literalWindow-1) {
				like := map[int]float64{}
				for _, x := range kept {
					like[x] = similarity(x, kept)
				}
				sort.Slice(kept, func(a, b int) bool { return like[kept[a]] < like[kept[b]] })
				kept = kept[:budget]
			}
		}
		scores[h] = make([]float64, l.Len)
		for _, j := range kept {
			scores[h][j] = 1
		}
	}
	return scores
}

// gatedByHand marks the positions that entropychunkkv keeps. Shares of the votes need no
// floor here, because no vote is zero.
func gatedByHand(score []float64, budget int) []float64 {
	var chunks [][]int
	for j := range score {
		if j%10 == 0 {
			chunks = append(chunks, nil)
		}
		chunks[j/10] = append(chunks[j/10], j)
	}
	mean := func(chunk []int) float64 {
		sum := 0.0
		for _, j := range chunk {
			sum += score[j] / float64(len(chunk))
		}
		return sum
	}
	entropy := func(chunk []int) float64 {
		sum := 0.0
		for _, j := range chunk {
			p := score[j] / mean(chunk) / float64(len(chunk))
			sum -= p * math.Log(p) / math.Log(float64(len(chunk)))
		}
		return sum
	}
	median := func(of func(chunk []int) float64) float64 {
		var values []float64
		for _, chunk := range chunks {
			values = append(values, of(chunk))
		}
		sort.Float64s(values)
		return values[(len(values)-1)/2]
	}
	goodMean, lowEntropy := median(mean), median(entropy)
	kept := make([]float64, len(score))
	keep := func(among []int, n int) {
		sort.SliceStable(among, func(a, b int) bool { return score[among[a]] > score[among[b]] })
		for _, j := range among[:min(n, len(among), budget)] {
			kept[j] = 1
			budget--
		}
	}
	sort.SliceStable(chunks, func(a, b int) bool { return mean(chunks[a]) > mean(chunks[b]) })
	for _, chunk := range chunks {
		n := len(chunk)
		if mean(chunk) >= goodMean && entropy(chunk) < lowEntropy {
			n = 4
		}
		keep(chunk, n)
	}
	var rest []int
	for j := range score {
		if kept[j] == 0 {
			rest = append(rest, j)
		}
	}
	keep(rest, len(rest))
	return kept
}

// solveByHand solves a·x = b by elimination without pivoting.
func solveByHand(a [][]float64, b []float64) []float64 {
	for i := range a {
		for k := i + 1; k < len(a); k++ {
			f := a[k][i] / a[i][i]
			for j := range a {
				a[k][j] -= f * a[i][j]
			}
			b[k] -= f * b[i]
		}
	}
	x := make([]float64, len(b))
	for i := len(b) - 1; i >= 0; i-- {
		x[i] = b[i]
		for j := i + 1; j < len(b); j++ {
			x[i] -= a[i][j] * x[j]
		}
		x[i] /= a[i][i]
	}
	return x
}

// quadraticByHand returns xᵀ·(Σ weight·y·yᵀ + ridge·I)⁻¹·x, with the sum over y.
func quadraticByHand(x []float64, y [][]float64, weight func(i int) float64, ridge float64) float64 {
	a := make([][]float64, len(x))
	for i := range a {
		a[i] = make([]float64, len(x))
		a[i][i] = ridge
		for n, v := range y {
			for j := range a {
				a[i][j] += weight(n) * v[i] * v[j]
			}
		}
	}
	sum := 0.0
	for i, v := range solveByHand(a, slices.Clone(x)) {
		sum += v * x[i]
	}
	return sum
}

func leverageByHand(l *Layer, kv, from, to int) []float64 {
	mean := make([]float64, l.Dim)
	for j := from; j < to; j++ {
		for d, v := range l.key(j, kv) {
			mean[d] += float64(v) / float64(to-from)
		}
	}
	var x [][]float64
	for j := from; j < to; j++ {
		var c []float64
		for d, v := range l.key(j, kv) {
			c = append(c, float64(v)-mean[d])
		}
		x = append(x, c)
	}
	var scores []float64
	for _, v := range x {
		scores = append(scores, quadraticByHand(v, x, func(int) float64 { return 1 }, 0.01))
	}
	return scores
}

func nonCausalByHand(l *Layer, from, to int) [][]float64 {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		raw := make([]float64, to-from)
		for i := from; i < to; i++ {
			chunk := from + (i-from)/256*256
			end := min(to, chunk+256)
			e := func(j int) float64 {
				dot := 0.0
				for d, v := range l.query(h, i) {
					dot += float64(v) * float64(l.key(j, h/2)[d])
				}
				return math.Exp(dot)
			}
			all := 0.0
			for j := chunk; j < end; j++ {
				all += e(j)
			}
			for j := chunk; j < end; j++ {
				raw[j-from] += e(j) / all * norm(l.value(j, h/2))
			}
		}
		for j := range raw {
			sum := raw[j]
			if j > 0 {
				sum += raw[j-1]
			}
			if j < len(raw)-1 {
				sum += raw[j+1]
			}
			scores[h] = append(scores[h], sum/3)
		}
	}
	return scores
}

func standardByHand(x []float64) []float64 {
	mean, square := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		square += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	var out []float64
	for _, v := range x {
		out = append(out, (v-mean)/math.Sqrt(square))
	}
	return out
}

func capByHand(l *Layer, _ int) [][]float64 {
	scores := make([][]float64, l.Heads)
	for h := range scores {
		mean := make([]float64, l.Dim)
		length := 0.0
		for d := range mean {
			for i := l.N - literalWindow; i < l.N; i++ {
				mean[d] += float64(l.query(h, i)[d])
			}
			length += mean[d] * mean[d]
		}
		var w []float64
		var values [][]float64
		for j := 4; j < l.Len; j++ {
			dot := 0.0
			for d, v := range l.key(j, h/2) {
				dot += float64(v) * mean[d]
			}
			w = append(w, math.Exp(5*dot/norm(l.key(j, h/2))/math.Sqrt(length)))
			var value []float64
			for _, v := range l.value(j, h/2) {
				value = append(value, float64(v))
			}
			values = append(values, value)
		}
		top := slices.Max(w)
		for j := range l.Len - literalWindow {
			score := 1e6
			if j >= 4 {
				weight := func(i int) float64 { return w[i]/top + 1e-6 }
				score = w[j-4] / top * quadraticByHand(values[j-4], values, weight, 1)
			}
			scores[h] = append(scores[h], score)
		}
	}
	return scores
}

// TestMethodsAgainstLiteralLists compares every selection with sorting literal scores.
func TestMethodsAgainstLiteralLists(t *testing.T) {
	const budget = 21
	for name, score := range literalLists {
		m, err := FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		m.ShareHeads = nil // budgets are in tests of their own
		for seed := range uint64(3) {
			l := randomLayerOf(10+seed, max(90, literalLength[name]))
			c := testConfig(literalWindow + budget)
			got, err := m.Select(l, c, budget)
			if err != nil {
				t.Fatal(err)
			}
			scores := score(l, budget)
			for h := range l.Heads {
				want := bestByHand(scores[h][:l.Len-literalWindow], budget)
				if fmt.Sprint(got[h]) != fmt.Sprint(want) {
					t.Errorf("%s, head %d: %v, want %v", name, h, got[h], want)
				}
			}
		}
	}
}

// bestByHand returns the n positions with the largest scores, ascending; scores that
// differ by rounding only are equal, and of these the lower position is taken.
func bestByHand(score []float64, n int) []int {
	order := make([]int, len(score))
	for j := range order {
		order[j] = j
	}
	sort.SliceStable(order, func(a, b int) bool {
		x, y := score[order[a]], score[order[b]]
		return x-y > 1e-12*math.Abs(x)
	})
	want := slices.Clone(order[:n])
	sort.Ints(want)
	return want
}

// TestBudgetsOfHeads compares the selections of methods that distribute a budget over
// heads with literal versions: budgets first, then the best positions of each head.
func TestBudgetsOfHeads(t *testing.T) {
	const budget = 20
	vote := func(l *Layer, h, j int) float64 { return literal["snapkv"](l, h, j, budget) }
	probability := func(l *Layer, h, j int) float64 {
		sum := 0.0
		for x := range l.Len - literalWindow {
			sum += literal["expectedattention"](l, h, x, 0) / norm(l.value(x, h/2))
		}
		return literal["expectedattention"](l, h, j, 0) / sum
	}
	critical := func(l *Layer, h, j int) float64 { return (vote(l, h, j) + 1e-4) * norm(l.value(j, h/2)) }
	for name, of := range map[string]struct {
		first, second func(l *Layer, h, j int) float64
		floor         int
	}{
		"adapyramidkv":  {first: vote, floor: 4},
		"adaexpected":   {first: probability, floor: 4},
		"criticaladakv": {first: vote, second: critical, floor: 4},
		"kvzip":         {first: func(l *Layer, h, j int) float64 { return sinkOr(j, 4, largestByHand(l, h, j)) }},
	} {
		m, err := FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		l := randomLayer(7)
		got, err := m.Select(l, testConfig(literalWindow+budget), budget)
		if err != nil {
			t.Fatal(err)
		}
		scores := byPosition(of.first)(l, budget)
		var all []float64
		for _, list := range scores {
			for _, j := range bestByHand(list, of.floor) {
				list[j] += 1e6
			}
			all = append(all, list...)
		}
		budgets := make([]int, l.Heads)
		for _, at := range bestByHand(all, budget*l.Heads) {
			budgets[at/len(scores[0])]++
		}
		for h, list := range scores {
			if of.second != nil {
				first := bestByHand(list, max(of.floor, budgets[h]/2))
				for j := range list {
					list[j] = of.second(l, h, j)
				}
				for _, j := range first {
					list[j] += 1e6
				}
			}
			if want := bestByHand(list, budgets[h]); fmt.Sprint(got[h]) != fmt.Sprint(want) {
				t.Errorf("%s, head %d: %v, want %v", name, h, got[h], want)
			}
		}
	}
}

// TestDuoAttentionBudgets: of the 16 heads of four layers, the eight with the lowest
// scores are streaming heads; of equal scores, those of earlier layers.
func TestDuoAttentionBudgets(t *testing.T) {
	scores := slices.Repeat([][]float64{make([]float64, 80)}, 4)
	c := testConfig(28)
	c.HeadScores = [][]float64{{0, 1, 0, 1}, {.5, .5, .9, .9}, {.2, .1, 1, .3}, {.5, 1, .5, .5}}
	for layer, want := range []string{"[20 80 20 80]", "[20 20 80 80]", "[20 20 80 20]", "[20 80 80 80]"} {
		got, err := duoAttention.ShareHeads(scores, 80, layer, c)
		if err != nil || fmt.Sprint(got) != want {
			t.Errorf("layer %d: %v (%v), want %s", layer, got, err, want)
		}
	}
}

// TestLazyLayers: a layer whose last query gives more than 90 % of its weight to the kept
// positions gets the budget, the others keep everything.
func TestLazyLayers(t *testing.T) {
	l := randomLayer(1)
	c := testConfig(28)
	want := 0.0
	for h := range l.Heads {
		for j := range l.Len {
			if j < 4 || j >= l.Len-24 {
				want += float64(weightOf(l, h, l.Len-1, j)) / 4
			}
		}
	}
	if got := simLayerKV.LayerStat(l, c); math.Abs(got-want) > 1e-12 {
		t.Errorf("share %g, want %g", got, want)
	}
	first := 0.0 // all that a capacity below the number of first positions keeps
	for h := range l.Heads {
		for j := range 4 {
			first += float64(weightOf(l, h, l.Len-1, j)) / 4
		}
	}
	if got := simLayerKV.LayerStat(l, testConfig(3)); math.Abs(got-first) > 1e-12 {
		t.Errorf("share of the first positions %g, want %g", got, first)
	}
	got := simLayerKV.LayerBudgets([]float64{.95, .9, .1}, 100, c)
	if want := []int{20, math.MaxInt32, math.MaxInt32}; !slices.Equal(got, want) {
		t.Errorf("budgets %v, want 20 and everything", got)
	}
}
