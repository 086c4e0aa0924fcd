package snapkv

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/attnscope/attnscope/internal/parallel"
)

// Entry is one selection of a sweep: a method under a config.
type Entry struct {
	Method *Method
	Config Config
}

// sharesRanking reports whether e and o select from the same scores.
func (e Entry) sharesRanking(o Entry) bool {
	return e.Method == o.Method && e.Method.ranksAlike(e.Config, o.Config)
}

// sharesScores reports whether the scores of e and o are the same before their groups
// merge them.
func (e Entry) sharesScores(o Entry) bool {
	return e.Method == o.Method && e.Method.scoresAlike(e.Config, o.Config)
}

// Entries pairs every method with every config, in the order of the methods, and
// returns the error of the first config that fails [Config.Check].
func Entries(methods []Method, configs []Config) ([]Entry, error) {
	for _, c := range configs {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	list := make([]Entry, 0, len(methods)*len(configs))
	for i := range methods {
		for _, c := range configs {
			list = append(list, Entry{&methods[i], c})
		}
	}
	return list, nil
}

// Source provides the layers of one prompt for a sweep.
type Source struct {
	Len      int   // positions of the prompt
	Layers   int   // layers of the model
	Caches   []int // ids of the layers that have a cache of their own, ascending; nil: all
	Recorded []int // ids of the caches that Read can read, ascending
	// Read reads a layer, or all layers that read the cache of the layer, joined. It must
	// fill the recorded parts that needs names, and may fill more.
	Read func(ctx context.Context, layer int, needs Needs) (*Layer, error)
}

// Sweep selects by several methods and configs on the layers of one prompt. Scores are
// computed once for all entries that differ only in the capacity and the group, unless the
// method's scores depend on them.
//
//	sweep, err := snapkv.NewSweep(ctx, source, entries)
//	for _, layer := range source.Recorded {
//		l, err := source.Read(ctx, layer, sweep.Needs())
//		sweep.Select(l, nil, func(entry int, keep [][]int32, err error) { ... })
//	}
type Sweep struct {
	entries []Entry
	groups  [][]int // entries that share a ranking
	scores  []int   // [group], the first group whose scores are the same before merging
	budgets [][]int // [entry][layer], positions per head; 0 in layers without a cache
}

// NewSweep computes the budgets of all entries. Only if the budgets of a method depend
// on the layers, it reads each layer of the source once.
func NewSweep(ctx context.Context, src Source, entries []Entry) (*Sweep, error) {
	s := &Sweep{entries: entries, groups: groups(entries)}
	for g, group := range s.groups {
		shares := func(other []int) bool { return entries[other[0]].sharesScores(entries[group[0]]) }
		from := slices.IndexFunc(s.groups[:g], shares)
		if from < 0 {
			from = g
		}
		s.scores = append(s.scores, from)
	}
	var measured []Entry // one of each group whose budgets depend on the layers
	at := make([]int, len(s.groups))
	for g, group := range s.groups {
		at[g] = -1
		for _, i := range group {
			e := entries[i]
			if e.Method.LayerStat != nil && !e.Method.KeepsAll(e.Config, src.Len) {
				at[g] = len(measured)
				measured = append(measured, e)
				break
			}
		}
	}
	stats, err := LayerStats(ctx, src, measured)
	if err != nil {
		return nil, err
	}
	none := make([]float64, src.Layers)
	caches := src.caches()
	s.budgets = make([][]int, len(entries))
	for g, group := range s.groups {
		own := none
		if at[g] >= 0 {
			own = stats[at[g]]
		}
		for _, i := range group {
			s.budgets[i] = src.budgets(&entries[i], own, caches)
		}
	}
	return s, nil
}

// caches returns Caches, or all layers.
func (s *Source) caches() []int {
	if s.Caches != nil {
		return s.Caches
	}
	list := make([]int, s.Layers)
	for l := range list {
		list[l] = l
	}
	return list
}

// budgets returns the budget of every layer, [layer]: the total is shared between the
// caches. stats [layer] holds the results of LayerStat.
func (s *Source) budgets(e *Entry, stats []float64, caches []int) []int {
	own := make([]float64, len(caches))
	for i, l := range caches {
		own[i] = stats[l]
	}
	budgets := make([]int, len(stats))
	for i, budget := range e.Method.LayerBudgets(own, s.Len, e.Config) {
		budgets[caches[i]] = budget
	}
	return budgets
}

// Target returns the number of positions per head, the window included, that an entry keeps
// in a layer when it selects again while a reply is decoded: as many as of a prompt. length
// is that of the prompt. If it passes through, no statistics of the layers were computed, and
// a method whose budgets depend on them gives all layers the same.
func (s *Sweep) Target(entry, layer, length int) int {
	e := s.entries[entry]
	if e.Method.LayerStat != nil && e.Method.KeepsAll(e.Config, length) {
		return e.Config.Capacity
	}
	return s.Budget(entry, layer) + e.Config.Window
}

// Budget returns the number of prefix positions per head that the method keeps in a layer
// of the source, before it distributes the total of the layer over its heads. stats
// [layer] holds the results of LayerStat.
func (s *Source) Budget(e *Entry, stats []float64, layer int) int {
	return s.budgets(e, stats, s.caches())[layer]
}

// LayerStats computes Method.LayerStat of every entry on every recorded layer,
// [entry][layer], and reads each layer once. A statistic is 0 if its layer, or a part
// of the layer that the method needs, was not recorded; selecting on such a layer is
// an error.
func LayerStats(ctx context.Context, src Source, entries []Entry) ([][]float64, error) {
	stats := make([][]float64, len(entries))
	var needs Needs
	measures := false
	for i, e := range entries {
		stats[i] = make([]float64, src.Layers)
		if e.Method.LayerStat != nil {
			measures = true
			needs = needs.Union(e.Method.Needs)
		}
	}
	if !measures {
		return stats, nil
	}
	for _, layer := range src.Recorded {
		l, err := src.Read(ctx, layer, needs)
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			if e.Method.LayerStat != nil && l.Len > e.Config.Window && e.Method.Check(l, e.Config) == nil {
				stats[i][layer] = e.Method.LayerStat(l, e.Config)
			}
		}
	}
	return stats, nil
}

// groups puts entries that share a ranking into one group, those with the largest
// capacity first.
func groups(entries []Entry) [][]int {
	var list [][]int
next:
	for i, e := range entries {
		for g, group := range list {
			if e.sharesRanking(entries[group[0]]) {
				list[g] = append(group, i)
				continue next
			}
		}
		list = append(list, []int{i})
	}
	for _, group := range list {
		slices.SortStableFunc(group, func(a, b int) int {
			return entries[b].Config.Capacity - entries[a].Config.Capacity
		})
	}
	return list
}

// Needs returns the parts that the methods of all entries need.
func (s *Sweep) Needs() Needs {
	var needs Needs
	for _, e := range s.entries {
		needs = needs.Union(e.Method.Needs)
	}
	return needs
}

// Budget returns the number of prefix positions per head that an entry keeps in a
// layer, before the method distributes the total of the layer over its heads.
func (s *Sweep) Budget(entry, layer int) int { return s.budgets[entry][layer] }

// Select selects by every entry on one layer, on all cores, and calls visit with the
// selection of each entry, as [Method.Select] returns it, or with the error. Entries
// for which skip returns true are left out; skip may be nil. visit is called from
// several goroutines at once, with different entries. The selections share memory, so
// visit must not change them.
func (s *Sweep) Select(l *Layer, skip func(entry int) bool, visit func(entry int, keep [][]int32, err error)) {
	scores := make([]func() ([][]float64, error), len(s.groups)) // computed by the first group that needs them
	users := make([]atomic.Int32, len(s.groups))                 // groups that are not done with these scores
	for g, group := range s.groups {
		e := s.entries[group[0]]
		scores[g] = sync.OnceValues(func() ([][]float64, error) { return e.Method.scores(l, e.Config) })
		users[s.scores[g]].Add(1)
	}
	parallel.For(len(s.groups), func(g int) {
		from := s.scores[g]
		s.selectGroup(l, g, scores[from], skip, visit)
		if users[from].Add(-1) == 0 {
			scores[from] = nil // the scores of all groups together may not fit in memory
		}
	})
}

// selectGroup selects by the entries of a group, whose scores the function scores returns.
func (s *Sweep) selectGroup(
	l *Layer, g int, scores func() ([][]float64, error),
	skip func(entry int) bool, visit func(entry int, keep [][]int32, err error),
) {
	var ranking *Ranking
	for _, i := range s.groups[g] {
		if skip != nil && skip(i) {
			continue
		}
		e := s.entries[i]
		if ranking == nil {
			ranking = NewRanking(e.Method, l)
			ranking.shared = scores
		}
		keep, err := ranking.Select(e.Config, s.budgets[i][l.Index])
		visit(i, keep, err)
	}
}

// Ranking selects by one method on one layer for several configs. It keeps the
// scores from one config to the next and ranks again only if they would change. A
// config that keeps less than the one before it is fast, because only the positions
// that the other one kept are searched.
type Ranking struct {
	method *Method
	layer  *Layer
	ranked bool
	config Config // for which scores were computed
	scores [][]float64
	err    error     // of the computation of scores
	kept   [][]int32 // the last selection from scores; nil if there is none
	// shared returns the scores of the query heads if a sweep computes them for several
	// rankings, else it is nil.
	shared func() ([][]float64, error)
}

// NewRanking returns a Ranking of a method on a layer. It computes nothing yet.
func NewRanking(m *Method, l *Layer) *Ranking { return &Ranking{method: m, layer: l} }

// Select is like [Method.Select] for the ranking's method and layer. The lists that it
// returns must not be changed.
func (r *Ranking) Select(c Config, budget int) ([][]int32, error) {
	if r.method.KeepsAll(c, r.layer.Len) {
		return everything(r.layer, c), nil
	}
	if !r.ranked || !r.method.ranksAlike(r.config, c) {
		r.ranked = true
		r.config = c
		r.kept = nil
		r.scores, r.err = r.rank(c)
	}
	if r.err != nil {
		return nil, r.err
	}
	keep, err := r.method.cutFrom(r.kept, r.scores, r.layer, c, budget)
	if err != nil {
		return nil, err
	}
	r.kept = keep
	return keep, nil
}

// rank is [Method.Rank], from the shared scores if there are any.
func (r *Ranking) rank(c Config) ([][]float64, error) {
	if r.shared == nil {
		return r.method.Rank(r.layer, c)
	}
	scores, err := r.shared()
	if err != nil {
		return nil, err
	}
	return r.method.merged(scores, r.layer, c)
}
