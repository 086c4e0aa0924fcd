//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"
)

const topkThreads = 512

// snapVote sums, for each head, the last window of n recorded rows, float32
// rows[(h*ldHead + i)*ld + j], over the prefix: vote float64 [heads, prefix].
func (l launcher) snapVote(vote, rows cu.DevicePtr, ldHead, ld, n, window, prefix, heads int) error {
	return l.launch("snap_vote", grid(ceilDiv(prefix, rowThreads), heads, 1, rowThreads),
		vote, rows, uint64(ldHead), ld, n, window, prefix, heads)
}

// snapPool pools votes [heads, prefix] over an odd number of neighbours, as
// snapkv.Pool does: avgpool divides by kernel at the borders too, maxpool does
// not see past them. dst must not be vote.
func (l launcher) snapPool(dst, vote cu.DevicePtr, kernel int, pooling string, prefix, heads int) error {
	code := map[string]int{"avgpool": 0, "maxpool": 1}
	how, ok := code[pooling]
	if !ok || kernel < 1 || kernel%2 == 0 {
		return fmt.Errorf("pooling %q with kernel %d: want avgpool or maxpool, an odd kernel", pooling, kernel)
	}
	return l.launch("snap_pool", grid(ceilDiv(prefix, rowThreads), heads, 1, rowThreads), dst, vote, kernel, how, prefix, heads)
}

// snapMerge reduces the scores [kvHeads*group, prefix] of each group of query
// heads to [kvHeads, prefix]: mean, max or sum.
func (l launcher) snapMerge(dst, score cu.DevicePtr, group int, how string, prefix, kvHeads int) error {
	code, ok := map[string]int{"mean": 0, "max": 1, "sum": 2}[how]
	if !ok {
		return fmt.Errorf("group %q: want mean, max or sum", how)
	}
	return l.launch("snap_merge", grid(ceilDiv(prefix, rowThreads), kvHeads, 1, rowThreads), dst, score, group, code, prefix, kvHeads)
}

// snapTopK writes, for each head of score [heads, prefix], the k positions of
// the largest scores, ascending, of equal ones the lower, then the tail
// positions prefix.. that are always kept: keep int32 [heads, ld], ld >= k+tail.
func (l launcher) snapTopK(keep cu.DevicePtr, ld int, score cu.DevicePtr, prefix, k, tail, heads int) error {
	return l.launch("snap_topk", dims{x: heads, threads: topkThreads}, keep, ld, score, prefix, min(k, prefix), tail, heads)
}

// gather describes the copying of kept slots into another cache: store s takes
// slots keep[s*LdKeep + i], i < Counts[s] (or Count), of store s/(Stores/SrcStores)
// of the source.
type gather struct {
	Dst, Src          cu.DevicePtr // [Stores, DstRoom, Dim], [SrcStores, SrcRoom, Dim]; of gatherPos int32, without Dim
	DstRoom, SrcRoom  int
	Keep              cu.DevicePtr // int32
	LdKeep            int
	Counts            cu.DevicePtr // int32 [Stores], or 0: Count of each
	Count             int          // the largest of Counts, or the count
	Stores, SrcStores int
	RowBytes          int // of a slot, a multiple of 2; not of gatherPos
}

// gatherSlots copies keys or values.
func (l launcher) gatherSlots(a gather) error {
	return l.launch("gather_slots", grid(ceilDiv(a.Count, 8), a.Stores, 1, rowThreads), // a warp a slot
		a.Dst, a.Src, a.Keep, a.Counts, a.DstRoom, a.SrcRoom, a.LdKeep, a.Count, a.Stores, a.SrcStores, a.RowBytes)
}

// gatherPos copies positions; Src 0 means that a slot's position is its number.
func (l launcher) gatherPos(a gather) error {
	return l.launch("gather_pos", grid(ceilDiv(a.Count, rowThreads), a.Stores, 1, rowThreads),
		a.Dst, a.Src, a.Keep, a.Counts, a.DstRoom, a.SrcRoom, a.LdKeep, a.Count, a.Stores, a.SrcStores)
}
