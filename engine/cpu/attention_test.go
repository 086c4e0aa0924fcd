package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
)

// TestAttentionAgainstLoop compares outputs and visited weights with a loop in float64,
// for full and compressed stores, groups, sliding windows, chunks, soft caps and odd
// sizes.
func TestAttentionAgainstLoop(t *testing.T) {
	const heads, kvHeads, kd, vd = 4, 2, 20, 36
	r := rand.New(rand.NewPCG(3, 4))
	normal := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	p := NewPool(3)
	defer p.Close()
	for _, c := range []struct {
		name             string
		before, n        int
		window           int
		softCap          float32
		compress, byHead bool
		chunk            int
		sink             bool
	}{
		{"prefill", 0, 61, 0, 0, false, false, 0, false},
		{"prefill, window", 0, 133, 40, 0, false, false, 0, false},
		{"decode, cap", 70, 1, 0, 3, false, false, 0, false},
		{"decode, window", 70, 1, 33, 0, false, false, 0, false},
		{"decode, long", 1300, 1, 0, 0, false, false, 0, false},
		{"decode, long, window", 1300, 1, 700, 3, false, false, 0, false},
		{"compressed, long", 1900, 1, 900, 0, true, true, 0, false},
		{"compressed", 90, 1, 0, 0, true, false, 0, false},
		{"compressed by head", 90, 7, 0, 0, true, true, 0, false},
		{"compressed, window", 90, 7, 50, 0, true, true, 0, false},
		{"compressed, short window", 90, 9, 4, 2, true, false, 0, false},
		{"later piece, window", 133, 64, 40, 0, false, false, 0, false},
		{"later piece, short window", 133, 70, 3, 0, false, false, 0, false},
		{"compressed, piece", 75, 49, 0, 2, true, false, 0, false},
		{"compressed by head, piece, window", 90, 53, 50, 0, true, true, 0, false},
		{"compressed by head, long, piece, window", 900, 40, 333, 0, true, true, 0, false},
		{"prefill, chunk", 0, 133, 0, 0, false, false, 48, false},
		{"prefill, short chunk", 0, 97, 0, 2, false, false, 5, false},
		{"later piece, chunk", 70, 64, 0, 0, false, false, 40, false},
		{"decode, chunk", 70, 1, 0, 0, false, false, 33, false},
		{"decode, first of a chunk", 66, 1, 0, 0, false, false, 33, false},
		{"decode, long, chunk", 1300, 1, 0, 3, false, false, 700, false},
		{"compressed, chunk", 90, 7, 0, 0, true, false, 31, false},
		{"compressed by head, piece, chunk", 90, 53, 0, 2, true, true, 50, false},
		{"compressed, long, chunk", 1900, 1, 0, 0, true, true, 1000, false},
		{"prefill, window, sink", 0, 133, 40, 0, false, false, 0, true},
		{"piece, sink", 90, 49, 0, 0, false, false, 0, true},
		{"decode, long, window, sink", 1300, 1, 700, 0, false, false, 0, true},
		{"compressed by head, piece, window, sink", 90, 53, 50, 2, true, true, 0, true},
		{"compressed, long, sink", 1900, 1, 900, 0, true, true, 0, true},
		{"compressed by head, piece, chunk, sink", 90, 53, 0, 2, true, true, 50, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := Attention{Heads: heads, KeyDim: kd, ValueDim: vd, Scale: 0.3, SoftCap: c.softCap, Window: c.window, Chunk: c.chunk}
			total := c.before + c.n
			if c.sink {
				a.Sinks = []float32{-1, 0.5, 4, 30} // the last one is far above all keys
			}
			if c.softCap == 0 { // no model has both
				a.Bias = make([][]float32, heads)
				for h := range a.Bias {
					a.Bias[h] = normal(total)
				}
			}
			k, v, q := normal(total*kvHeads*kd), normal(total*kvHeads*vd), normal(c.n*heads*kd)
			kv := NewKV(kvHeads, kd, vd)
			kept := make([][]int32, heads) // positions a query head has
			if c.before > 0 {
				kv.Append(nil, k[:c.before*kvHeads*kd], v[:c.before*kvHeads*vd], c.before)
			}
			if c.compress {
				stores := kvHeads
				if c.byHead {
					stores = heads
				}
				keep := make([][]int32, stores)
				for s := range keep {
					for j := range c.before {
						if r.IntN(3) > 0 || j == c.before-1 {
							keep[s] = append(keep[s], int32(j))
						}
					}
				}
				kv = kv.Compress(keep)
				for h := range kept {
					kept[h] = slices.Clone(keep[h*stores/heads])
				}
			} else {
				for h := range kept {
					for j := range c.before {
						kept[h] = append(kept[h], int32(j))
					}
				}
			}
			kv.Append(nil, k[c.before*kvHeads*kd:], v[c.before*kvHeads*vd:], c.n)
			for h := range kept {
				for j := c.before; j < total; j++ {
					kept[h] = append(kept[h], int32(j))
				}
			}
			out := make([]float32, c.n*heads*vd)
			shown, lse, sinks := map[[2]int][]float32{}, map[[2]int]float32{}, map[[2]int]float32{} // by row and head
			var mu sync.Mutex
			visit := func(_ int, tile *Tile) {
				mu.Lock()
				defer mu.Unlock()
				for r := range tile.Rows {
					at := [2]int{tile.Row0 + r, tile.Head}
					row := make([]float32, tile.Key0, tile.Key0+tile.Keys)
					shown[at], lse[at] = append(row, tile.Weights[r*tile.Stride:][:tile.Keys]...), tile.LSE[r]
					if tile.Sinks != nil {
						sinks[at] = tile.Sinks[r]
					}
					if tile.Pos0+r != c.before+tile.Row0+r {
						t.Errorf("row %d has position %d, want %d", tile.Row0+r, tile.Pos0+r, c.before+tile.Row0+r)
					}
				}
			}
			a.Run(p, kv, Queries{Q: q, Out: out, Rows: c.n, Pos0: c.before, Visit: visit})
			for i := range c.n {
				for h := range heads {
					g, pos := h/(heads/kvHeads), c.before+i
					sum, want := 0.0, make([]float64, vd)
					weights := make([]float64, len(kept[h]))
					for slot, j := range kept[h] {
						if int(j) > pos || c.window > 0 && int(j) <= pos-c.window || c.chunk > 0 && int(j)/c.chunk < pos/c.chunk {
							continue
						}
						s := 0.0
						for d := range kd {
							s += float64(q[(i*heads+h)*kd+d]) * float64(k[(int(j)*kvHeads+g)*kd+d])
						}
						s *= 0.3
						if a.Bias != nil {
							s += float64(a.Bias[h][j])
						}
						if c.softCap > 0 {
							s = float64(c.softCap) * math.Tanh(s/float64(c.softCap))
						}
						sum += math.Exp(s)
						weights[slot] = math.Exp(s)
						for d := range want {
							want[d] += math.Exp(s) * float64(v[(int(j)*kvHeads+g)*vd+d])
						}
					}
					sink := 0.0
					if c.sink {
						sink = math.Exp(float64(a.Sinks[h]))
						sum += sink
					}
					got, shared := sinks[[2]int{i, h}]
					if shared != c.sink || math.Abs(float64(got)-sink/sum) > 1e-6 {
						t.Fatalf("row %d head %d: the sink has %g, want %g", i, h, got, sink/sum)
					}
					row := shown[[2]int{i, h}]
					for slot, w := range weights {
						var got float64
						if slot < len(row) {
							got = float64(row[slot])
						}
						if math.Abs(got-w/sum) > 1e-6 {
							t.Fatalf("row %d head %d: weight of slot %d is %g, want %g", i, h, slot, got, w/sum)
						}
					}
					if got := float64(lse[[2]int{i, h}]); math.Abs(got-math.Log(sum)) > 1e-5 {
						t.Fatalf("row %d head %d: log-sum-exp %g, want %g", i, h, got, math.Log(sum))
					}
					for d := range want {
						if got := float64(out[(i*heads+h)*vd+d]); math.Abs(got-want[d]/sum) > 1e-5 {
							t.Fatalf("row %d head %d channel %d: %g, want %g", i, h, d, got, want[d]/sum)
						}
					}
				}
			}
		})
	}
}
