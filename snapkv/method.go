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

// Needs lists the parts of a [Layer] that a method reads.
type Needs struct{ Rows, Sums, Keys, Values, Queries, Generated bool }

// Union returns what n or o needs.
func (n Needs) Union(o Needs) Needs {
	return Needs{
		Rows:      n.Rows || o.Rows,
		Sums:      n.Sums || o.Sums,
		Keys:      n.Keys || o.Keys,
		Values:    n.Values || o.Values,
		Queries:   n.Queries || o.Queries,
		Generated: n.Generated || o.Generated,
	}
}

// States reports whether keys, queries or values are needed. A [Layer] holds them
// for all heads together.
func (n Needs) States() bool { return n.Keys || n.Queries || n.Values }

// Scope is the set of query heads that a head's selection depends on.
type Scope uint8

// The scopes, from the narrowest to the widest.
const (
	ScopeHead  Scope = iota // the query head alone, with the keys and values of its kv head
	ScopeGroup              // the query heads of one kv head
	ScopeLayer              // all heads of the layer
)

// Heads is the number of query heads that a scope spans in a layer.
func (s Scope) Heads(heads, kvHeads int) int {
	switch s {
	case ScopeHead:
		return 1
	case ScopeGroup:
		return heads / kvHeads
	}
	return heads
}

// Role tells a method that can be used from one that others are compared with.
type Role uint8

// The roles.
const (
	Selector Role = iota // a method of a paper or program
	Baseline             // a trivial selection that methods are compared with
	Bound                // cannot be chosen: it knows the reply, or keeps everything
)

// Method ranks the prefix positions of each head. The budget functions are nil
// where every layer, or every head of a layer, gets the same budget.
type Method struct {
	Name   string // as the command line and result files spell it
	Source string // the paper or program that defines it
	Role   Role
	Needs  Needs
	// Scope is the set of heads that a head's scores and budget depend on, before
	// Config.Group merges scores. ScopeWith includes the merging.
	Scope Scope
	// Nested says that a larger budget keeps all positions that a smaller one keeps.
	Nested bool
	// ByCapacity says that scores depend on Config.Capacity.
	ByCapacity bool
	// IgnoresCapacity says that the whole prefix is kept whatever the capacity.
	IgnoresCapacity bool
	// PooledVotes says that the scores are the pooled votes of the window and that
	// every head of a layer keeps the same number of the largest. A device that holds
	// the cache can select by such a method itself.
	PooledVotes bool

	// Score returns scores [heads][prefix]; larger ones are kept first.
	Score func(l *Layer, c Config) ([][]float64, error)
	// LayerStat computes the statistic of one layer that ShareLayers uses. Nil:
	// ShareLayers looks at the number of layers only.
	LayerStat func(l *Layer, c Config) float64
	// ShareLayers returns the budget per head of every layer, from the statistics
	// of all layers.
	ShareLayers func(stats []float64, c Config) []int
	// ShareHeads shares the total of one layer out over its heads.
	ShareHeads func(scores [][]float64, total int, layer int, c Config) ([]int, error)
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

// RoleOf returns the role of the method with a name, Selector for an unknown name.
func RoleOf(name string) Role {
	m, err := FindMethod(name)
	if err != nil {
		return Selector
	}
	return m.Role
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

// ScopeWith returns the heads that have to be ranked together under a group: the
// method's own scope, at least the query heads of a kv head if the group merges
// them, and the whole layer if the method reads keys, queries or values.
func (m *Method) ScopeWith(g Group) Scope {
	switch {
	case m.Needs.States():
		return ScopeLayer
	case g.Merges():
		return max(m.Scope, ScopeGroup)
	}
	return m.Scope
}

// KeepsAll reports whether the method keeps the whole prefix of a prompt of length
// tokens: because it ignores the capacity, or because the prompt passes through.
func (m *Method) KeepsAll(c Config, length int) bool {
	return m.IgnoresCapacity || c.Passthrough(length)
}

// RanksAlike reports whether the method gives the same scores under two configs:
// they differ at most in the capacity, which its scores do not depend on.
func (m *Method) RanksAlike(a, b Config) bool { return !m.ByCapacity && a.RanksLike(b) }

// LayerBudgets returns the budget per head of every layer. Statistics that
// LayerStat does not compute may be zero.
func (m *Method) LayerBudgets(stats []float64, c Config) []int {
	if m.ShareLayers != nil {
		return m.ShareLayers(stats, c)
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
	return NewRanking(m, l).Select(c, budget)
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
	scores = c.Group.merge(scores, l.KVHeads)
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
	if m.KeepsAll(c, l.Len) {
		return everything(l, c), nil
	}
	budgets := make([]int, len(scores))
	for h := range budgets {
		budgets[h] = min(budget, len(scores[h]))
	}
	if m.ShareHeads != nil {
		var err error
		if budgets, err = m.ShareHeads(scores, budget*len(scores), l.Index, c); err != nil {
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
	keep := make([][]int32, c.Group.Selections(l.Heads, l.KVHeads))
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
