//go:build cuda

package cuda

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/sizes"
)

// testSizes are those of a small decoder.
var testSizes = Sizes{Layers: 3, Hidden: 64, Intermediate: 96, Heads: 4, KVHeads: 2, HeadDim: 16, ValueDim: 16, Vocab: 96, TiedHead: true}

// smallCard opens a small decoder with random weights, or skips the test.
func smallCard(t *testing.T, compute string) *card {
	t.Helper()
	return randomCard(t, testSizes, compute)
}

// randomCard opens a decoder with random weights, or skips the test.
func randomCard(t *testing.T, sizes Sizes, compute string) *card {
	t.Helper()
	m, err := LoadRandom(0, sizes, 1e4, Options{Compute: compute, Chunk: 40, Log: func(line string) { t.Log(line) }})
	var none *NoDeviceError
	if errors.As(err, &none) {
		t.Skipf("SKIPPED, no card: %v (ATTNSCOPE_LIBCUDA names an emulated driver)", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m.(*card)
}

// TestHandlesAreOnePointer: our own calls read handles out of structs of
// gorgonia.org/cu.
func TestHandlesAreOnePointer(t *testing.T) {
	for name, size := range map[string]uintptr{"Function": unsafe.Sizeof(cu.Function{}), "Stream": unsafe.Sizeof(cu.Stream{}), "DevicePtr": unsafe.Sizeof(cu.DevicePtr(0))} {
		if size != unsafe.Sizeof(uintptr(0)) {
			t.Errorf("cu.%s has %d bytes, want those of a pointer", name, size)
		}
	}
}

// TestMatricesOfTypesOnCard multiplies with weights of every type, two under one
// another, for few rows and for many, and compares with a loop over their
// values.
func TestMatricesOfTypesOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	const in = 256
	rng := rand.New(rand.NewPCG(5, 6))
	make1 := func(d tensor.DType, out int) tensor.Tensor {
		row, err := d.Bytes(in)
		if err != nil {
			t.Fatal(err)
		}
		x := tensor.Tensor{Name: d.String(), DType: d, Shape: []int{out, in}, Data: make([]byte, row*out)}
		for try := 0; ; try++ {
			for i := range x.Data {
				x.Data[i] = byte(rng.Uint32())
				if d == tensor.F32 && i%4 == 3 || (d == tensor.BF16 || d == tensor.F16) && i%2 == 1 {
					x.Data[i] &= 0xbf // exponents below the largest
				}
			}
			v, err := x.Float32()
			if err != nil {
				t.Fatal(err)
			}
			top := 0.0
			for _, f := range v {
				top = max(top, math.Abs(float64(f)))
			}
			if top < 1e30 && checkFinite(x) == nil { // top also refuses NaN
				return x
			}
			if try > 50 { // blocks whose scales are halves: make them small ones
				return tensor.Tensor{}
			}
			for i := range x.Data {
				x.Data[i] &= 0x3b
			}
			if v, _ := x.Float32(); v != nil && checkFinite(x) == nil {
				return x
			}
		}
	}
	for _, d := range []tensor.DType{tensor.F32, tensor.F16, tensor.BF16, tensor.Q4_0, tensor.Q4_1, tensor.Q5_0, tensor.Q5_1, tensor.Q8_0, tensor.Q2_K, tensor.Q3_K, tensor.Q4_K, tensor.Q5_K, tensor.Q6_K} {
		for _, second := range []tensor.DType{d, tensor.Q8_0} {
			a, b := make1(d, 7), make1(second, 5)
			if a.Data == nil || b.Data == nil {
				t.Fatalf("no finite %s", d)
			}
			var want [12][]float32
			for i := range want {
				want[i] = make([]float32, in)
				var err error
				if i < 7 {
					err = a.Row(want[i], i)
				} else {
					err = b.Row(want[i], i-7)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
			for _, m := range []int{1, 8, 21} {
				x := make([]float32, m*in)
				for i := range x {
					x[i] = float32(rng.NormFloat64())
				}
				got := make([]float32, m*12)
				err := c.t.do(func() error {
					u := &uploader{c: c}
					w, err := u.matrix(Matrix{a, b})
					if err != nil {
						return err
					}
					if c.scratch.bytes < c.scratchBytes {
						if c.scratch, err = c.pool.get(c.scratchBytes, "a test"); err != nil {
							return err
						}
					}
					xs, err := c.pool.get(int64(4*len(x)), "a test")
					if err != nil {
						return err
					}
					defer c.pool.put(xs)
					ys, err := c.pool.get(int64(4*len(got)), "a test")
					if err != nil {
						return err
					}
					defer c.pool.put(ys)
					if err := c.in.copy(xs.at, bytesOf(x)); err != nil {
						return err
					}
					if w.mixed != (d == tensor.BF16 && second == tensor.BF16) {
						t.Errorf("%s over %s: mixed %v", d, second, w.mixed)
					}
					split, err := c.pool.get(int64(2*terms*len(x)), "a test")
					if err != nil {
						return err
					}
					defer c.pool.put(split)
					c.work.terms = split.at
					if err := c.mul(ys.at, 12, xs.at, in, &w, m, false); err != nil {
						return err
					}
					return fetch(c, got, ys.at)
				})
				if err != nil {
					t.Fatalf("%s over %s, %d rows: %v", d, second, m, err)
				}
				for i := range m {
					for o := range want {
						sum, size := 0.0, 0.0
						for k, v := range want[o] {
							sum += float64(v) * float64(x[i*in+k])
							size += math.Abs(float64(v) * float64(x[i*in+k]))
						}
						if diff := math.Abs(float64(got[i*12+o]) - sum); !(diff <= 1e-5*size) {
							t.Fatalf("%s over %s, %d rows: row %d, output %d is %g, want %g", d, second, m, i, o, got[i*12+o], sum)
						}
					}
				}
			}
		}
	}
}

// TestInputsAndFetchOnCard carries more than a buffer holds there and back.
func TestInputsAndFetchOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	x := make([]float32, 2*inputBytes/4+77)
	for i := range x {
		x[i] = float32(i)
	}
	got := make([]float32, len(x))
	err := c.t.do(func() error {
		b, err := c.pool.get(int64(4*len(x)), "a test")
		if err != nil {
			return err
		}
		defer c.pool.put(b)
		if err := c.in.copy(b.at, bytesOf(x)); err != nil {
			return err
		}
		return fetch(c, got, b.at)
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range x {
		if got[i] != x[i] {
			t.Fatalf("element %d came back as %g", i, got[i])
		}
	}
}

// TestPoolOnCard: memory that comes back is handed out again, what does not fit
// says so in numbers, and spare blocks make room for other sizes.
func TestPoolOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	err := c.t.do(func() error {
		p := newPool(c.t)
		a, err := p.get(1000, "a test")
		if err != nil {
			return err
		}
		p.put(a)
		b, err := p.get(900, "a test")
		if err != nil {
			return err
		}
		if a.at != b.at || p.held != 1024 || p.used != 1024 {
			t.Errorf("%v after %v: held %d, used %d", b, a, p.held, p.used)
		}
		p.put(b)
		_, err = p.get(1<<50, "a very large thing")
		var small *MemoryError
		if !errors.As(err, &small) || small.What != "a very large thing" || small.Want < 1<<50 || small.Memory == 0 {
			t.Errorf("%v, want a MemoryError", err)
		}
		if p.held != 0 || p.used != 0 {
			t.Errorf("after trimming: held %d, used %d", p.held, p.used)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestNothingLeaksOnCard: sequences, compressed ones and recorded passes give
// back all they took.
func TestNothingLeaksOnCard(t *testing.T) {
	c := smallCard(t, "bf16")
	used := func() (n int64) {
		_ = c.t.do(func() error { n = c.pool.used; return nil })
		return n
	}
	rounding := dropTable(2.9e-3, 0, 4)
	one := func() {
		s := c.NewSequence()
		defer s.Close()
		tokens := make([]int32, 90)
		p := Pass{
			LogitsFrom: 90, Record: func(_, pos0, n int) Record {
				return Record{Rows: pos0 + 80, LSE: pos0 + 80, States: pos0, Sums: true, Windows: 2, WindowSize: 16, WindowStart: pos0 + 58, SumBits: 16, Halves: &rounding, Side: 8, Prompt: 90}
			}, Rows: func(int, *Rows) {}, Sums: func(int, int, int, []int64) {}, Whole: func(int, int, int, []float32) {}, Cells: func(int, int, []float32) {}, Done: func(int, int) {},
			States: func(int, int, int, []float32, []float32, []float32) {},
		}
		if err := s.Forward(context.Background(), tokens, p); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Select(1, make([]float32, 9*testSizes.Heads*testSizes.HeadDim), 9, []Pick{{Window: 4, Budget: 20, Kernel: 3, Pooling: "maxpool", Group: "sum"}}); err != nil {
			t.Fatal(err)
		}
		keep := make([][][]int32, testSizes.Layers)
		for l := range keep {
			keep[l] = [][]int32{{0, 5, 7}, {1, 2, 3, 80}, {}, {89}}
		}
		small, err := s.Compress(keep)
		if err != nil {
			t.Fatal(err)
		}
		defer small.Close()
		if err := small.Forward(context.Background(), tokens[:70], Pass{LogitsFrom: 70}); err != nil { // grows past its room
			t.Fatal(err)
		}
		small.Truncate(90)
		if err := small.Forward(context.Background(), tokens[:2], Pass{LogitsFrom: 2}); err != nil {
			t.Fatal(err)
		}
	}
	one()
	before := used()
	one()
	if after := used(); after != before {
		t.Errorf("%d bytes in use after another sequence, %d before", after, before)
	}
}

// TestSlowReaderHoldsTheCardBack: with a reader that takes its time no more
// slots are used than there are, and everything arrives in order.
func TestSlowReaderHoldsTheCardBackOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	s := c.NewSequence()
	defer s.Close()
	n := 120
	var mu sync.Mutex
	next, seen := map[int]int{}, 0
	p := Pass{
		LogitsFrom: n, Record: func(_, pos0, n int) Record { return Record{Rows: pos0 + n, LSE: pos0 + n, States: pos0} },
		Rows: func(int, *Rows) {}, Done: func(int, int) {},
		States: func(layer, pos0, rows int, q, _, _ []float32) {
			mu.Lock()
			defer mu.Unlock()
			time.Sleep(2 * time.Millisecond)
			if pos0 != next[layer] || len(q) != rows*testSizes.Heads*testSizes.HeadDim {
				t.Errorf("layer %d: states from %d, want %d; %d floats for %d rows", layer, pos0, next[layer], len(q), rows)
			}
			next[layer] = pos0 + rows
			seen++
		},
	}
	if err := s.Forward(context.Background(), make([]int32, n), p); err != nil {
		t.Fatal(err)
	}
	if seen != testSizes.Layers*3 || next[0] != n {
		t.Errorf("%d pieces, up to %v", seen, next)
	}
	if len(c.ring.slots) != ringSlots || len(c.ring.free) != ringSlots {
		t.Errorf("%d slots, %d of them free, want %d", len(c.ring.slots), len(c.ring.free), ringSlots)
	}
}

// TestCancelledPassOnCard ends between layers and leaves the card usable.
func TestCancelledPassOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	s := c.NewSequence()
	defer s.Close()
	ctx, stop := context.WithCancel(context.Background())
	stop()
	p := Pass{
		LogitsFrom: 50, Record: func(_, pos0, n int) Record { return Record{Rows: pos0, LSE: pos0, States: pos0, Sums: true} },
		Rows: func(int, *Rows) {}, Sums: func(int, int, int, []int64) {}, Done: func(int, int) {}, States: func(int, int, int, []float32, []float32, []float32) {},
	}
	if err := s.Forward(ctx, make([]int32, 50), p); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it was cancelled", err)
	}
	if err := c.NewSequence().Forward(context.Background(), make([]int32, 50), p); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// TestUnusableDevices: what is too old says so.
func TestUnusableDevices(t *testing.T) {
	for _, c := range []struct {
		d    Device
		says string
	}{
		{Device{Driver: [2]int{10, 2}, Capability: [2]int{8, 0}}, "driver is too old: it supports CUDA 10.2"},
		{Device{Driver: [2]int{12, 4}, Capability: [2]int{7, 5}}, "compute capability 7.5"},
		{Device{Driver: [2]int{11, 0}, Capability: [2]int{8, 0}}, ""},
		{Device{Driver: [2]int{13, 0}, Capability: [2]int{12, 0}}, ""},
	} {
		if got := c.d.usable(); !strings.Contains(got, c.says) || c.says == "" && got != "" {
			t.Errorf("%v: %q, want %q", c.d, got, c.says)
		}
	}
	for n, want := range map[int64]string{5: "5 B", 2048: "2.0 KiB", 3 << 30: "3.0 GiB"} {
		if got := sizes.Text(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestDecodedRowsAreThoseOfPrefillOnCard: the last token's weights and
// log-sum-exps are the same, in a pass with all others and in one of its own.
func TestDecodedRowsAreThoseOfPrefillOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	tokens := make([]int32, 70)
	for i := range tokens {
		tokens[i] = int32(i * 7 % 96)
	}
	type key struct{ layer, head int }
	run := func(first int) (weights, lse map[key][]float32) {
		weights, lse = map[key][]float32{}, map[key][]float32{}
		s := c.NewSequence()
		defer s.Close()
		var mu sync.Mutex
		p := Pass{
			LogitsFrom: 70, Record: func(_, pos0, n int) Record { return Record{Rows: 69, LSE: 69, States: pos0 + n} }, Done: func(int, int) {},
			Rows: func(layer int, r *Rows) {
				mu.Lock()
				defer mu.Unlock()
				if r.Pos0 != 69 || r.Rows != 1 || r.Keys != 70 {
					t.Errorf("rows %d from %d with %d keys", r.Rows, r.Pos0, r.Keys)
				}
				weights[key{layer, r.Head}] = append([]float32(nil), r.Weights[:r.Keys]...)
				lse[key{layer, r.Head}] = append([]float32(nil), r.LSE...)
			},
		}
		for _, part := range [][]int32{tokens[:first], tokens[first:]} {
			if err := s.Forward(context.Background(), part, p); err != nil {
				t.Fatal(err)
			}
		}
		return weights, lse
	}
	weights, lse := run(0)
	alone, aloneLSE := run(69)
	if len(weights) != testSizes.Layers*testSizes.Heads || len(alone) != len(weights) {
		t.Fatalf("%d and %d rows, want %d", len(weights), len(alone), testSizes.Layers*testSizes.Heads)
	}
	for k, want := range weights {
		for j, v := range alone[k] {
			if math.Abs(float64(v-want[j])) > 1e-5 {
				t.Fatalf("%v, key %d: %g alone, %g among all", k, j, v, want[j])
			}
		}
		if len(aloneLSE[k]) != 1 || math.Abs(float64(aloneLSE[k][0]-lse[k][0])) > 1e-4 {
			t.Errorf("%v: log-sum-exp %v alone, %v among all", k, aloneLSE[k], lse[k])
		}
	}
}

// TestSelectionThatCannotBeOnCard: what does not fit the card or the queries at hand
// says so, and the card goes on.
func TestSelectionThatCannotBeOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	s := c.NewSequence()
	defer s.Close()
	if err := s.Forward(context.Background(), make([]int32, 90), Pass{LogitsFrom: 90}); err != nil {
		t.Fatal(err)
	}
	q, pick := make([]float32, 9*testSizes.Heads*testSizes.HeadDim), Pick{Window: 9, Budget: 20, Kernel: 5, Pooling: "avgpool", Group: "head"}
	for _, wrong := range []struct {
		n    int
		pick Pick
		says string
	}{
		{9, Pick{Window: 10, Budget: 1, Kernel: 1, Pooling: "avgpool", Group: "head"}, "window of 1 to 9"},
		{10, pick, "a selection by 10 queries"},
		{9, Pick{Window: 9, Budget: 1, Kernel: 2, Pooling: "avgpool", Group: "head"}, "odd kernel"},
		{9, Pick{Window: 9, Budget: 1, Kernel: 1, Pooling: "avgpool", Group: "each"}, "want mean, max or sum"},
	} {
		if _, err := s.Select(0, q, wrong.n, []Pick{wrong.pick}); err == nil || !strings.Contains(err.Error(), wrong.says) {
			t.Errorf("%+v: %v, want %q", wrong.pick, err, wrong.says)
		}
	}
	nan := append([]float32(nil), q...)
	nan[len(nan)-1] = float32(math.NaN())
	if _, err := s.Select(2, nan, 9, []Pick{pick}); err == nil || !strings.Contains(err.Error(), "layer 2, head 3: a vote is not a number") {
		t.Errorf("a query that is not a number: %v", err)
	}
	if !strings.Contains(os.Getenv("ATTNSCOPE_LIBCUDA"), "emu") {
		return // a real card's memory is not all taken
	}
	var taken []block
	_ = c.t.do(func() error { // all but what is too little
		for size := int64(1 << 30); size >= 4096; {
			if b, err := c.pool.get(size, "a test"); err == nil {
				taken = append(taken, b)
			} else {
				size /= 2
			}
		}
		return nil
	})
	var small *MemoryError
	if _, err := s.Select(0, q, 9, []Pick{pick}); !errors.As(err, &small) {
		t.Errorf("without memory: %v, want a MemoryError", err)
	}
	_ = c.t.do(func() error {
		for _, b := range taken {
			c.pool.put(b)
		}
		return nil
	})
	keep, err := s.Select(0, q, 9, []Pick{pick})
	if err != nil || len(keep) != 1 || len(keep[0]) != testSizes.Heads || len(keep[0][0]) != 29 {
		t.Errorf("afterwards: %v, %v", keep, err)
	}
}
