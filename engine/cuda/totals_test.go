//go:build cuda

package cuda

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
)

const (
	totalTokens = 150
	totalSide   = 8
)

// totalsOf receives sums over all queries and pictures, by layer and head, as a recorder
// does: it adds the sums, and keeps the largest cells.
type totalsOf struct {
	lock  sync.Mutex
	sums  map[[2]int][]int64
	cells map[[2]int][]float32
	calls int
}

// pass returns a pass that asks for sums and pictures up to a position.
func (o *totalsOf) pass(until int) Pass {
	o.sums, o.cells = map[[2]int][]int64{}, map[[2]int][]float32{}
	return Pass{
		LogitsFrom: totalTokens,
		Record: func(_, pos0, n int) Record {
			end := pos0 + n
			return Record{Rows: end, LSE: end, States: end, Sums: true, Until: until, Side: totalSide, Prompt: totalTokens, Heads: []int{0, 2, 3}}
		},
		Sums: func(layer, head, window int, part []int64) {
			o.lock.Lock()
			defer o.lock.Unlock()
			key := [2]int{layer, head}
			if o.sums[key] == nil {
				o.sums[key] = make([]int64, totalTokens)
			}
			for j, v := range part {
				o.sums[key][j] += v
			}
			o.calls++
		},
		Cells: func(layer, head int, cells []float32) {
			o.lock.Lock()
			defer o.lock.Unlock()
			key := [2]int{layer, head}
			if o.cells[key] == nil {
				o.cells[key] = make([]float32, totalSide*totalSide)
			}
			for j, v := range cells {
				o.cells[key][j] = max(o.cells[key][j], v)
			}
			o.calls++
		},
	}
}

// same compares with what another recording received.
func (o *totalsOf) same(t *testing.T, what string, want *totalsOf) {
	t.Helper()
	if len(o.sums) != 3*testSizes.Layers || len(o.cells) != len(o.sums) {
		t.Errorf("%s: %d heads with sums and %d with pictures, want %d", what, len(o.sums), len(o.cells), 3*testSizes.Layers)
	}
	for key, sums := range want.sums {
		if !slices.Equal(o.sums[key], sums) {
			t.Errorf("%s: layer %d, head %d: the sums differ", what, key[0], key[1])
		}
		if !slices.Equal(o.cells[key], want.cells[key]) {
			t.Errorf("%s: layer %d, head %d: the pictures differ", what, key[0], key[1])
		}
	}
	total := int64(0)
	for _, v := range o.sums[[2]int{1, 2}] {
		total += v
	}
	if rows := float64(total) / (1 << 40); rows < totalTokens-0.01 || rows > totalTokens+0.01 {
		t.Errorf("%s: the sums of layer 1, head 2 add up to %g, want the number of queries, %d", what, rows, totalTokens)
	}
}

// pieces runs the test's tokens in three passes. between is called before each pass after
// the first one.
func pieces(t *testing.T, s Sequence, p Pass, between func(lo int)) {
	t.Helper()
	tokens := totalIDs()
	for _, part := range [][2]int{{0, 60}, {60, 104}, {104, totalTokens}} {
		if part[0] > 0 && between != nil {
			between(part[0])
		}
		if err := s.Forward(context.Background(), tokens[part[0]:part[1]], p); err != nil {
			t.Fatal(err)
		}
	}
}

func totalIDs() []int32 {
	tokens := make([]int32, totalTokens)
	for i := range tokens {
		tokens[i] = int32(i * 11 % testSizes.Vocab)
	}
	return tokens
}

// TestTotalsCrossOnceOnCard: sums over all queries and pictures of the map stay on the card
// while a prompt is read in several passes. They cross in one copy per layer, and are equal
// to the bit to those that the host gathers pass by pass.
func TestTotalsCrossOnceOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	run := func(until int) (o *totalsOf, copies int, bytes int64) {
		o = &totalsOf{}
		s := c.NewSequence()
		defer s.Close()
		if c.ring != nil {
			copies, bytes = c.ring.copies, c.ring.sent
		}
		pieces(t, s, o.pass(until), nil)
		return o, c.ring.copies - copies, c.ring.sent - bytes
	}
	once, copies, bytes := run(totalTokens)
	if want := 2 * testSizes.Layers; copies != want {
		t.Errorf("%d copies to the host, want %d: sums and a picture of each layer", copies, want)
	}
	if want := int64(testSizes.Layers * 3 * (8*totalTokens + 4*totalSide*totalSide)); bytes != want {
		t.Errorf("%d bytes crossed to the host, want %d", bytes, want)
	}
	parts, _, more := run(0)
	if more <= bytes || parts.calls != 3*once.calls {
		t.Errorf("pass by pass: %d bytes in %d calls, beside %d in %d", more, parts.calls, bytes, once.calls)
	}
	once.same(t, "up to the end", parts)
}

// TestTotalsOfInterruptedPromptsOnCard: totals survive passes that record nothing and a
// cache that is computed anew. A prompt that is read again from an earlier position, or
// after a failed pass, begins with zeros; the memory comes back.
func TestTotalsOfInterruptedPromptsOnCard(t *testing.T) {
	c := smallCard(t, "f32")
	used := func() (n int64) {
		_ = c.t.do(func() error { n = c.pool.used; return nil })
		return n
	}
	tokens := totalIDs()
	s := c.NewSequence()
	defer s.Close()
	pieces(t, s, (&totalsOf{}).pass(0), nil)
	full := used()
	again := func(what string, before func(s Sequence), between func(s Sequence, lo int)) {
		run := func(until int) *totalsOf {
			s := c.NewSequence()
			defer s.Close()
			before(s)
			o := &totalsOf{}
			pieces(t, s, o.pass(until), func(lo int) { between(s, lo) })
			return o
		}
		run(totalTokens).same(t, what, run(0))
		if now := used(); now != full {
			t.Errorf("%s: %d bytes in use afterwards, %d before", what, now, full)
		}
	}
	nothing := func(Sequence, int) {}
	begun := func(s Sequence) {
		if err := s.Forward(context.Background(), tokens[:70], (&totalsOf{}).pass(totalTokens)); err != nil {
			t.Fatal(err)
		}
	}
	again("another prompt", func(s Sequence) { begun(s); s.Truncate(0) }, nothing)
	again("a failed pass", func(s Sequence) {
		begun(s)
		ctx, stop := context.WithCancel(context.Background())
		stop()
		if err := s.Forward(ctx, tokens[70:], (&totalsOf{}).pass(totalTokens)); err == nil {
			t.Error("a cancelled pass went on")
		}
		if err := s.Forward(context.Background(), tokens[70:], Pass{LogitsFrom: 80}); err != nil {
			t.Error(err)
		}
		s.Truncate(0)
	}, nothing)
	again("a cache computed anew", func(Sequence) {}, func(s Sequence, lo int) {
		s.Truncate(0)
		if err := s.Forward(context.Background(), tokens[:lo], Pass{LogitsFrom: lo}); err != nil {
			t.Error(err)
		}
	})
	left := c.NewSequence() // closed before its sums are complete
	begun(left)
	err := left.Forward(context.Background(), tokens[70:80], (&totalsOf{}).pass(140))
	if says := "sums over the queries before position 150 are not complete"; err == nil || !strings.Contains(err.Error(), says) {
		t.Errorf("another recording in the middle: %v, want %q", err, says)
	}
	left.Close()
	left = c.NewSequence()
	begun(left)
	left.Close()
	if now := used(); now != full {
		t.Errorf("%d bytes in use after closing, %d before", now, full)
	}
}
