//go:build cuda

package cuda

import (
	"fmt"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/snapkv"
)

const topkThreads = 512

// voting describes the sums, per head, of the last Window of N recorded rows over the
// first Prefix keys. Row i of head h is Rows[(h*LdHead+i)*Ld:], float32.
type voting struct {
	Rows       cu.DevicePtr
	LdHead, Ld int
	N, Window  int
	Prefix     int
	Heads      int
}

// snapVote writes votes float64 [heads, prefix].
func (l launcher) snapVote(vote cu.DevicePtr, v voting) error {
	return l.launch("snap_vote", grid(ceilDiv(v.Prefix, rowThreads), v.Heads, 1, rowThreads),
		vote, v.Rows, uint64(v.LdHead), v.Ld, v.N, v.Window, v.Prefix, v.Heads)
}

// poolingCodes maps poolings to the numbers that the kernel uses.
var poolingCodes = map[snapkv.Pooling]int{snapkv.AvgPool: 0, snapkv.MaxPool: 1}

// snapPool pools votes [heads, prefix] over an odd number of neighboring positions, as
// snapkv.Pool does: avgpool divides by kernel at the borders too, maxpool ignores
// positions beyond them. dst must not be vote.
func (l launcher) snapPool(dst, vote cu.DevicePtr, kernel int, pooling snapkv.Pooling, prefix, heads int) error {
	code, ok := poolingCodes[pooling]
	if !ok || kernel < 1 || kernel%2 == 0 {
		return fmt.Errorf("pooling %q with kernel %d: want avgpool or maxpool, an odd kernel", string(pooling), kernel)
	}
	return l.launch("snap_pool", grid(ceilDiv(prefix, rowThreads), heads, 1, rowThreads), dst, vote, kernel, code, prefix, heads)
}

// groupCodes maps groups to the numbers that the kernel uses.
var groupCodes = map[snapkv.Group]int{snapkv.GroupMean: 0, snapkv.GroupMax: 1, snapkv.GroupSum: 2}

// snapMerge merges the scores [kvHeads*group, prefix] of each group of query heads to
// [kvHeads, prefix], by their mean, maximum or sum.
func (l launcher) snapMerge(dst, score cu.DevicePtr, group int, how snapkv.Group, prefix, kvHeads int) error {
	code, ok := groupCodes[how]
	if !ok {
		return fmt.Errorf("group %q: want mean, max or sum", string(how))
	}
	return l.launch("snap_merge", grid(ceilDiv(prefix, rowThreads), kvHeads, 1, rowThreads), dst, score, group, code, prefix, kvHeads)
}

// snapTopK writes to keep, int32 [heads, ld], for each head of score [heads, prefix]
// the k positions with the largest scores in ascending order, then the positions prefix
// to prefix+tail-1, which are always kept. Among equal scores, the lower position is
// chosen. ld is at least k+tail.
func (l launcher) snapTopK(keep cu.DevicePtr, ld int, score cu.DevicePtr, prefix, k, tail, heads int) error {
	return l.launch("snap_topk", dims{x: heads, threads: topkThreads}, keep, ld, score, prefix, min(k, prefix), tail, heads)
}

// gather describes the copying of kept slots into another cache. Store s receives slots
// Keep[s*LdKeep+i], for i below Counts[s] (or Count), of store s/(Stores/SrcStores) of
// the source.
type gather struct {
	Dst, Src          cu.DevicePtr // [Stores, DstRoom, Dim], [SrcStores, SrcRoom, Dim]; gatherPos: int32, without Dim
	DstRoom, SrcRoom  int
	Keep              cu.DevicePtr // int32
	LdKeep            int
	Counts            cu.DevicePtr // int32 [Stores], or 0: Count slots in every store
	Count             int          // the largest of Counts, or the count
	Stores, SrcStores int
	RowBytes          int // of a slot, a multiple of 2; gatherPos ignores it
}

// gatherSlots copies keys or values.
func (l launcher) gatherSlots(a gather) error {
	return l.launch("gather_slots", grid(ceilDiv(a.Count, 8), a.Stores, 1, rowThreads), // one warp per slot
		a.Dst, a.Src, a.Keep, a.Counts, a.DstRoom, a.SrcRoom, a.LdKeep, a.Count, a.Stores, a.SrcStores, a.RowBytes)
}

// gatherPos copies positions. If Src is 0, the position of a slot is its number.
func (l launcher) gatherPos(a gather) error {
	return l.launch("gather_pos", grid(ceilDiv(a.Count, rowThreads), a.Stores, 1, rowThreads),
		a.Dst, a.Src, a.Keep, a.Counts, a.DstRoom, a.SrcRoom, a.LdKeep, a.Count, a.Stores, a.SrcStores)
}
