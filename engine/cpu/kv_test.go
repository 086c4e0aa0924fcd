package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestReserveIsExact checks that Reserve makes room for exactly the positions asked for,
// in whole panels, so that appending them does not grow the store. A compressed store
// needs room for its slots only.
func TestReserveIsExact(t *testing.T) {
	const heads, dim, n, more = 2, 6, 70, 20
	rows := func(n int) []float32 {
		x := make([]float32, n*heads*dim)
		for i := range x {
			x[i] = float32(i)
		}
		return x
	}
	kv := NewKV(heads, dim, dim)
	kv.Reserve(n + more)
	kv.Append(nil, rows(n), rows(n), n)
	keep := []int32{0, 3, 5, 8, 13, 21, 34, 55, 68, 69}
	small := kv.Compress([][]int32{keep, keep[1:]})
	small.Reserve(n + more)
	before := []*store{&kv.heads[1], &small.heads[0], &small.heads[1]}
	var rooms []int
	for _, s := range before {
		rooms = append(rooms, s.room)
	}
	kv.Append(nil, rows(more), rows(more), more)
	small.Append(nil, rows(more), rows(more), more)
	for i, want := range []int{96, 32, 32} { // 90, 30 and 29 slots, in panels of 32
		if rooms[i] != want || before[i].room != want {
			t.Errorf("store %d: room for %d slots, after appending for %d, want %d", i, rooms[i], before[i].room, want)
		}
	}
	want, got := make([]float32, dim), make([]float32, dim)
	for i, at := range keep {
		kv.Key(0, int(at), want)
		if small.Key(0, i, got); !slices.Equal(got, want) {
			t.Errorf("slot %d is %v, want position %d's %v", i, got, at, want)
		}
	}
	kv.Value(1, n+more-1, want)
	if small.Value(1, len(keep)-1+more-1, got); !slices.Equal(got, want) {
		t.Errorf("the last value is %v, want %v", got, want)
	}
}

// TestReaderHasItsOwnHeads compresses a cache that three layers share by their query
// heads: each layer attends to what its heads kept, as if it had the cache alone.
func TestReaderHasItsOwnHeads(t *testing.T) {
	const readers, kvHeads, heads, dim, n = 3, 2, 4, 8, 40
	r := rand.New(rand.NewPCG(5, 6))
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	full := NewKV(kvHeads, dim, dim)
	full.Append(nil, normal(n*kvHeads*dim), normal(n*kvHeads*dim), n)
	if full.Reader(1, readers, kvHeads) != full {
		t.Error("a cache that is not compressed by query head has other stores for one layer")
	}
	own := make([][][]int32, readers) // by layer and query head
	var all [][]int32
	for range kvHeads {
		for i := range readers {
			for range heads / kvHeads {
				var slots []int32
				for j := range n {
					if r.IntN(2) == 0 {
						slots = append(slots, int32(j))
					}
				}
				own[i] = append(own[i], slots)
				all = append(all, slots)
			}
		}
	}
	shared := full.Compress(all)
	k, v := normal(kvHeads*dim), normal(kvHeads*dim)
	shared.Append(nil, k, v, 1)
	p := NewPool(2)
	defer p.Close()
	a := Attention{Heads: heads, KeyDim: dim, ValueDim: dim, Scale: 0.4}
	q := normal(heads * dim)
	for i := range readers {
		alone := full.Compress(own[i])
		alone.Append(nil, k, v, 1)
		want, got := make([]float32, heads*dim), make([]float32, heads*dim)
		a.Run(p, alone, Queries{Q: q, Out: want, Rows: 1, Pos0: n})
		a.Run(p, shared.Reader(i, readers, kvHeads), Queries{Q: q, Out: got, Rows: 1, Pos0: n})
		if !slices.Equal(got, want) {
			t.Errorf("layer %d attends to other slots than its own", i)
		}
	}
}
