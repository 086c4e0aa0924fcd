package snapkv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"testing"
)

// randomLayer is one layer of peaked attention with everything recorded.
func randomLayer(seed uint64) *Layer { return randomLayerOf(seed, 90) }

// randomLayerOf is randomLayer for a prompt of length positions.
func randomLayerOf(seed uint64, length int) *Layer {
	r := rand.New(rand.NewPCG(seed, 1))
	l := &Layer{Index: 1, Layers: 4, Heads: 4, KVHeads: 2, Len: length, N: length, Dim: 6, ValueDim: 5}
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	l.Keys = normal(l.Len * l.KVHeads * l.Dim)
	l.Values = normal(l.Len * l.KVHeads * l.ValueDim)
	l.Queries = normal(l.N * l.Heads * l.Dim)
	l.Rows = make([]float32, l.Heads*l.N*l.Len)
	l.Sums = make([]float32, l.Heads*l.Len)
	l.Generated = make([]float64, l.Heads*l.Len)
	for h := range l.Heads {
		for i := range l.N {
			sum := 0.0
			row := l.Rows[(h*l.N+i)*l.Len:][:l.Len-l.N+i+1]
			for j := range row {
				row[j] = float32(math.Exp(1.5 * r.NormFloat64()))
				sum += float64(row[j])
			}
			for j := range row {
				row[j] /= float32(sum)
				l.Sums[h*l.Len+j] += row[j]
			}
		}
		for j := range l.Len {
			l.Generated[h*l.Len+j] = math.Exp(2 * r.NormFloat64())
		}
	}
	return l
}

func testConfig(capacity int) Config {
	c := Config{Window: 8, Capacity: capacity, Kernel: 5, Pooling: "avgpool", Group: "head", Seed: 3}
	for range 4 {
		c.HeadScores = append(c.HeadScores, []float64{1, 3, 2, 4})
	}
	return c
}

// TestPooledVotes: methods with PooledVotes rank as snapkv does and keep the same number
// of positions of every head.
func TestPooledVotes(t *testing.T) {
	l, c, seen := randomLayer(5), testConfig(30), 0
	for _, m := range Methods {
		if !m.PooledVotes {
			continue
		}
		seen++
		got, err := m.Rank(l, c)
		want, err2 := snapKV.Rank(l, c)
		if err != nil || err2 != nil {
			t.Fatal(err, err2)
		}
		for h := range want {
			if !slices.Equal(got[h], want[h]) {
				t.Errorf("%s: head %d is ranked differently than by snapkv", m.Name, h)
			}
		}
		if m.ShareHeads != nil || m.LayerStat != nil || m.ByCapacity {
			t.Errorf("%s depends on more than the votes of one head", m.Name)
		}
	}
	if seen != 2 {
		t.Errorf("%d methods have PooledVotes, want snapkv and pyramidkv", seen)
	}
}

// TestScope: a head that is alone in its layer is ranked as together with others, except
// by methods with ScopeLayer. Methods that need states always get all heads.
func TestScope(t *testing.T) {
	all, c := randomLayer(6), testConfig(30)
	c.Chunk = 7
	for _, m := range Methods {
		if m.IgnoresCapacity || m.ShareHeads != nil || m.Needs.States() {
			continue
		}
		want, err := m.Rank(all, c)
		if err != nil {
			t.Fatal(err)
		}
		alike := true
		for h := range all.Heads {
			one := *all
			one.Heads = 1
			one.KVHeads = 1
			one.Keys, one.Queries, one.Values = nil, nil, nil
			one.Rows = all.Rows[h*all.N*all.Len:][:all.N*all.Len]
			one.Sums = all.Sums[h*all.Len:][:all.Len]
			one.Generated = all.Generated[h*all.Len:][:all.Len]
			got, err := m.Rank(&one, c)
			if err != nil {
				t.Fatal(err)
			}
			alike = alike && slices.Equal(got[0], want[h])
		}
		if alike == (m.Scope == ScopeLayer) {
			t.Errorf("%s: heads alone are ranked alike: %v, Scope is %v", m.Name, alike, m.Scope)
		}
	}
}

// TestAlike: exactly the methods that say so keep the same positions for the query heads
// of a kv head.
func TestAlike(t *testing.T) {
	for _, m := range Methods {
		if m.IgnoresCapacity {
			continue
		}
		l := randomLayer(1)
		c := testConfig(28)
		c.Group = GroupHead
		keep, err := m.Select(l, c, m.LayerBudgets([]float64{1, 2, 3, 4}, l.Len, c)[l.Index])
		if err != nil {
			t.Fatal(err)
		}
		alike := true
		for h := range keep {
			alike = alike && slices.Equal(keep[h], keep[h-h%(l.Heads/l.KVHeads)])
		}
		if alike != m.Alike {
			t.Errorf("%s: Alike is %t, but %t for a random layer", m.Name, m.Alike, alike)
		}
	}
}

// TestContract checks the promises of every method: ascending positions of the prefix,
// as many as the budget, nested if Nested, and the same for weights of another scale.
func TestContract(t *testing.T) {
	for _, m := range Methods {
		t.Run(m.Name, func(t *testing.T) {
			if m.Source == "" {
				t.Error("no source")
			}
			l := randomLayer(1)
			prefix := l.Len - 8
			var before [][]int32
			for _, capacity := range []int{9, 16, 28, 40, 64, 90} {
				c := testConfig(capacity)
				budget := m.LayerBudgets([]float64{1, 2, 3, 4}, l.Len, c)[l.Index]
				keep, err := m.Select(l, c, budget)
				if err != nil {
					t.Fatal(err)
				}
				total := 0
				for _, list := range keep {
					total += len(list)
					for i, j := range list {
						if j < 0 || int(j) >= prefix || i > 0 && j <= list[i-1] {
							t.Fatalf("capacity %d: positions %v are not ascending in [0, %d)", capacity, list, prefix)
						}
					}
				}
				if want := len(keep) * min(budget, prefix); !m.IgnoresCapacity && !m.ByHeadScores && total != want {
					t.Errorf("capacity %d: %d positions in all, want %d", capacity, total, want)
				}
				if m.Nested && before != nil && m.ShareLayers == nil {
					for h := range keep {
						for _, j := range before[h] {
							if !slices.Contains(keep[h], j) {
								t.Errorf("capacity %d, head %d: position %d is dropped by a larger budget", capacity, h, j)
							}
						}
					}
				}
				before = keep
			}
			// Scaling the weights changes nothing.
			s := randomLayer(1)
			for i := range s.Rows {
				s.Rows[i] *= 0.5
			}
			c := testConfig(28)
			if m.Name == "cake" || m.Name == "scissorhands" {
				return // the variance is of second order, and the threshold of scissorhands is absolute
			}
			a, _ := m.Select(l, c, 20)
			b, err := m.Select(s, c, 20)
			if err != nil || fmt.Sprint(a) != fmt.Sprint(b) {
				t.Errorf("halving the weights changes the selection (%v)", err)
			}
		})
	}
}

func TestOracleKeepsMost(t *testing.T) {
	l, c := randomLayer(2), testConfig(28)
	mass := func(keep [][]int32) (sum float64) {
		for h, list := range ByQueryHead(keep, l.Heads) {
			for _, j := range list {
				sum += l.Generated[h*l.Len+int(j)]
			}
		}
		return sum
	}
	best, err := oracle.Select(l, c, 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range Methods {
		if m.IgnoresCapacity || m.ShareHeads != nil {
			continue // other budgets by head
		}
		keep, err := m.Select(l, c, 20)
		if err != nil {
			t.Fatal(err)
		}
		if mass(keep) > mass(best)+1e-9 {
			t.Errorf("%s keeps %g, more than the oracle's %g", m.Name, mass(keep), mass(best))
		}
	}
}

// TestAdaKVAgainstSorting compares the budgets with a literal version: a floor of
// positions for each head, then the largest scores of all heads together.
func TestAdaKVAgainstSorting(t *testing.T) {
	l, c := randomLayer(5), testConfig(28)
	scores, err := pooledVotes(l, c)
	if err != nil {
		t.Fatal(err)
	}
	const total = 80
	floor := int(0.2 * total / 4)
	type entry struct {
		h, j int
		v    float64
	}
	var rest []entry
	want := []int{floor, floor, floor, floor}
	for h, s := range scores {
		order := make([]entry, len(s))
		for j, v := range s {
			order[j] = entry{h, j, v}
		}
		sort.SliceStable(order, func(a, b int) bool { return order[a].v > order[b].v })
		rest = append(rest, order[floor:]...)
	}
	sort.SliceStable(rest, func(a, b int) bool { return rest[a].v > rest[b].v })
	for _, e := range rest[:total-4*floor] {
		want[e.h]++
	}
	got, err := adaKV.ShareHeads(scores, total, 0, c)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("budgets %v (%v), want %v", got, err, want)
	}
}

func TestPyramidBudgets(t *testing.T) {
	c := testConfig(108) // budget 100: from 195 down to 5
	for length, want := range map[int][]int{
		1000: {195, 100, 5},
		203:  {195, 100, 5},
		202:  {194, 100, 6}, // the first layer keeps the prefix, the last what remains
		150:  {142, 100, 58},
		108:  {100, 100, 100},
		107:  {195, 100, 5}, // a prompt that passes through
	} {
		if got := pyramidKV.LayerBudgets(make([]float64, 3), length, c); !slices.Equal(got, want) {
			t.Errorf("%d tokens: %v, want %v", length, got, want)
		}
	}
}

// TestCakeBudgets: what exceeds the prefix goes to the other layers in equal parts, until no
// layer exceeds it.
func TestCakeBudgets(t *testing.T) {
	c := testConfig(108) // 400 positions of four layers
	stats := []float64{70, 20, 5, 5}
	for length, want := range map[int][]int{
		1000: {280, 80, 20, 20},
		288:  {280, 80, 20, 20},
		187:  {179, 114, 54, 53}, // 101 positions for three layers
		138:  {130, 130, 70, 70}, // 150 for three, and then 0 for two
		128:  {120, 120, 80, 80}, // 160 for three, and then 14 for two
	} {
		if got := cake.LayerBudgets(stats, length, c); !slices.Equal(got, want) {
			t.Errorf("%d tokens: %v, want %v", length, got, want)
		}
	}
}

func TestGroupMergesVotes(t *testing.T) {
	scores := [][]float64{{1, 4}, {3, 0}, {5, 5}, {1, 3}}
	for how, want := range map[Group]string{
		GroupMean: "[[2 2] [3 4]]",
		GroupMax:  "[[3 4] [5 5]]",
		GroupSum:  "[[4 4] [6 8]]",
		GroupHead: "[[1 4] [3 0] [5 5] [1 3]]",
	} {
		if got := how.merge(scores, 2); fmt.Sprint(got) != want {
			t.Errorf("%s: %v, want %s", how, got, want)
		}
	}
}

// TestWholePrefixHasTheLayoutOfASelection: a prompt that passes through, and full, have a
// list per kv head if the group merges heads.
func TestWholePrefixHasTheLayoutOfASelection(t *testing.T) {
	l := randomLayer(3)
	for group, want := range map[Group]int{GroupHead: l.Heads, GroupMean: l.KVHeads} {
		for _, c := range []struct {
			method   Method
			capacity int
		}{{snapKV, l.Len + 1}, {snapKV, 28}, {full, 28}} {
			cfg := testConfig(c.capacity)
			cfg.Group = group
			keep, err := c.method.Select(l, cfg, 20)
			if err != nil || len(keep) != want {
				t.Errorf("%s, capacity %d, group %s: %d lists (%v), want %d",
					c.method.Name, c.capacity, group, len(keep), err, want)
			}
		}
	}
}

func TestCheckNamesWhatIsMissing(t *testing.T) {
	for name, want := range map[string]string{
		"knorm": "--store factors", "criticalkv": "--values", "h2o": "sums", "snapkv": "--window-rows 8",
	} {
		m, err := FindMethod(name)
		if err != nil {
			t.Fatal(err)
		}
		l := randomLayer(1)
		l.Keys, l.Values, l.Sums, l.N = nil, nil, nil, 4
		if name == "criticalkv" {
			l.N = 16
		}
		if _, err := m.Select(l, testConfig(28), 20); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	if err := (Config{Window: 32, Capacity: 32, Kernel: 5, Pooling: "avgpool", Group: "head"}).Check(); err == nil {
		t.Error("capacity = window: no error")
	}
}

// TestScoresAreInTheStatesDtype: merged scores are rounded like all others, so that
// scores that are equal in the dtype are ties and the lower position is kept.
func TestScoresAreInTheStatesDtype(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 2))
	round := func(v float32) float32 { return float32(math.Round(float64(v)*64)) / 64 }
	s := &States{Heads: 6, KVHeads: 2, Len: 40, Rows: 8, Dim: 4, Round: round}
	for range s.Heads * s.Rows * s.Dim {
		s.Queries = append(s.Queries, s.Round(float32(r.NormFloat64())))
	}
	for range s.KVHeads * s.Len * s.Dim {
		s.Keys = append(s.Keys, s.Round(float32(r.NormFloat64())))
	}
	for _, group := range Groups() {
		scores, err := s.Scores(Config{Window: 4, Capacity: 12, Kernel: 3, Pooling: "avgpool", Group: group})
		if err != nil {
			t.Fatal(err)
		}
		for h := range scores {
			for j, v := range scores[h] {
				if float32(v) != s.Round(float32(v)) {
					t.Fatalf("group %s, head %d, position %d: %g is not in the dtype", group, h, j, v)
				}
			}
		}
	}
}
