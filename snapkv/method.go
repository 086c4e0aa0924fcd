package snapkv

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Layer is what a method may look at: one layer of one prompt. What a method
// does not need may be nil.
type Layer struct {
	Index, Layers  int // which layer of how many
	Heads, KVHeads int
	Len            int       // positions of the prompt
	N              int       // recorded rows, the last of the prompt
	Rows           []float32 // [Heads, N, Len] weights
	Sums           []float32 // [Heads, Len] weight summed over all prompt queries
	Dim, ValueDim  int
	Keys           []float32 // [Len or more, KVHeads, Dim], rotated
	Values         []float32 // [Len or more, KVHeads, ValueDim]
	Queries        []float32 // [N, Heads, Dim], rotated
	Generated      []float64 // [Heads, Len] weight summed over the reply's rows
}

// Needs lists what a method looks at.
type Needs struct{ Rows, Sums, Keys, Values, Queries, Generated bool }

// Method ranks the prefix positions of each head.
type Method struct {
	Name, Source string
	Needs        Needs
	// Nested says that a larger budget keeps all that a smaller one keeps.
	Nested bool
	// ByCapacity says that the scores change with the capacity.
	ByCapacity bool
	// Across says that the scores of a head depend on other heads, or on its number:
	// heads must be ranked side by side.
	Across bool
	// PooledVotes says that the scores are the window's pooled votes and that every
	// head keeps as many of the largest: a device that holds the cache can choose.
	PooledVotes bool
	// Score returns scores [heads][prefix], larger is kept first.
	Score func(l *Layer, c Config) ([][]float64, error)
	// Layers gives every layer's budget a head from their statistics; nil: all
	// the same.
	Layers func(stats []float64, c Config) []int
	// Stat is a layer's statistic for Layers; may be nil.
	Stat func(l *Layer, c Config) float64
	// Heads shares a layer's total out over its heads; nil: evenly.
	Heads func(scores [][]float64, total int, layer int, c Config) ([]int, error)
}

// Methods lists every method, in the order help, tables and plots show them.
var Methods = []Method{
	snapkvMethod, h2o, streamingLLM, tova, pyramidKV, adaKV, headKV, cake, chunkKV, criticalKV, expectedAttention,
	knorm, keyDiff, recent, random, oracle, full,
}

// MethodNames lists their names.
func MethodNames() []string {
	var list []string
	for _, m := range Methods {
		list = append(list, m.Name)
	}
	return list
}

// FindMethod looks a method up by name.
func FindMethod(name string) (Method, error) {
	for _, m := range Methods {
		if m.Name == name {
			return m, nil
		}
	}
	return Method{}, fmt.Errorf("method %q: want %s or all", name, strings.Join(MethodNames(), ", "))
}

// Check says what a layer lacks that the method needs, and how to have it.
func (m *Method) Check(l *Layer, c Config) error {
	switch {
	case (m.Needs.Rows || m.Needs.Queries) && l.N < c.Window:
		return fmt.Errorf("%s: window %d, but %d prompt rows were recorded: capture with --window-rows %d", m.Name, c.Window, l.N, c.Window)
	case m.Needs.Sums && l.Sums == nil:
		return fmt.Errorf("%s needs sums over all prompt queries, which the dump lacks: capture without --no-prompt-sums", m.Name)
	case m.Needs.Keys && l.Keys == nil:
		return fmt.Errorf("%s needs keys: capture with --store factors", m.Name)
	case m.Needs.Queries && l.Queries == nil:
		return fmt.Errorf("%s needs queries: capture with --store factors", m.Name)
	case m.Needs.Values && l.Values == nil:
		return fmt.Errorf("%s needs values: capture with --values", m.Name)
	case m.Needs.Generated && l.Generated == nil:
		return fmt.Errorf("%s needs the reply's rows", m.Name)
	}
	return c.Check()
}

// LayerBudgets are the budgets a head of every layer.
func (m *Method) LayerBudgets(stats []float64, c Config) []int {
	if m.Layers != nil {
		return m.Layers(stats, c)
	}
	out := make([]int, len(stats))
	for i := range out {
		out[i] = c.Budget()
	}
	return out
}

// Select ranks one layer and keeps budget positions a head, or shares that
// total out over heads. It returns ascending prefix positions, [heads] or, where
// Group merges heads, [kv heads].
func (m *Method) Select(l *Layer, c Config, budget int) ([][]int32, error) {
	if m.Name == "full" || c.Passthrough(l.Len) {
		return everything(l, c), nil
	}
	scores, err := m.Rank(l, c)
	if err != nil {
		return nil, err
	}
	return m.Cut(scores, l, c, budget)
}

// Rank gives the scores that Cut selects by, [heads or kv heads][prefix]. They
// depend on the capacity only where the method says so (ByCapacity).
func (m *Method) Rank(l *Layer, c Config) ([][]float64, error) {
	if err := m.Check(l, c); err != nil {
		return nil, err
	}
	scores, err := m.Score(l, c)
	if err != nil {
		return nil, err
	}
	if scores, err = merge(scores, l.KVHeads, c.Group); err != nil {
		return nil, err
	}
	for h := range scores {
		for j, v := range scores[h] {
			if v != v {
				return nil, fmt.Errorf("%s: the score of head %d, position %d is not a number", m.Name, h, j)
			}
		}
	}
	return scores, nil
}

// Cut keeps the budget largest scores of each head, or shares the total out.
func (m *Method) Cut(scores [][]float64, l *Layer, c Config, budget int) ([][]int32, error) {
	if m.Name == "full" || c.Passthrough(l.Len) {
		return everything(l, c), nil
	}
	budgets := make([]int, len(scores))
	for h := range budgets {
		budgets[h] = min(budget, len(scores[h]))
	}
	if m.Heads != nil {
		var err error
		if budgets, err = m.Heads(scores, budget*len(scores), l.Index, c); err != nil {
			return nil, err
		}
	}
	keep := make([][]int32, len(scores))
	for h := range keep {
		keep[h] = TopK(scores[h], budgets[h])
	}
	return keep, nil
}

// everything is the whole prefix, by query head, or by kv head where Group
// merges heads.
func everything(l *Layer, c Config) [][]int32 {
	all := make([]int32, max(0, l.Len-c.Window))
	for j := range all {
		all[j] = int32(j)
	}
	heads := l.Heads
	if c.Group != "head" {
		heads = l.KVHeads
	}
	keep := make([][]int32, heads)
	for h := range keep {
		keep[h] = all
	}
	return keep
}

// ByQueryHead expands a selection by kv head to one list a query head.
func ByQueryHead(keep [][]int32, heads int) [][]int32 {
	out := make([][]int32, heads)
	for h := range out {
		out[h] = keep[h*len(keep)/heads]
	}
	return out
}

// votes sums the window's rows over the prefix, [heads][prefix].
func votes(l *Layer, c Config) [][]float64 {
	out := make([][]float64, l.Heads)
	for h := range out {
		out[h] = Vote(l.Rows[h*l.N*l.Len:(h+1)*l.N*l.Len], l.N, l.Len, c.Window, l.Len-c.Window)
	}
	return out
}

func pooledVotes(l *Layer, c Config) ([][]float64, error) {
	list := votes(l, c)
	for h := range list {
		var err error
		if list[h], err = Pool(list[h], c.Kernel, c.Pooling); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// same gives all heads one list of scores.
func same(score []float64, heads int) [][]float64 {
	out := make([][]float64, heads)
	for h := range out {
		out[h] = slices.Clone(score)
	}
	return out
}

// perKV computes scores by kv head from f(position, kv head) for all its query
// heads.
func perKV(l *Layer, c Config, f func(j, g int) float64) [][]float64 {
	group := l.Heads / l.KVHeads
	out := make([][]float64, l.Heads)
	for h := range out {
		if h%group != 0 {
			out[h] = slices.Clone(out[h-1])
			continue
		}
		out[h] = make([]float64, l.Len-c.Window)
		for j := range out[h] {
			out[h][j] = f(j, h/group)
		}
	}
	return out
}

func norm(x []float32) float64 {
	s := 0.0
	for _, v := range x {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s)
}

func (l *Layer) key(j, g int) []float32 { return l.Keys[(j*l.KVHeads+g)*l.Dim:][:l.Dim] }

func (l *Layer) value(j, g int) []float32 { return l.Values[(j*l.KVHeads+g)*l.ValueDim:][:l.ValueDim] }
