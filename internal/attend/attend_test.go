package attend

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/attnscope/attnscope/internal/simd"
)

// TestRowsAgainstLoop compares with softmax written out in float64.
func TestRowsAgainstLoop(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	const rows, keys, dim, pos0 = 5, 77, 12, 70
	q, k := make([]float32, rows*dim), make([]float32, keys*dim)
	for i := range q {
		q[i] = float32(r.NormFloat64())
	}
	for i := range k {
		k[i] = float32(r.NormFloat64())
	}
	bias := make([]float32, keys)
	for i := range bias {
		bias[i] = float32(r.NormFloat64())
	}
	low, high := float32(1), float32(9) // scores of sinks
	for _, h := range []Head{{Scale: 0.3}, {Scale: 0.3, SoftCap: 2}, {Scale: 0.3, Window: 20}, {Scale: 0.3, Chunk: 36}, {Scale: 0.3, Bias: bias}, {Scale: 0.3, Sink: &low}, {Scale: 0.3, Window: 20, Sink: &high}} {
		w := make([]float32, rows*keys)
		h.Rows(w, pos0, simd.Dense(q, rows, dim), simd.Dense(k, keys, dim))
		for _, n := range []int{keys, 64, 75} { // the first of the packed keys, and all
			same, short := make([]float32, rows*n), make([]float32, rows*n)
			h.Rows(short, pos0-keys+n, simd.Dense(q, rows, dim), simd.Dense(k, n, dim))
			old := NewPacked(2*keys, dim) // what it held must not be seen
			for i := range old.panels {
				old.panels[i] = float32(math.NaN())
			}
			old.Release()
			packed := NewPacked(keys, dim)
			if want := 4 * 96 * dim; packed.Keys() != keys || packed.Bytes() != want { // whole panels of 32 keys
				t.Fatalf("%d keys take %d bytes, want %d keys and %d bytes", packed.Keys(), packed.Bytes(), keys, want)
			}
			pos := make([]int, rows)
			if slices.ContainsFunc(packed.panels, func(v float32) bool { return v != 0 }) {
				t.Fatal("new keys are not zero")
			}
			for _, part := range [][2]int{{64, keys - 64}, {40, 24}, {0, 40}} { // in any order, a panel in pieces
				packed.Put(part[0], simd.Dense(k[part[0]*dim:], part[1], dim))
			}
			for i := range pos {
				pos[i] = pos0 - keys + n + i
			}
			if h.PackedRows(same, pos, n, simd.Dense(q, rows, dim), packed); !slices.Equal(same, short) {
				t.Fatalf("%+v: packed keys give other weights over %d", h, n)
			}
			one := make([]float32, dim)
			if packed.Key(one, 70); !slices.Equal(one, k[70*dim:71*dim]) {
				t.Fatal("another key 70")
			}
		}
		for i := range rows {
			want, sum := make([]float64, keys), 0.0
			for j := range keys {
				if j > pos0+i || h.Window > 0 && j <= pos0+i-h.Window || h.Chunk > 0 && j/h.Chunk < (pos0+i)/h.Chunk {
					continue
				}
				s := 0.0
				for d := range dim {
					s += float64(q[i*dim+d]) * float64(k[j*dim+d])
				}
				s *= float64(h.Scale)
				if h.SoftCap > 0 {
					s = float64(h.SoftCap) * math.Tanh(s/float64(h.SoftCap))
				}
				if h.Bias != nil {
					s += float64(h.Bias[j])
				}
				want[j] = math.Exp(s)
				sum += want[j]
			}
			if h.Sink != nil {
				sum += math.Exp(float64(*h.Sink))
			}
			for j := range keys {
				if got := float64(w[i*keys+j]); math.Abs(got-want[j]/sum) > 1e-6 {
					t.Fatalf("%+v row %d key %d: %g, want %g", h, i, j, got, want[j]/sum)
				}
			}
		}
	}
}

// TestRowsOverSomePositions compares the weights over keys at given positions with those
// over all keys up to the last position, where the others are left out of the softmax.
func TestRowsOverSomePositions(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	const rows, keys, dim, pos0 = 4, 60, 6, 56
	random := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(r.NormFloat64())
		}
		return x
	}
	q := random(rows * dim)
	k := random(keys * dim)
	bias := random(keys)
	var positions []int32
	var some []float32
	for j := range keys {
		if j%3 != 1 || j >= pos0 {
			positions = append(positions, int32(j))
			some = append(some, k[j*dim:(j+1)*dim]...)
		}
	}
	sink := float32(0.5)
	for _, h := range []Head{{Scale: 0.4}, {Scale: 0.4, Window: 21}, {Scale: 0.4, Chunk: 36}, {Scale: 0.4, Bias: bias, Sink: &sink}} {
		all := make([]float32, rows*keys)
		h.Rows(all, pos0, simd.Dense(q, rows, dim), simd.Dense(k, keys, dim))
		h.Positions = positions
		n := len(positions)
		got := make([]float32, rows*n)
		h.Rows(got, pos0, simd.Dense(q, rows, dim), simd.Dense(some, n, dim))
		for i := range rows {
			kept := 0.0
			share := 1.0 // of the keys and the sink
			for j, v := range all[i*keys : (i+1)*keys] {
				share -= float64(v)
				if slices.Contains(positions, int32(j)) {
					kept += float64(v)
				}
			}
			for slot, j := range positions {
				want := float64(all[i*keys+int(j)]) / (kept + share)
				if v := float64(got[i*n+slot]); math.Abs(v-want) > 1e-6 {
					t.Fatalf("%+v: row %d, position %d: %g, want %g", h, i, j, v, want)
				}
			}
		}
	}
}
