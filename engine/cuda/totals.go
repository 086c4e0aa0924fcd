//go:build cuda

package cuda

import (
	"fmt"
	"slices"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/internal/parallel"
)

// totals holds a layer's sums over all queries and its pooled picture while they are added
// up on the card. They stay there from pass to pass until they are complete.
type totals struct {
	sums         block // int64 [heads, keys]; empty: none
	cells        block // float32 [heads, side, side]; empty: none
	keys         int   // position at which they are complete
	next         int   // position after the last pass that added to them; 0: there are none
	heads        []int // nil: all
	side, prompt int   // of cells
}

// added returns the totals that a layer's record asks for in a pass that ends at position
// end, without their memory.
func (w *Record) added(end int) totals {
	t := totals{keys: max(w.Until, end), heads: w.Heads, side: w.Side}
	if w.Side > 0 {
		t.prompt = w.Prompt
	}
	return t
}

// like reports whether both have the same shape.
func (t *totals) like(o *totals) bool {
	return t.keys == o.keys && slices.Equal(t.heads, o.heads) && t.side == o.side && t.prompt == o.prompt
}

// asksTotals reports whether the pass adds to a layer's totals.
func (r *recording) asksTotals(i int) bool {
	_, listed := r.heads(i)
	return (r.want[i].Sums || r.want[i].Side > 0) && listed > 0
}

// beginTotals prepares a layer's totals: it continues those of earlier passes, or begins
// new ones.
func (r *recording) beginTotals(i int) error {
	if !r.asksTotals(i) {
		return nil
	}
	w, t := &r.want[i], &r.s.totals[i]
	want := w.added(r.end)
	if t.next > r.pos0 { // the sequence has been cut: its earlier recording was given up
		r.s.dropTotals(i)
	}
	if t.next > 0 {
		if !t.like(&want) || w.Sums != (t.sums.bytes > 0) {
			return fmt.Errorf("layer %d: sums over the queries before position %d are not complete: "+
				"record as the passes before did, up to that position", i, t.keys)
		}
		return nil
	}
	_, listed := r.heads(i)
	sums := b2i(w.Sums) * int64(listed) * int64(want.keys) * 8
	cells := int64(listed) * int64(w.Side) * int64(w.Side) * 4
	*t = want
	return inOrder(
		func() (err error) { t.sums, err = r.s.c.zeros(sums, "sums over queries"); return err },
		func() (err error) { t.cells, err = r.s.c.zeros(cells, "a picture of the map"); return err },
	)
}

// zeros returns n bytes that are zero, or an empty block if n is 0.
func (c *card) zeros(n int64, what string) (block, error) {
	if n == 0 {
		return block{}, nil
	}
	b, err := c.pool.get(n, what)
	if err != nil {
		return block{}, err
	}
	if err := cu.MemsetD8Async(b.at, 0, n, c.t.compute); err != nil {
		c.pool.put(b)
		return block{}, call("cuMemsetD8Async", err)
	}
	return b, nil
}

// sendTotals sends a layer's totals with as many heads at a time as a slot holds.
func (r *recording) sendTotals(i int) error {
	t := &r.s.totals[i]
	err := r.sendHeads(i, t.sums, 8*t.keys, func(host pinned, at, head int) {
		r.p.Sums(i, head, -1, host.longs(int64(8*at*t.keys), t.keys))
	})
	if err != nil {
		return err
	}
	cells := t.side * t.side
	return r.sendHeads(i, t.cells, 4*cells, func(host pinned, at, head int) {
		r.p.Cells(i, head, host.floats(int64(4*at*cells), cells))
	})
}

// sendHeads sends a block with a row of bytes for each recorded head of a layer. show
// receives the rows of a slot one by one: at is a row's place in the slot.
func (r *recording) sendHeads(i int, from block, bytes int, show func(host pinned, at, head int)) error {
	if from.bytes == 0 {
		return nil
	}
	_, listed := r.heads(i)
	step := min(listed, int(r.ring.bytes)/bytes)
	for h0 := 0; h0 < listed; h0 += step {
		n := min(step, listed-h0)
		err := r.copied(from.off(int64(h0*bytes)), int64(n*bytes), func(host pinned) {
			parallel.For(n, func(h int) { show(host, h, r.head(i, h0+h)) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// finishTotals sends the totals that are complete with this pass. The others wait for the
// passes that follow.
func (r *recording) finishTotals() error {
	for i := range r.want {
		if !r.asksTotals(i) {
			continue
		}
		t := &r.s.totals[i]
		t.next = r.end
		if t.next < t.keys {
			continue
		}
		if err := r.sendTotals(i); err != nil {
			return err
		}
	}
	return nil
}

// giveBackTotals returns the memory of the totals that have been sent or, after a failure,
// of all.
func (r *recording) giveBackTotals(failed bool) {
	for i := range r.s.totals {
		if t := &r.s.totals[i]; failed || t.next >= t.keys {
			r.s.dropTotals(i)
		}
	}
}

// dropTotals returns the memory of a layer's totals.
func (s *sequence) dropTotals(i int) {
	s.c.pool.put(s.totals[i].sums)
	s.c.pool.put(s.totals[i].cells)
	s.totals[i] = totals{}
}
