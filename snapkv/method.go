package snapkv

import (
	"fmt"
	"math"

	"github.com/attnscope/attnscope/internal/topk"
)

// Scope is the set of query heads that the selection of one head depends on.
type Scope uint8

// The scopes, from the narrowest to the widest.
const (
	ScopeHead  Scope = iota // the query head alone, with the states of its kv head
	ScopeGroup              // the query heads of one kv head
	ScopeLayer              // all heads of the layer
)

// Heads returns the number of query heads that a scope spans in a layer.
func (s Scope) Heads(heads, kvHeads int) int {
	switch s {
	case ScopeHead:
		return 1
	case ScopeGroup:
		return heads / kvHeads
	}
	return heads
}

// Role distinguishes usable methods from those that serve for comparison.
type Role uint8

// The roles.
const (
	Selector Role = iota // a method of a paper or program
	Baseline             // a trivial selection, for comparison
	Bound                // not usable: it knows the reply or keeps everything
)

// Method ranks the prefix positions of each head of a layer. Each method is a value in
// a file of its own; [Methods] lists them.
type Method struct {
	Name   string // as the command line and result files spell it
	Source string // paper or program
	Role   Role
	Common bool // in comparisons that do not name their methods; see [Common]
	Needs  Needs
	// Scope is the set of heads that the scores and the budget of a head depend on,
	// before Config.Group merges scores; ScopeWith takes the merging into account.
	Scope Scope
	// Nested means that a larger budget keeps all positions that a smaller one keeps.
	Nested bool
	// ByCapacity means that scores depend on Config.Capacity, so that a sweep ranks
	// again for each capacity.
	ByCapacity bool
	// ByGroup means that Score reads Config.Group. A sweep over several groups then
	// computes the scores for each of them.
	ByGroup bool
	// Alike means that the query heads of a kv head keep the same positions even if the
	// group does not merge them.
	Alike bool
	// IgnoresCapacity means that the whole prefix is kept at every capacity.
	IgnoresCapacity bool
	// PooledVotes means that the scores are the pooled votes of the window and that
	// all heads of a layer keep the same number of positions. A device that holds the
	// cache can then select by itself.
	PooledVotes bool
	// ByStates means that [States.Select] selects by this method.
	ByStates bool

	// ByHeadScores means that ShareHeads reads Config.HeadScores, which must be given.
	ByHeadScores bool
	// BySinks, ByChunk and BySeed mean that the method reads Sinks, Chunk or Seed of the
	// config.
	BySinks, ByChunk, BySeed bool

	// Score returns scores [query head][prefix position]; the largest are kept. Heads
	// with the same scores may share a list, which is then searched once.
	Score func(l *Layer, c Config) ([][]float64, error)
	// LayerStat computes the statistic of a layer that ShareLayers uses. It is nil if
	// ShareLayers uses only the number of layers.
	LayerStat func(l *Layer, c Config) float64
	// ShareLayers returns the budget per head of every layer, from the statistics of
	// all layers. No layer of a prompt can keep more than prefix positions, so that what
	// exceeds them goes to other layers. It is nil if all layers get the same budget.
	ShareLayers func(stats []float64, prefix int, c Config) []int
	// ShareHeads distributes the total of one layer over its heads, from the scores
	// [head or kv head][prefix position]. It is nil if all heads get the same budget.
	ShareHeads func(scores [][]float64, total int, layer int, c Config) ([]int, error)
}

// Check returns an error if the config fails [Config.Check] or if the layer lacks what
// the method needs. The error names the capture option that records it.
func (m *Method) Check(l *Layer, c Config) error {
	switch {
	case (m.Needs.Rows || m.Needs.Queries) && l.N < c.Window:
		return fmt.Errorf("%s: window %d, but %d prompt rows were recorded: capture with --window-rows %d",
			m.Name, c.Window, l.N, c.Window)
	case m.Needs.Sums && l.Sums == nil:
		return fmt.Errorf("%s needs sums over all prompt queries, which the dump lacks: capture without --no-prompt-sums",
			m.Name)
	case m.Needs.Keys && l.Keys == nil:
		return fmt.Errorf("%s needs keys: capture with --store factors", m.Name)
	case m.Needs.Queries && l.Queries == nil:
		return fmt.Errorf("%s needs queries: capture with --store factors", m.Name)
	case m.Needs.AllQueries && l.N < l.Len:
		return fmt.Errorf("%s needs the queries of the whole prompt, of which the last %d were recorded: "+
			"capture with --store factors --window-rows %d", m.Name, l.N, l.Len)
	case m.Needs.Values && l.Values == nil:
		return fmt.Errorf("%s needs values: capture with --values", m.Name)
	case m.Needs.Generated && l.Generated == nil:
		return fmt.Errorf("%s needs the reply's rows", m.Name)
	}
	if err := m.CheckModel(l.Latent, c); err != nil {
		return err
	}
	return c.Check()
}

// CheckModel returns an error if no layer of a model can be compressed by the method,
// whatever the prompt. latent is [Layer.Latent] of its layers.
func (m *Method) CheckModel(latent bool, c Config) error {
	switch {
	case m.ShareHeads != nil && latent:
		return fmt.Errorf("%s distributes a budget over the heads of a layer, but with multi-head latent attention "+
			"all heads read one cache entry: there is one selection for all", m.Name)
	case m.ByHeadScores && c.HeadScores == nil:
		return fmt.Errorf("%s needs a score for each head of each layer (--head-scores)", m.Name)
	}
	return nil
}

// ScopeWith returns which heads must be in a [Layer] together for a group: the scope
// of the method, but at least the query heads of a kv head if the group merges them,
// and the whole layer if the method reads keys, queries or values, which a Layer holds
// for all heads.
//
// joint is [Layer.Joint]: the query heads of a kv head then have one selection.
func (m *Method) ScopeWith(g Group, joint bool) Scope {
	g = g.For(joint)
	switch {
	case m.Needs.States():
		return ScopeLayer
	case g.Merges():
		return max(m.Scope, ScopeGroup)
	}
	return m.Scope
}

// KeepsAll reports whether the method keeps the whole prefix of a prompt of length
// tokens, because it ignores the capacity or because the prompt passes through.
func (m *Method) KeepsAll(c Config, length int) bool {
	return m.IgnoresCapacity || c.Passthrough(length)
}

// ranksAlike reports whether the method gives the same scores under two configs: they
// pass [Config.RanksLike], and the scores do not depend on the capacity.
func (m *Method) ranksAlike(a, b Config) bool { return !m.ByCapacity && a.RanksLike(b) }

// scoresAlike reports whether the method gives the same scores under two configs before
// the group merges them.
func (m *Method) scoresAlike(a, b Config) bool {
	if !m.ByGroup {
		a.Group = b.Group
	}
	return m.ranksAlike(a, b)
}

// LayerBudgets returns the budget of every cache for a prompt of length tokens, in prefix
// positions per head. stats [cache] holds the results of LayerStat; it is ignored if the
// method has no LayerStat. A model has one cache per layer, unless layers share caches or
// have no attention. A prompt that passes through does not limit the budgets.
func (m *Method) LayerBudgets(stats []float64, length int, c Config) []int {
	if m.ShareLayers != nil {
		prefix := math.MaxInt32
		if !c.Passthrough(length) {
			prefix = length - c.Window
		}
		return m.ShareLayers(stats, prefix, c)
	}
	budgets := make([]int, len(stats))
	for i := range budgets {
		budgets[i] = c.Budget()
	}
	return budgets
}

// Select selects on one layer, with a budget in positions per head; ShareHeads may
// distribute the total of the layer differently. It returns the prefix positions to
// keep, ascending, by query head, or by kv head if the group merges heads or the layer is
// joint ([Layer.Joint]). The window
// is also kept but is not in the lists.
func (m *Method) Select(l *Layer, c Config, budget int) ([][]int32, error) {
	return NewRanking(m, l).Select(c, budget)
}

// Rank returns the scores by which Cut selects, [head or kv head][prefix position]. It
// returns an error if Check fails or if a score is NaN.
func (m *Method) Rank(l *Layer, c Config) ([][]float64, error) {
	scores, err := m.scores(l, c)
	if err != nil {
		return nil, err
	}
	return m.merged(scores, l, c)
}

// scores returns the scores of the query heads, [query head][prefix position]. It returns
// an error if Check fails.
func (m *Method) scores(l *Layer, c Config) ([][]float64, error) {
	if err := m.Check(l, c); err != nil {
		return nil, err
	}
	return m.Score(l, l.config(c))
}

// merged merges the scores of the query heads as the group says, without changing them.
// It returns an error if a score is NaN.
func (m *Method) merged(scores [][]float64, l *Layer, c Config) ([][]float64, error) {
	scores = l.config(c).Group.merge(scores, l.KVHeads)
	for h := range scores {
		for j, v := range scores[h] {
			if v != v {
				return nil, fmt.Errorf("%s: the score of head %d, position %d is not a number", m.Name, h, j)
			}
		}
	}
	return scores, nil
}

// Cut selects from the scores of Rank: the largest of each head, up to its budget. For
// a prompt that passes through, scores may be nil.
func (m *Method) Cut(scores [][]float64, l *Layer, c Config, budget int) ([][]int32, error) {
	if m.KeepsAll(c, l.Len) {
		return everything(l, c), nil
	}
	return m.cutFrom(nil, scores, l, c, budget)
}

// cutFrom is Cut for a prompt that does not pass through. kept holds a selection from
// the same scores, or is nil; a list that is not longer is searched among its positions.
func (m *Method) cutFrom(kept [][]int32, scores [][]float64, l *Layer, c Config, budget int) ([][]int32, error) {
	budgets, err := m.headBudgets(scores, l, c, budget)
	if err != nil {
		return nil, err
	}
	keep := make([][]int32, len(scores))
	for h, k := range budgets {
		switch {
		case h > 0 && k == budgets[h-1] && sameList(scores[h], scores[h-1]):
			keep[h] = keep[h-1]
		case kept != nil && k <= len(kept[h]):
			keep[h] = topk.SelectAmong(scores[h], kept[h], k)
		default:
			keep[h] = TopK(scores[h], k)
		}
	}
	return keep, nil
}

// sameList reports whether two lists of scores share their memory.
func sameList(a, b []float64) bool { return len(a) == len(b) && len(a) > 0 && &a[0] == &b[0] }

// headBudgets distributes the budget of a layer over the lists of scores.
func (m *Method) headBudgets(scores [][]float64, l *Layer, c Config, budget int) ([]int, error) {
	if m.ShareHeads != nil {
		return m.ShareHeads(scores, budget*len(scores), l.Index, c)
	}
	budgets := make([]int, len(scores))
	for h := range budgets {
		budgets[h] = min(budget, len(scores[h]))
	}
	return budgets, nil
}

// everything returns the whole prefix for each query head, or for each kv head if the
// group merges heads.
func everything(l *Layer, c Config) [][]int32 {
	all := make([]int32, max(0, l.Len-c.Window))
	for j := range all {
		all[j] = int32(j)
	}
	keep := make([][]int32, l.config(c).Group.selections(l.Heads, l.KVHeads))
	for h := range keep {
		keep[h] = all
	}
	return keep
}

// ByQueryHead expands a selection by kv head, or by query head, to one list per query
// head. Lists are shared, not copied.
func ByQueryHead(keep [][]int32, heads int) [][]int32 {
	lists := make([][]int32, heads)
	for h := range lists {
		lists[h] = keep[h*len(keep)/heads]
	}
	return lists
}
