package cpu

import (
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
