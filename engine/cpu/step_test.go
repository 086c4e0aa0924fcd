package cpu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// shownRow is what Visit receives of one head.
type shownRow struct {
	pos0, key0 int
	weights    []float32
	lse, sink  float32
}

// TestStepsAreAsIfAlone computes the attention of sequences of different lengths
// together and one by one: outputs and shown rows are the same, bit for bit, on few
// threads and on more threads than there are stores.
func TestStepsAreAsIfAlone(t *testing.T) {
	const heads, kvHeads, kd, vd = 6, 2, 24, 40
	r := rand.New(rand.NewPCG(7, 8))
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	lengths := []int{1, 1300, 33, 512, 513, 90, 2049, 5}
	var stores []*KV
	var queries [][]float32
	for i, n := range lengths {
		kv := NewKV(kvHeads, kd, vd)
		kv.Append(nil, normal(n*kvHeads*kd), normal(n*kvHeads*vd), n)
		if i%3 == 1 { // compressed by query head, to different numbers of slots
			keep := make([][]int32, heads)
			for h := range keep {
				for j := h; j < n; j += 1 + h%2 {
					keep[h] = append(keep[h], int32(j))
				}
			}
			kv = kv.Compress(keep)
			kv.Append(nil, normal(kvHeads*kd), normal(kvHeads*vd), 1)
		}
		stores = append(stores, kv)
		queries = append(queries, normal(heads*kd))
	}
	for _, a := range []Attention{
		{Heads: heads, KeyDim: kd, ValueDim: vd, Scale: 0.3},
		{Heads: heads, KeyDim: kd, ValueDim: vd, Scale: 0.5, SoftCap: 4, Window: 600},
		{Heads: heads, KeyDim: kd, ValueDim: vd, Scale: 0.4, Window: 700, Sinks: []float32{0, 1, 2, -1, -2, 20}},
	} {
		var out [][]float32
		var shown []map[int]shownRow
		var mu sync.Mutex
		step := func(i int) Step {
			out[i] = make([]float32, heads*vd)
			q := Queries{Q: queries[i], Out: out[i], Rows: 1, Pos0: stores[i].Len() - 1}
			shown[i] = map[int]shownRow{}
			if i != 2 { // nothing is recorded of this sequence
				q.Visit = func(_ int, tile *Tile) {
					mu.Lock()
					defer mu.Unlock()
					row := shownRow{tile.Pos0, tile.Key0, slices.Clone(tile.Weights[:tile.Keys]), tile.LSE[0], 0}
					if tile.Sinks != nil {
						row.sink = tile.Sinks[0]
					}
					if _, twice := shown[i][tile.Head]; twice || tile.Rows != 1 {
						t.Errorf("sequence %d, head %d: shown twice, or %d rows", i, tile.Head, tile.Rows)
					}
					shown[i][tile.Head] = row
				}
			}
			return Step{KV: stores[i], Queries: q}
		}
		begin := func() {
			out = make([][]float32, len(lengths))
			shown = make([]map[int]shownRow, len(lengths))
		}
		begin()
		alone := NewPool(1)
		for i := range lengths {
			s := step(i)
			a.Run(alone, s.KV, s.Queries)
		}
		alone.Close()
		wantOut, wantShown := out, shown
		for _, threads := range []int{1, 3, 40} {
			t.Run(fmt.Sprintf("window %d, %d threads", a.Window, threads), func(t *testing.T) {
				begin()
				list := make([]Step, len(lengths))
				for i := range list {
					list[i] = step(i)
				}
				p := NewPool(threads)
				defer p.Close()
				a.RunSteps(p, list)
				for i := range lengths {
					if !slices.Equal(out[i], wantOut[i]) {
						t.Errorf("sequence %d: output %v together, %v alone", i, out[i][:4], wantOut[i][:4])
					}
					if len(shown[i]) != len(wantShown[i]) || i != 2 && len(shown[i]) != heads {
						t.Fatalf("sequence %d: %d heads are shown, %d alone", i, len(shown[i]), len(wantShown[i]))
					}
					for h, want := range wantShown[i] {
						got := shown[i][h]
						if got.pos0 != want.pos0 || got.key0 != want.key0 || got.lse != want.lse || got.sink != want.sink || !slices.Equal(got.weights, want.weights) {
							t.Errorf("sequence %d, head %d: weights %v together, %v alone", i, h, got.weights[:1], want.weights[:1])
						}
					}
				}
			})
		}
	}
}
