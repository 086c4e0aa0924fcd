package cpu

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestLatentsAreKeysAndValues compares a store of latents with one that also stores the
// values, bit for bit: passes of many queries and steps, whole, truncated, copied and
// compressed.
func TestLatentsAreKeysAndValues(t *testing.T) {
	const heads, keyDim, valueDim, n = 6, 52, 42, 700
	random := rand.New(rand.NewPCG(1, 2))
	floats := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(random.NormFloat64())
		}
		return x
	}
	k := floats((n + 90) * keyDim)
	v := make([]float32, (n+90)*valueDim)
	for i := range n + 90 {
		copy(v[i*valueDim:(i+1)*valueDim], k[i*keyDim:])
	}
	pool := NewPool(2)
	defer pool.Close()
	whole, latents := NewKV(1, keyDim, valueDim), NewLatentKV(keyDim, valueDim)
	fill := func(from, to int) {
		whole.Append(pool, k[from*keyDim:to*keyDim], v[from*valueDim:to*valueDim], to-from)
		latents.Append(pool, k[from*keyDim:to*keyDim], nil, to-from)
	}
	fill(0, 300)
	fill(300, n+90)
	whole.Truncate(n)
	latents.Truncate(n)
	var keep []int32
	for i := range int32(n) {
		if i%3 > 0 {
			keep = append(keep, i)
		}
	}
	byHead := [][]int32{keep, keep[:40], keep[100:], keep[2:77], keep, keep[5:]}
	a := Attention{Heads: heads, KeyDim: keyDim, ValueDim: valueDim, Scale: 0.1}
	for _, c := range []struct {
		name       string
		with, only *KV
	}{
		{"whole", whole, latents},
		{"a copy", whole.Copy(n, n+10), latents.Copy(n, n+10)},
		{"compressed", whole.Compress([][]int32{keep}), latents.Compress([][]int32{keep})},
		{"compressed by head", whole.Compress(byHead), latents.Compress(byHead)},
	} {
		if got, want := c.only.Bytes()*(keyDim+valueDim), c.with.Bytes()*keyDim; got != want {
			t.Errorf("%s: %d bytes of latents, %d of keys and values", c.name, c.only.Bytes(), c.with.Bytes())
		}
		for _, rows := range []int{1, 30} {
			if c.only.heads[0].slabs[1] != nil {
				t.Fatalf("%s: values have memory of their own", c.name)
			}
			q := floats(rows * heads * keyDim)
			want := attended(&a, pool, c.with, q, rows, n)
			if got := attended(&a, pool, c.only, q, rows, n); !slices.Equal(got, want) {
				t.Errorf("%s, %d rows: outputs differ", c.name, rows)
			}
		}
		got, want := make([]float32, valueDim), make([]float32, valueDim)
		c.only.Value(0, 35, got)
		c.with.Value(0, 35, want)
		if !slices.Equal(got, want) || slices.Max(want) == 0 {
			t.Errorf("%s: value %v, want %v", c.name, got, want)
		}
	}
}

// attended returns the outputs of the last rows of a store of n positions.
func attended(a *Attention, p *Pool, kv *KV, q []float32, rows, n int) []float32 {
	out := make([]float32, rows*a.Heads*a.ValueDim)
	a.Run(p, kv, Queries{Q: q, Out: out, Rows: rows, Pos0: n - rows})
	return out
}
