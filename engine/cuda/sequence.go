//go:build cuda

package cuda

import (
	"errors"
	"fmt"

	"gorgonia.org/cu"
)

// sequence is a Sequence: the keys and values of its tokens on the card.
type sequence struct {
	c      *card
	len    int // positions appended, including those that a compression has dropped
	layers []kvLayer
	totals []totals // by layer
}

// kvLayer holds one layer's keys and values, [stores, room, dim] of the compute type. A
// store is a kv head or, after a compression by query head, a query head.
type kvLayer struct {
	k, v        block
	pos, counts block // int32 [stores, room] and [stores]; of a compressed layer
	slots       []int // of a compressed layer: slots in use, by store
	stale       bool  // the counts on the card differ from slots
	stores      int
	room        int
	keys        int // slots in use of the fullest store
}

func (l *kvLayer) compressed() bool { return l.slots != nil }

// NewSequence starts an empty sequence.
func (c *card) NewSequence() Sequence {
	s := &sequence{c: c, layers: make([]kvLayer, c.d.Layers), totals: make([]totals, c.d.Layers)}
	for i := range s.layers {
		s.layers[i].stores = c.d.KVHeads
	}
	return s
}

func (s *sequence) Len() int { return s.len }

func (s *sequence) CacheBytes() int64 {
	n := 0
	for i := range s.layers {
		l := &s.layers[i]
		if !l.compressed() {
			n += l.stores * l.keys
		}
		for _, k := range l.slots {
			n += k
		}
	}
	return int64(n) * int64(s.c.d.HeadDim+s.c.d.ValueDim) * s.c.dt.bytes()
}

func (s *sequence) Close() {
	_ = s.c.t.do(func() error {
		for i := range s.layers {
			l := &s.layers[i]
			for _, b := range []block{l.k, l.v, l.pos, l.counts} {
				s.c.pool.put(b)
			}
			*l = kvLayer{}
			s.dropTotals(i)
		}
		return nil
	})
}

func (s *sequence) Reserve(n int) error {
	return s.c.t.do(func() error { return s.reserve(n) })
}

// reserve makes room for n positions in all.
func (s *sequence) reserve(n int) error {
	for i := range s.layers {
		l := &s.layers[i]
		if need := l.keys + n - s.len; need > l.room {
			if err := s.grow(l, need); err != nil {
				var small *MemoryError
				if errors.As(err, &small) {
					small.What = fmt.Sprintf("the keys and values of %d positions (layer %d of %d)", n, i, len(s.layers))
					small.hint = cacheHint(s.c.dt.String())
				}
				return err
			}
		}
	}
	return nil
}

// grow moves a layer to larger memory. The copies run in the compute stream, so the old
// memory may be handed out again at once.
func (s *sequence) grow(l *kvLayer, need int) error {
	d, size := s.c.d, s.c.dt.bytes()
	room := need
	if l.room > 0 {
		room = max(need, l.keys+max(64, l.keys/4)) // so that decoding past a reservation does not grow it at every token
	}
	// Either all buffers are replaced or none is.
	old := *l
	keep := []*block{&l.k, &l.v}
	rows := []int64{int64(d.HeadDim) * size, int64(d.ValueDim) * size}
	if l.compressed() {
		keep = append(keep, &l.pos)
		rows = append(rows, 4)
	}
	var fresh []block
	for i := range keep {
		b, err := s.c.pool.get(int64(l.stores)*int64(room)*rows[i], "keys and values")
		if err != nil {
			for _, b := range fresh {
				s.c.pool.put(b)
			}
			return err
		}
		fresh = append(fresh, b)
	}
	for i, b := range keep {
		if err := s.copySlots(fresh[i], *b, l.stores, [2]int{room, old.room}, int64(old.keys), rows[i]); err != nil {
			return err
		}
		s.c.pool.put(*b)
		*b = fresh[i]
	}
	l.room = room
	return nil
}

// copySlots copies the first n slots of each store, with row bytes each, to memory with
// another number of slots; rooms are those of the destination and of the source.
func (s *sequence) copySlots(to, from block, stores int, rooms [2]int, n, row int64) error {
	for st := int64(0); n > 0 && st < int64(stores); st++ {
		at := [2]int64{st * int64(rooms[0]) * row, st * int64(rooms[1]) * row}
		if err := cu.MemcpyDtoDAsync(to.off(at[0]), from.off(at[1]), n*row, s.c.t.compute); err != nil {
			return call("cuMemcpyDtoDAsync", err)
		}
	}
	return nil
}

// Copy returns a new sequence of the first n positions.
func (s *sequence) Copy(n, room int) (Sequence, error) {
	out := s.c.NewSequence().(*sequence)
	err := s.c.t.do(func() error {
		if err := out.reserve(max(n, room)); err != nil {
			return err
		}
		size := s.c.dt.bytes()
		for i := range out.layers {
			to, from := &out.layers[i], &s.layers[i]
			if from.compressed() {
				return fmt.Errorf("layer %d: a compressed cache cannot be copied", i)
			}
			rooms := [2]int{to.room, from.room}
			err := inOrder(
				func() error {
					return s.copySlots(to.k, from.k, to.stores, rooms, int64(n), int64(s.c.d.HeadDim)*size)
				},
				func() error {
					return s.copySlots(to.v, from.v, to.stores, rooms, int64(n), int64(s.c.d.ValueDim)*size)
				},
			)
			if err != nil {
				return err
			}
			to.keys = n
		}
		out.len = n
		return nil
	})
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (s *sequence) Truncate(n int) {
	if n >= s.len {
		return
	}
	for i := range s.layers {
		l := &s.layers[i]
		l.keys -= s.len - n
		for st := range l.slots {
			l.slots[st] -= s.len - n
			l.stale = true
		}
	}
	s.len = n
}

// Compress keeps some slots of each layer.
func (s *sequence) Compress(keep [][][]int32) (Sequence, error) {
	out := &sequence{c: s.c, len: s.len, layers: make([]kvLayer, len(s.layers)), totals: make([]totals, len(s.layers))}
	err := s.c.t.do(func() error {
		for i := range s.layers {
			if err := s.compress(&out.layers[i], &s.layers[i], keep[i]); err != nil {
				return fmt.Errorf("layer %d: %w", i, err)
			}
		}
		return nil
	})
	if err != nil {
		out.Close()
		return nil, err
	}
	return out, nil
}

func (s *sequence) compress(to, from *kvLayer, keep [][]int32) (err error) {
	c, d, size := s.c, s.c.d, s.c.dt.bytes()
	to.stores = len(keep)
	to.slots = make([]int, len(keep))
	counts := make([]int32, len(keep))
	for st, list := range keep {
		to.slots[st], counts[st] = len(list), int32(len(list))
		to.keys = max(to.keys, len(list))
	}
	to.room = to.keys + 64 // room for the first tokens that follow
	flat := make([]int32, len(keep)*max(1, to.keys))
	for st, list := range keep {
		copy(flat[st*to.keys:], list)
	}
	list, err := c.pool.get(4*int64(len(flat)), "kept slots")
	if err != nil {
		return err
	}
	defer c.pool.put(list)
	for _, b := range []struct {
		at  *block
		row int64
	}{{&to.k, int64(d.HeadDim) * size}, {&to.v, int64(d.ValueDim) * size}, {&to.pos, 4}} {
		if *b.at, err = c.pool.get(int64(to.stores)*int64(to.room)*b.row, "a compressed cache"); err != nil {
			return err
		}
	}
	if to.counts, err = c.pool.get(4*int64(to.stores), "a compressed cache"); err != nil {
		return err
	}
	if err := c.in.copy(list.at, bytesOf(flat)); err != nil {
		return err
	}
	if err := c.in.copy(to.counts.at, bytesOf(counts)); err != nil {
		return err
	}
	g := gather{
		DstRoom: to.room, SrcRoom: from.room, Keep: list.at, LdKeep: to.keys, Counts: to.counts.at, Count: to.keys,
		Stores: to.stores, SrcStores: from.stores,
	}
	g.Dst, g.Src, g.RowBytes = to.k.at, from.k.at, d.HeadDim*int(size)
	if err := c.l.gatherSlots(g); err != nil {
		return err
	}
	g.Dst, g.Src, g.RowBytes = to.v.at, from.v.at, d.ValueDim*int(size)
	if err := c.l.gatherSlots(g); err != nil {
		return err
	}
	g.Dst, g.Src = to.pos.at, from.pos.at
	return c.l.gatherPos(g)
}

func (s *sequence) Keys(layer, pos, n int) ([]float32, error) {
	return s.states(layer, pos, n, s.c.d.HeadDim, func(l *kvLayer) block { return l.k })
}

func (s *sequence) Values(layer, pos, n int) ([]float32, error) {
	return s.states(layer, pos, n, s.c.d.ValueDim, func(l *kvLayer) block { return l.v })
}

// states returns n slots of a layer from pos on, [n, stores*dim].
func (s *sequence) states(layer, pos, n, dim int, which func(*kvLayer) block) ([]float32, error) {
	l := &s.layers[layer]
	if l.compressed() || pos < 0 || pos+n > l.keys {
		return nil, fmt.Errorf("layer %d: positions %d to %d of %d, want positions of a layer that is not compressed", layer, pos, pos+n-1, l.keys)
	}
	out := make([]float32, n*l.stores*dim)
	err := s.c.t.do(func() error {
		from, size := which(l), s.c.dt.bytes()
		step := min(n, max(1, 1<<20/(l.stores*dim)))
		tmp, err := s.c.pool.get(4*int64(l.stores*step*dim), "copies of keys and values")
		if err != nil {
			return err
		}
		defer s.c.pool.put(tmp)
		host := make([]float32, l.stores*step*dim)
		for lo := 0; lo < n; lo += step { // the rows of all stores come with one copy, for which the card is waited for
			rows := min(step, n-lo)
			for st := range l.stores {
				at := from.off(int64(st*l.room+pos+lo) * int64(dim) * size)
				to := tmp.off(int64(4 * st * rows * dim))
				if err := s.c.l.dequant(to, f32, at, ownType[s.c.dt], int64(rows*dim)); err != nil {
					return err
				}
			}
			if err := fetch(s.c, host[:l.stores*rows*dim], tmp.at); err != nil {
				return err
			}
			for st := range l.stores {
				for i := range rows {
					copy(out[((lo+i)*l.stores+st)*dim:][:dim], host[(st*rows+i)*dim:])
				}
			}
		}
		return nil
	})
	return out, err
}
