package cpu

import (
	"runtime"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// KV holds the keys and values of one layer: one store for each kv head, or,
// when compressed by query head, one for each query head. Keys lie in panels
// of 32 slots, [dim][32], ready for q·Kᵀ; values in panels of 32 channels,
// [slot][32], ready for weights·V.
type KV struct {
	keyDim, valueDim int
	heads            []store
	seen             int // positions appended in all, also those dropped since
}

type store struct {
	n      int       // slots
	room   int       // slots that fit, a multiple of 32
	keys   []float32 // [room/32][keyDim][32]
	values []float32 // [valuePanels][room][32]
	slabs  [2]*slab  // what keys and values lie in
	pos    []int32   // position of each slot, ascending; nil: that of its number
}

// slotFrom is the first slot whose position is at least p.
func (s *store) slotFrom(p int) int {
	if s.pos == nil {
		return min(p, s.n)
	}
	at, _ := slices.BinarySearch(s.pos[:s.n], int32(p))
	return at
}

// NewKV makes an empty store for kvHeads heads.
func NewKV(kvHeads, keyDim, valueDim int) *KV {
	return &KV{keyDim: keyDim, valueDim: valueDim, heads: make([]store, kvHeads)}
}

func (kv *KV) valuePanels() int { return (kv.valueDim + simd.Width - 1) / simd.Width }

// Len is the number of positions appended and not truncated: where the next
// token stands. It is more than the slots of a compressed store.
func (kv *KV) Len() int { return kv.seen }

// Slots is the number of keys head h holds.
func (kv *KV) Slots(h int) int { return kv.heads[h].n }

// Stores is the number of stores: kv heads, or query heads after compression
// by query head.
func (kv *KV) Stores() int { return len(kv.heads) }

// Bytes is the memory of the keys and values held.
func (kv *KV) Bytes() int {
	n := 0
	for i := range kv.heads {
		n += 4 * kv.heads[i].n * (kv.keyDim + kv.valueDim)
	}
	return n
}

// grow makes room for n slots, and for some more so that growing is rare.
func (kv *KV) grow(s *store, n int) {
	if n > s.room {
		kv.resize(s, max(n, s.room+s.room/2))
	}
}

func (kv *KV) resize(s *store, n int) {
	room := (n + simd.Width - 1) / simd.Width * simd.Width
	slabs := [2]*slab{newSlab(4 * room * kv.keyDim), newSlab(4 * kv.valuePanels() * room * simd.Width)}
	keys, values := of[float32](slabs[0]), of[float32](slabs[1])
	copy(keys, s.keys)
	for p := range kv.valuePanels() {
		copy(values[p*room*simd.Width:], s.values[p*s.room*simd.Width:(p*s.room+s.n)*simd.Width])
	}
	old := s.slabs
	s.keys, s.values, s.room, s.slabs = keys, values, room, slabs
	old[0].free()
	old[1].free()
}

// Free gives the memory back before the collector finds out; nothing is held
// any longer.
func (kv *KV) Free() {
	for i := range kv.heads {
		s := &kv.heads[i]
		s.slabs[0].free()
		s.slabs[1].free()
		*s = store{}
	}
}

// Reserve makes room until n positions have been appended in all, and no more
// than that.
func (kv *KV) Reserve(n int) {
	for i := range kv.heads {
		s := &kv.heads[i]
		if slots := s.n + n - kv.seen; slots > s.room {
			kv.resize(s, slots)
		}
	}
}

// Append adds n positions: k [n, kvHeads*keyDim] after the rotation, v
// [n, kvHeads*valueDim]. A store by query heads takes each kv head's rows for
// all heads of its group.
func (kv *KV) Append(k, v []float32, n int) { kv.AppendOn(nil, k, v, n) }

// appendBlock is how many positions a task of AppendOn copies.
const appendBlock = 64

// AppendOn is Append, shared out over the threads of a pool.
func (kv *KV) AppendOn(p *Pool, k, v []float32, n int) {
	kd, vd := len(k)/n, len(v)/n
	group := len(kv.heads) * kv.keyDim / kd
	for h := range kv.heads {
		s := &kv.heads[h]
		kv.grow(s, s.n+n)
		for i := 0; i < n && s.pos != nil; i++ {
			s.pos = append(s.pos[:s.n+i], int32(kv.seen+i))
		}
	}
	defer runtime.KeepAlive(kv)
	blocks := (n + appendBlock - 1) / appendBlock
	some := func(task, _ int) {
		h, lo := task%len(kv.heads), task/len(kv.heads)*appendBlock
		s, src := &kv.heads[h], h/group
		for i := lo; i < min(n, lo+appendBlock); i++ {
			kv.put(s, s.n+i, k[i*kd+src*kv.keyDim:][:kv.keyDim], v[i*vd+src*kv.valueDim:][:kv.valueDim])
		}
	}
	if p == nil || n < appendBlock {
		for task := range blocks * len(kv.heads) {
			some(task, 0)
		}
	} else {
		p.Run(blocks*len(kv.heads), some)
	}
	for h := range kv.heads {
		kv.heads[h].n += n
	}
	kv.seen += n
}

func (kv *KV) put(s *store, slot int, key, value []float32) {
	panel := s.keys[slot/simd.Width*kv.keyDim*simd.Width+slot%simd.Width:]
	for d, x := range key {
		panel[d*simd.Width] = x
	}
	for p := range kv.valuePanels() {
		copy(s.values[(p*s.room+slot)*simd.Width:][:simd.Width], value[p*simd.Width:min(len(value), (p+1)*simd.Width)])
	}
}

// Key copies the key in a slot of head h into dst.
func (kv *KV) Key(h, slot int, dst []float32) {
	defer runtime.KeepAlive(kv)
	panel := kv.heads[h].keys[slot/simd.Width*kv.keyDim*simd.Width+slot%simd.Width:]
	for d := range kv.keyDim {
		dst[d] = panel[d*simd.Width]
	}
}

// Value copies the value in a slot of head h into dst.
func (kv *KV) Value(h, slot int, dst []float32) {
	defer runtime.KeepAlive(kv)
	s := &kv.heads[h]
	for d := 0; d < kv.valueDim; d += simd.Width {
		n := min(simd.Width, kv.valueDim-d)
		copy(dst[d:d+n], s.values[(d/simd.Width*s.room+slot)*simd.Width:])
	}
}

// Keys returns the keys of n slots from slot0, [n, stores*keyDim].
func (kv *KV) Keys(slot0, n int) []float32 {
	out := make([]float32, n*len(kv.heads)*kv.keyDim)
	for i := range n {
		for h := range kv.heads {
			kv.Key(h, slot0+i, out[(i*len(kv.heads)+h)*kv.keyDim:][:kv.keyDim])
		}
	}
	return out
}

// Values returns the values of n slots from slot0, [n, stores*valueDim].
func (kv *KV) Values(slot0, n int) []float32 {
	out := make([]float32, n*len(kv.heads)*kv.valueDim)
	for i := range n {
		for h := range kv.heads {
			kv.Value(h, slot0+i, out[(i*len(kv.heads)+h)*kv.valueDim:][:kv.valueDim])
		}
	}
	return out
}

// Truncate drops all positions from n on. A compressed store can be cut down to
// what it held when it was compressed, not further.
func (kv *KV) Truncate(n int) {
	if n >= kv.seen {
		return
	}
	for i := range kv.heads {
		s := &kv.heads[i]
		s.n -= kv.seen - n
	}
	kv.seen = n
}

// Clone copies the store.
func (kv *KV) Clone() *KV {
	all := make([]int32, kv.maxSlots())
	for i := range all {
		all[i] = int32(i)
	}
	keep := make([][]int32, len(kv.heads))
	for h := range keep {
		keep[h] = all[:kv.heads[h].n]
	}
	return kv.Compress(keep)
}

func (kv *KV) maxSlots() int {
	n := 0
	for i := range kv.heads {
		n = max(n, kv.heads[i].n)
	}
	return n
}

// Compress returns a store that keeps, for each head, only some slots, in
// ascending order. keep has one list for each of its stores, or one for each
// query head; those of a group then read the same kv head.
func (kv *KV) Compress(keep [][]int32) *KV {
	out := &KV{keyDim: kv.keyDim, valueDim: kv.valueDim, heads: make([]store, len(keep)), seen: kv.seen}
	group := len(keep) / len(kv.heads)
	key, value := make([]float32, kv.keyDim), make([]float32, kv.valueDim)
	for h, slots := range keep {
		s := &out.heads[h]
		out.grow(s, len(slots))
		for i, slot := range slots {
			kv.Key(h/group, int(slot), key)
			kv.Value(h/group, int(slot), value)
			out.put(s, i, key, value)
		}
		s.n = len(slots)
		if from := &kv.heads[h/group]; s.n < kv.seen {
			s.pos = make([]int32, s.n)
			for i, slot := range slots {
				s.pos[i] = slot
				if from.pos != nil {
					s.pos[i] = from.pos[slot]
				}
			}
		}
	}
	return out
}
