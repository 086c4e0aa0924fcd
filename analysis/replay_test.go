package analysis

import (
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/snapkv"
)

const (
	replayHeads  = 4
	replayLen    = 40
	replayReply  = 30
	replayTarget = 18
)

// replayLayer returns a layer with random weights; the sinks take a share of each row.
func replayLayer() *Layer {
	r := rand.New(rand.NewPCG(3, 4))
	l := &Layer{}
	l.Layers = 1
	l.Heads = replayHeads
	l.KVHeads = 2
	l.Len = replayLen
	l.N = 8
	l.Dim = 4
	l.ValueDim = 4
	all := replayLen + replayReply
	l.Reply = &dumps.Attention{Heads: l.Heads, Rows: replayReply, Keys: all, Data: make([]float32, l.Heads*replayReply*all)}
	l.ReplySinks = make([]float32, l.Heads*replayReply)
	l.Rows = make([]float32, l.Heads*l.N*l.Len)
	l.Sums = make([]float32, l.Heads*l.Len)
	fill := func(row []float32, seen int) (sink float32) {
		total := 0.0
		e := make([]float64, seen+1)
		for j := range e {
			e[j] = math.Exp(2 * r.NormFloat64())
			total += e[j]
		}
		for j := range seen {
			row[j] = float32(e[j] / total)
		}
		return float32(e[seen] / total)
	}
	for h := range l.Heads {
		for i := range l.N {
			fill(l.Rows[(h*l.N+i)*l.Len:][:l.Len], l.Len-l.N+i+1)
		}
		for j := range l.Len {
			l.Sums[h*l.Len+j] = float32(math.Exp(r.NormFloat64()))
		}
		for i := range replayReply {
			l.ReplySinks[h*replayReply+i] = fill(l.Reply.Head(h)[i*all:][:all], l.Len+i+1)
		}
	}
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	l.Keys = random(all * l.KVHeads * l.Dim)
	l.Values = random(all * l.KVHeads * l.ValueDim)
	l.sumReply()
	return l
}

// replayRule is a method that is written out by position. score is that of a position for a
// head; row(q, j) is what the query at q gives to j, out of what it gives to kept positions.
type replayRule struct {
	method        string
	every, window int
	group         snapkv.Group
	score         func(sums []float64, row func(q, j int) float64, last, j int) float64
}

func replayRules() []replayRule {
	votes := func(_ []float64, row func(q, j int) float64, last, j int) float64 {
		sum := 0.0
		for q := last - 4; q <= last; q++ {
			sum += row(q, j)
		}
		return sum
	}
	return []replayRule{
		{"h2o", 1, 8, snapkv.GroupHead, func(sums []float64, _ func(q, j int) float64, _, j int) float64 { return sums[j] }},
		{"streamingllm", 1, 4, snapkv.GroupHead, func(_ []float64, _ func(q, j int) float64, _, j int) float64 {
			if j < 4 {
				return math.Inf(1)
			}
			return float64(j)
		}},
		{"snapkv", 7, 5, snapkv.GroupHead, votes},
		{"snapkv", 3, 5, snapkv.GroupSum, votes},
		{"tova", 1, 1, snapkv.GroupHead, func(_ []float64, row func(q, j int) float64, last, j int) float64 { return row(last, j) }},
	}
}

// literalReplay returns the positions that are kept after the rows of a replay: [row][head].
func literalReplay(l *Layer, rule replayRule, start [][]int32) [][][]int32 {
	all := l.Reply.Keys
	kept := make([]map[int]bool, l.Heads)
	sums := make([][]float64, l.Heads)
	for h := range kept {
		kept[h] = map[int]bool{}
		for _, j := range start[h*len(start)/l.Heads] {
			kept[h][int(j)] = true
		}
		for j := l.Len - rule.window; j < l.Len; j++ {
			kept[h][j] = true
		}
		sums[h] = make([]float64, all)
		for j := range l.Len {
			sums[h][j] = float64(l.Sums[h*l.Len+j])
		}
	}
	row := func(h, q, j int) float64 {
		weight := func(j int) float64 {
			switch {
			case j > q:
				return 0
			case q >= l.Len:
				return float64(l.Reply.Head(h)[(q-l.Len)*all+j])
			}
			return float64(l.Rows[(h*l.N+q-l.Len+l.N)*l.Len+j])
		}
		gone := 0.0 // given to positions that are not kept
		for x := range all {
			if !kept[h][x] {
				gone += weight(x)
			}
		}
		return weight(j) / (1 - gone)
	}
	var out [][][]int32
	for r := range l.Reply.Rows {
		last := l.Len + r
		for h := range kept {
			kept[h][last] = true
			for j := range kept[h] {
				sums[h][j] += row(h, last, j)
			}
		}
		if (r+1)%rule.every == 0 {
			next := make([]map[int]bool, l.Heads)
			for h := range kept {
				var order []int
				for j := range kept[h] {
					if j <= last-rule.window {
						order = append(order, j)
					}
				}
				sort.Ints(order)
				score := func(j int) float64 {
					heads := []int{h}
					switch {
					case rule.method == "tova":
						heads = []int{0, 1, 2, 3}
					case rule.group == snapkv.GroupSum:
						heads = []int{h / 2 * 2, h/2*2 + 1}
					}
					sum := 0.0
					for _, g := range heads {
						sum += rule.score(sums[g], func(q, j int) float64 { return row(g, q, j) }, last, j)
					}
					return sum
				}
				sort.SliceStable(order, func(a, b int) bool { return score(order[a]) > score(order[b]) })
				next[h] = map[int]bool{}
				for _, j := range order[:min(len(order), replayTarget-rule.window)] {
					next[h][j] = true
				}
				for j := last - rule.window + 1; j <= last; j++ {
					next[h][j] = true
				}
			}
			kept = next
		}
		var lists [][]int32
		for h := range kept {
			var list []int32
			for j := range kept[h] {
				list = append(list, int32(j))
			}
			slices.Sort(list)
			lists = append(lists, list)
		}
		out = append(out, lists)
	}
	return out
}

// TestReplayAgainstALiteralLoop compares what is kept after each row of the reply, and the
// weights and errors that follow, with loops that hold everything by position.
func TestReplayAgainstALiteralLoop(t *testing.T) {
	l := replayLayer()
	for _, rule := range replayRules() {
		m, err := snapkv.FindMethod(rule.method)
		if err != nil {
			t.Fatal(err)
		}
		c := snapkv.Config{Window: rule.window, Capacity: replayTarget, Kernel: 1, Pooling: snapkv.AvgPool, Group: rule.group}
		entry := snapkv.Entry{Method: &m, Config: c}
		start, err := m.Select(&l.Layer, c, c.Budget())
		if err != nil {
			t.Fatal(err)
		}
		want := literalReplay(l, rule, start)
		p, err := NewReplay(l, entry, start, replayTarget, rule.every)
		if err != nil {
			t.Fatal(err)
		}
		for row := range l.Reply.Rows {
			p.Next()
			if err := p.Done(); err != nil {
				t.Fatal(err)
			}
			for h := range l.Heads {
				if !slices.Equal(p.Kept(h), want[row][h]) {
					t.Fatalf("%s, every %d, row %d, head %d: kept %v, want %v",
						rule.method, rule.every, row, h, p.Kept(h), want[row][h])
				}
			}
		}
		checkReplayMeasures(t, l, entry, rule, start, want)
	}
}

// checkReplayMeasures computes mass, cache mass, hits and the output error from the kept
// positions.
func checkReplayMeasures(t *testing.T, l *Layer, entry snapkv.Entry, rule replayRule, start [][]int32, kept [][][]int32) {
	t.Helper()
	a := &methods{cfg: MethodConfig{Thetas: []float64{0.05}, Span: 1000}}
	cells, err := a.newEvaluation(l).replay(start, entry, replayTarget, rule.every)
	if err != nil {
		t.Fatal(err)
	}
	all := l.Reply.Keys
	for h := range l.Heads {
		mass, cache, sumError := 0.0, 0.0, 0.0
		hits := 0
		for r := range l.Reply.Rows {
			list := slices.Clone(start[h*len(start)/l.Heads])
			for j := l.Len - rule.window; j < l.Len; j++ {
				list = append(list, int32(j))
			}
			if r > 0 {
				list = kept[r-1][h]
			}
			list = append(slices.Clone(list), int32(l.Len+r))
			weights := l.Reply.Head(h)[r*all:][:all]
			got := make([]float64, l.ValueDim)
			whole := make([]float64, l.ValueDim)
			total := float64(l.ReplySinks[h*l.Reply.Rows+r])
			for j := range all {
				for d := range whole {
					whole[d] += float64(weights[j]) * float64(l.Values[(j*l.KVHeads+h/2)*l.ValueDim+d])
				}
			}
			for _, j := range list {
				w := float64(weights[j])
				cache += w
				total += w
				for d := range got {
					got[d] += w * float64(l.Values[(int(j)*l.KVHeads+h/2)*l.ValueDim+d])
				}
				if int(j) < l.Len-rule.window {
					mass += w
					if weights[j] > 0.05 {
						hits++
					}
				}
			}
			square, norm := 0.0, 0.0
			for d := range got {
				square += (whole[d] - got[d]/total) * (whole[d] - got[d]/total)
				norm += whole[d] * whole[d]
			}
			sumError += math.Sqrt(square / norm)
		}
		n := float64(l.Reply.Rows)
		cell := cells[h][0][0]
		near := func(what string, got, want float64) {
			t.Helper()
			if math.Abs(got-want) > 1e-5*(1+want) {
				t.Errorf("%s, head %d: %s %g, want %g", rule.method, h, what, got, want)
			}
		}
		near("mass", cell.mass, mass/n)
		near("cache mass", cell.cache, cache/n)
		near("hits", float64(cell.hits), float64(hits))
		near("output error", cell.error, sumError/n)
		if !math.IsNaN(cell.best) || !math.IsNaN(cell.recall) || !math.IsNaN(cell.jaccard) {
			t.Errorf("%s: measures of the best fixed selection are %g, %g, %g, want NaN",
				rule.method, cell.best, cell.recall, cell.jaccard)
		}
	}
}

// TestMethodsThatCannotBeReplayed are refused with the reason.
func TestMethodsThatCannotBeReplayed(t *testing.T) {
	l := replayLayer()
	for name, want := range map[string]string{
		"adakv": "different numbers of positions", "oracle": "reads the whole reply",
		"expectedattention": "do not have the queries of the reply",
	} {
		m, err := snapkv.FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewReplay(l, snapkv.Entry{Method: &m, Config: snapkv.Default}, nil, 4, 1)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", name, err, want)
		}
	}
}
