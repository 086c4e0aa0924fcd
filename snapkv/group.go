package snapkv

import (
	"slices"

	"github.com/attnscope/attnscope/internal/words"
)

// Group says how the scores of the query heads that share a kv head are merged.
type Group string

// The groups, as the command line and result files spell them.
const (
	GroupHead Group = "head" // no merging: every query head selects for itself
	GroupMean Group = "mean" // one selection per kv head, by the mean of its query heads' scores
	GroupMax  Group = "max"  // the same by their maximum
	GroupSum  Group = "sum"  // the same by their sum
)

// Groups lists the groups in the order in which help shows them.
func Groups() []Group { return []Group{GroupHead, GroupMean, GroupMax, GroupSum} }

// Check returns an error if g is not one of [Groups].
func (g Group) Check() error {
	return words.Check("group", g, Groups())
}

// String returns the name of the group.
func (g Group) String() string { return string(g) }

// Merges reports whether the query heads of a kv head select together.
func (g Group) Merges() bool { return g != GroupHead }

// For returns the group that applies to heads: GroupMean in place of GroupHead if the
// query heads of a kv head have one selection in any case ([Layer.Joint]).
func (g Group) For(joint bool) Group {
	if joint && !g.Merges() {
		return GroupMean
	}
	return g
}

// selections returns the number of selections of a layer: one per kv head if the group
// merges, otherwise one per query head.
func (g Group) selections(heads, kvHeads int) int {
	if g.Merges() {
		return kvHeads
	}
	return heads
}

// merge merges scores [heads][prefix] into [kvHeads][prefix]. If g does not merge, it
// returns the scores unchanged.
func (g Group) merge(scores [][]float64, kvHeads int) [][]float64 {
	if !g.Merges() {
		return scores
	}
	size := len(scores) / kvHeads
	merged := make([][]float64, kvHeads)
	for kv := range merged {
		if kv > 0 && allSame(scores[(kv-1)*size:(kv+1)*size]) {
			merged[kv] = merged[kv-1]
			continue
		}
		sum := slices.Clone(scores[kv*size])
		for _, s := range scores[kv*size+1 : (kv+1)*size] {
			for j, v := range s {
				if g == GroupMax {
					sum[j] = max(sum[j], v)
				} else {
					sum[j] += v
				}
			}
		}
		if g == GroupMean {
			for j := range sum {
				sum[j] /= float64(size)
			}
		}
		merged[kv] = sum
	}
	return merged
}

// allSame reports whether all lists of scores share their memory.
func allSame(scores [][]float64) bool {
	return !slices.ContainsFunc(scores[1:], func(s []float64) bool { return !sameList(s, scores[0]) })
}
