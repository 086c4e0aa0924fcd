package cpu

import (
	"runtime"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
)

// KV holds the keys and values of one layer, one store per kv head or, if it is
// compressed by query head, one per query head. Keys are in panels of 32 slots,
// [dim][32], the layout of q·Kᵀ; values are in panels of 32 channels, [slot][32], the
// layout of weights·V.
type KV struct {
	keyDim, valueDim int
	latent           bool // values are the first channels of the keys, and not stored again
	heads            []store
	seen             int // positions appended, including those dropped by Compress
}

// store holds the keys and values of one head.
type store struct {
	n      int       // slots in use
	room   int       // slots that fit, a multiple of 32
	keys   []float32 // [room/32][keyDim][32]
	values []float32 // [valuePanels][room][32]; nil in a store of latents
	slabs  [2]*slab  // the memory of keys and values
	pos    []int32   // position of each slot, ascending; nil: slot i holds position i

	quantized *quantized // nil: the store is not quantized
}

// slotFrom returns the first slot whose position is at least p.
func (s *store) slotFrom(p int) int {
	if s.pos == nil {
		return min(p, s.n)
	}
	at, _ := slices.BinarySearch(s.pos[:s.n], int32(p))
	return at
}

// NewKV returns an empty store for kvHeads heads.
func NewKV(kvHeads, keyDim, valueDim int) *KV {
	return &KV{keyDim: keyDim, valueDim: valueDim, heads: make([]store, kvHeads)}
}

// NewLatentKV returns an empty store with one entry per position for all query heads: a
// key, whose first valueDim channels are also the value.
func NewLatentKV(keyDim, valueDim int) *KV {
	return &KV{keyDim: keyDim, valueDim: valueDim, latent: true, heads: make([]store, 1)}
}

// sameKind returns an empty store of the same sizes, for a number of heads.
func (kv *KV) sameKind(heads, seen int) *KV {
	return &KV{keyDim: kv.keyDim, valueDim: kv.valueDim, latent: kv.latent, heads: make([]store, heads), seen: seen}
}

// entryDim is the number of elements that are kept per slot.
func (kv *KV) entryDim() int {
	if kv.latent {
		return kv.keyDim
	}
	return kv.keyDim + kv.valueDim
}

func (kv *KV) valuePanels() int { return simd.Panels(kv.valueDim) }

// Len returns the number of positions appended and not truncated, which is the position
// of the next token. A compressed store has fewer slots.
func (kv *KV) Len() int { return kv.seen }

// Bytes returns the memory of the keys and values in use; of quantized ones, the size
// that CacheFormat.Bytes defines.
func (kv *KV) Bytes() int {
	n := 0
	for i := range kv.heads {
		s := &kv.heads[i]
		if s.quantized != nil {
			n += s.quantized.format.Bytes(s.n, kv.keyDim, kv.valueDim)
			continue
		}
		n += 4 * s.n * kv.entryDim()
	}
	return n
}

// grow makes room for n slots and some spare ones, so that growing is rare.
func (kv *KV) grow(s *store, n int) {
	if n > s.room {
		kv.resize(s, max(n, s.room+s.room/2))
	}
}

// resize moves a store to memory for n slots.
func (kv *KV) resize(s *store, n int) {
	room := simd.Panels(n) * simd.Width
	slabs := [2]*slab{newSlab(4 * room * kv.keyDim)}
	keys := slabOf[float32](slabs[0])
	copy(keys, s.keys)
	var values []float32
	if !kv.latent {
		slabs[1] = newSlab(4 * kv.valuePanels() * room * simd.Width)
		values = slabOf[float32](slabs[1])
		for p := range kv.valuePanels() {
			copy(values[p*room*simd.Width:], s.values[p*s.room*simd.Width:(p*s.room+s.n)*simd.Width])
		}
	}
	old := s.slabs
	s.keys = keys
	s.values = values
	s.room = room
	s.slabs = slabs
	old[0].free()
	old[1].free()
}

// Free empties the store and returns its memory to the system at once, without
// waiting for the garbage collector.
func (kv *KV) Free() {
	for i := range kv.heads {
		s := &kv.heads[i]
		s.slabs[0].free()
		s.slabs[1].free()
		*s = store{}
	}
}

// Reserve makes room for exactly as many slots as the store will have once Len is n.
func (kv *KV) Reserve(n int) {
	for i := range kv.heads {
		s := &kv.heads[i]
		if slots := s.n + n - kv.seen; slots > s.room {
			kv.resize(s, slots)
		}
	}
}

// appendBlock is the number of positions that one task of Append copies.
const appendBlock = 64

// Append adds n positions: keys k [n, kvHeads*keyDim] after the rotation, and values v
// [n, kvHeads*valueDim], which a store of latents does not need. A store compressed by
// query head copies each kv head's rows to all heads of its group. The threads of p share
// the work; a nil p means the caller's thread.
func (kv *KV) Append(p *Pool, k, v []float32, n int) {
	keyStride := len(k) / n
	valueStride := len(v) / n
	group := len(kv.heads) * kv.keyDim / keyStride
	for h := range kv.heads {
		s := &kv.heads[h]
		if s.quantized != nil {
			kv.settle(s)
		}
		kv.grow(s, s.n+n)
		for i := 0; i < n && s.pos != nil; i++ {
			s.pos = append(s.pos[:s.n+i], int32(kv.seen+i))
		}
	}
	defer runtime.KeepAlive(kv)
	blocks := (n + appendBlock - 1) / appendBlock
	appendOne := func(task, _ int) {
		h := task % len(kv.heads)
		lo := task / len(kv.heads) * appendBlock
		s := &kv.heads[h]
		for i := lo; i < min(n, lo+appendBlock); i++ {
			key := k[i*keyStride+h/group*kv.keyDim:][:kv.keyDim]
			var value []float32
			if !kv.latent {
				value = v[i*valueStride+h/group*kv.valueDim:][:kv.valueDim]
			}
			kv.put(s, s.n+i, key, value)
		}
	}
	if p == nil || n < appendBlock {
		for task := range blocks * len(kv.heads) {
			appendOne(task, 0)
		}
	} else {
		p.Run(blocks*len(kv.heads), appendOne)
	}
	for h := range kv.heads {
		kv.heads[h].n += n
	}
	kv.seen += n
}

// put writes a key and a value into a slot.
func (kv *KV) put(s *store, slot int, key, value []float32) {
	panel := s.keys[slot/simd.Width*kv.keyDim*simd.Width+slot%simd.Width:]
	for d, x := range key {
		panel[d*simd.Width] = x
	}
	if kv.latent {
		return
	}
	kv.writeValue(s, slot, value)
}

// writeValue writes a value into a slot of a store that is not one of latents.
func (kv *KV) writeValue(s *store, slot int, value []float32) {
	for p := range kv.valuePanels() {
		copy(s.values[(p*s.room+slot)*simd.Width:][:simd.Width], value[p*simd.Width:min(len(value), (p+1)*simd.Width)])
	}
}

// readValue copies the value in a slot of a store that is not one of latents into dst.
func (kv *KV) readValue(s *store, slot int, dst []float32) {
	for d := 0; d < kv.valueDim; d += simd.Width {
		n := min(simd.Width, kv.valueDim-d)
		copy(dst[d:d+n], s.values[(d/simd.Width*s.room+slot)*simd.Width:])
	}
}

// keyAt returns the place of channel d of the key in a slot.
func (kv *KV) keyAt(s *store, slot, d int) *float32 {
	return &s.keys[(slot/simd.Width*kv.keyDim+d)*simd.Width+slot%simd.Width]
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
	if kv.latent {
		panel := s.keys[slot/simd.Width*kv.keyDim*simd.Width+slot%simd.Width:]
		for d := range kv.valueDim {
			dst[d] = panel[d*simd.Width]
		}
		return
	}
	kv.readValue(s, slot, dst)
}

// Keys returns the keys of n slots from slot0 on, [n, stores*keyDim].
func (kv *KV) Keys(slot0, n int) []float32 {
	out := make([]float32, n*len(kv.heads)*kv.keyDim)
	for i := range n {
		for h := range kv.heads {
			kv.Key(h, slot0+i, out[(i*len(kv.heads)+h)*kv.keyDim:][:kv.keyDim])
		}
	}
	return out
}

// Values returns the values of n slots from slot0 on, [n, stores*valueDim].
func (kv *KV) Values(slot0, n int) []float32 {
	out := make([]float32, n*len(kv.heads)*kv.valueDim)
	for i := range n {
		for h := range kv.heads {
			kv.Value(h, slot0+i, out[(i*len(kv.heads)+h)*kv.valueDim:][:kv.valueDim])
		}
	}
	return out
}

// Stores returns the number of stores: one per kv head or, if compressed by query head,
// one per query head.
func (kv *KV) Stores() int { return len(kv.heads) }

// Slots returns the number of slots of store h.
func (kv *KV) Slots(h int) int { return kv.heads[h].n }

// Positions returns the position of each slot of store h.
func (kv *KV) Positions(h int) []int32 {
	s := &kv.heads[h]
	list := make([]int32, s.n)
	for i := range list {
		list[i] = int32(i)
	}
	if s.pos != nil {
		copy(list, s.pos)
	}
	return list
}

// KeysOf returns the keys of store h, [slots, keyDim].
func (kv *KV) KeysOf(h int) []float32 {
	out := make([]float32, kv.heads[h].n*kv.keyDim)
	for slot := range kv.heads[h].n {
		kv.Key(h, slot, out[slot*kv.keyDim:][:kv.keyDim])
	}
	return out
}

// ValuesOf returns the values of store h, [slots, valueDim].
func (kv *KV) ValuesOf(h int) []float32 {
	out := make([]float32, kv.heads[h].n*kv.valueDim)
	for slot := range kv.heads[h].n {
		kv.Value(h, slot, out[slot*kv.valueDim:][:kv.valueDim])
	}
	return out
}

// Truncate drops all positions from n on. A compressed store cannot be truncated
// below its length at the time of Compress, and a quantized one only to its length at the
// last call of Mark.
func (kv *KV) Truncate(n int) {
	if n >= kv.seen {
		return
	}
	for i := range kv.heads {
		s := &kv.heads[i]
		s.n -= kv.seen - n
		if s.quantized != nil {
			kv.reset(s)
		}
	}
	kv.seen = n
}

// maxSlots returns the number of slots of the longest store.
func (kv *KV) maxSlots() int {
	n := 0
	for i := range kv.heads {
		n = max(n, kv.heads[i].n)
	}
	return n
}

// Copy returns a copy of the first n positions with room for room positions. The store
// must be neither compressed nor quantized.
func (kv *KV) Copy(n, room int) *KV {
	out := kv.sameKind(len(kv.heads), n)
	for i := range out.heads {
		s := &out.heads[i]
		*s = kv.heads[i]
		s.n = n
		s.slabs = [2]*slab{} // the original keeps its memory
		out.resize(s, max(n, room))
	}
	return out
}

// Compress returns a copy with only some slots of each head, in ascending order. keep
// has one list per store or one list per query head. With one list per query head, the
// query heads of a group copy from the same kv head.
func (kv *KV) Compress(keep [][]int32) *KV {
	out := kv.sameKind(len(keep), kv.seen)
	group := len(keep) / len(kv.heads)
	key := make([]float32, kv.keyDim)
	value := make([]float32, kv.valueDim)
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
