//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/sizes"
)

// recording holds the data that a pass records. Sums are computed on the card and
// handed over once they are complete; rows are handed over as they are computed.
type recording struct {
	s     *sequence
	p     *Pass
	pos0  int // of the pass
	end   int
	ring  *ring
	want  []Record
	fixed block // sums of whole windows, before they are rounded; empty: all sums are sent in parts
}

// wanted specifies what is recorded for a layer's chunk.
type wanted struct{ rows, lse, sums bool }

// record prepares the recording of a pass of n tokens. It returns nil if nothing is
// recorded.
func (s *sequence) record(p *Pass, n int) (*recording, error) {
	if p.Record == nil {
		return nil, nil
	}
	c, d := s.c, s.c.d
	r := &recording{s: s, p: p, pos0: s.len, end: s.len + n, want: make([]Record, d.Layers)}
	some, side, keys, rounded := false, 0, r.end, false
	err := func() error {
		for i := range r.want {
			w := p.Record(i, r.pos0, n)
			r.want[i] = w
			side = max(side, w.Side)
			rounded = rounded || w.SumBits > 0 && w.Windows > 0
			some = some || w.sums() || min(w.Rows, w.LSE, w.States) < r.end
			if w.sums() && s.layers[i].compressed() {
				return fmt.Errorf("sums over the queries of a compressed cache are not supported")
			}
			if err := r.beginTotals(i); err != nil {
				return err
			}
			if r.asksTotals(i) {
				keys = max(keys, s.totals[i].keys)
			}
		}
		if !some {
			return nil
		}
		least := max(8*int64(keys), 4*int64(d.Heads*d.HeadDim), 4*int64(side*side), minSlotBytes)
		var err error
		r.ring, err = c.recordRing(max(least, d.Sizes.slotBytes(max(keys, maxKeys(s.layers)+n))), least)
		var small *MemoryError
		if err == nil && rounded {
			r.fixed, err = c.pool.get(r.ring.bytes, "sums of query windows")
		}
		if r.ring != nil && errors.As(err, &small) {
			return nil // then all sums are sent in parts
		}
		return err
	}()
	if err != nil {
		r.giveBack(true)
		return nil, hinted(err, "record less: --layers, --heads, --prompt-windows 0; or use --device cpu")
	}
	if !some {
		return nil, nil
	}
	return r, nil
}

func maxKeys(layers []kvLayer) int {
	n := 0
	for i := range layers {
		n = max(n, layers[i].keys)
	}
	return n
}

func hinted(err error, hint string) error {
	if small, ok := err.(*MemoryError); ok {
		small.hint = hint
	}
	return err
}

// sums reports whether weights are summed or pooled over queries.
func (w *Record) sums() bool { return w.Sums || w.Side > 0 || w.Windows > 0 && w.WindowSize > 0 }

// windows returns the positions of the pass that belong to query windows: first to last-1.
func (w *Record) windows(pos0, end int) (first, last int) {
	if w.Windows < 1 || w.WindowSize < 1 {
		return end, end
	}
	return min(end, max(pos0, w.WindowStart)), min(end, w.WindowStart+w.Windows*w.WindowSize)
}

// heads returns the query heads that a layer records: their list on the card, or 0 if
// the list has not been copied there yet, and their number.
func (r *recording) heads(i int) (list address, n int) {
	w := &r.want[i]
	if w.Heads == nil {
		return r.s.c.allHeads, r.s.c.d.Heads
	}
	return 0, len(w.Heads)
}

// head returns the number of a recorded head.
func (r *recording) head(i, at int) int {
	if h := r.want[i].Heads; h != nil {
		return h[at]
	}
	return at
}

// list returns the list of recorded heads on the card, and their number.
func (r *recording) list(i int) (address, int, error) {
	list, n := r.heads(i)
	if list != 0 {
		return list, n, nil
	}
	list, err := r.s.c.headList(r.want[i].Heads)
	return list, n, err
}

// of returns what to record for positions pos0 to pos0+n-1 of a layer.
func (r *recording) of(i, pos0, n int) wanted {
	if r == nil {
		return wanted{}
	}
	w := &r.want[i]
	end := pos0 + n
	_, listed := r.heads(i)
	first, last := w.windows(pos0, end)
	return wanted{rows: w.Rows < end && listed > 0, lse: w.LSE < end, sums: (w.Sums || w.Side > 0 || first < last) && listed > 0}
}

// sums adds up the chunk's weights and sends the sums of query windows.
func (r *recording) sums(i int, a attention) error {
	w := &r.want[i]
	list, listed, err := r.list(i)
	if err != nil {
		return err
	}
	o := attentionSumsOut{Side: w.Side, Prompt: w.Prompt, List: list, Listed: listed}
	if r.asksTotals(i) {
		t := &r.s.totals[i]
		o.Total, o.LdTotal, o.Cells = t.sums.at, t.keys, t.cells.at
	}
	end := a.Pos0 + a.N
	first, last := w.windows(a.Pos0, end)
	for at := a.Pos0; at < end; {
		o.Row0 = at - a.Pos0
		if at < first || at >= last {
			to := end
			if at < first {
				to = min(end, first)
			}
			o.Rows = to - at
			if w.Sums || w.Side > 0 {
				if err := r.s.c.l.attendSums(a, o); err != nil {
					return err
				}
			}
			at = to
			continue
		}
		to, err := r.windows(i, a, o, at, min(end, last))
		if err != nil {
			return err
		}
		at = to
	}
	if w.Windows > 0 && r.p.Done != nil {
		r.ring.then(func() { r.p.Done(i, end) })
	}
	return r.ring.poll()
}

// windows adds up the rows from position at on, for as many query windows as a slot holds,
// and returns the position after them.
func (r *recording) windows(i int, a attention, o attentionSumsOut, at, end int) (int, error) {
	c, w := r.s.c, &r.want[i]
	window := (at - w.WindowStart) / w.WindowSize
	keys := a.Pos0 + a.N
	count := (end-1-w.WindowStart)/w.WindowSize - window + 1
	whole := false
	if w.SumBits > 0 && r.fixed.bytes > 0 { // the windows that are complete in this pass, or one incomplete window
		inside := (end - at) / w.WindowSize
		whole = inside > 0 && at == w.WindowStart+window*w.WindowSize
		if count = 1; whole {
			count = inside
		}
	}
	count = min(count, max(1, int(r.ring.bytes/8)/(o.Listed*keys)))
	heads := min(o.Listed, max(1, int(r.ring.bytes/8)/(count*keys)))
	to := min(end, w.WindowStart+(window+count)*w.WindowSize)
	for h0 := 0; h0 < o.Listed; h0 += heads {
		n := min(heads, o.Listed-h0)
		slot, err := r.ring.take()
		if err != nil {
			return 0, err
		}
		part := o
		if o.Total != 0 {
			part.Total += address(8 * h0 * o.LdTotal)
		}
		if o.Cells != 0 {
			part.Cells += address(4 * h0 * o.Side * o.Side)
		}
		part.List, part.Listed, part.Rows = o.List+address(4*h0), n, to-at
		part.Windows, part.LdWindow, part.WinCount = slot.dev.at, keys, count
		part.WinStart, part.WinSize = w.WindowStart+window*w.WindowSize, w.WindowSize
		bytes := int64(8 * n * count * keys)
		if whole {
			part.Windows = r.fixed.at
		}
		err = inOrder(
			func() error { return call("cuMemsetD8Async", cu.MemsetD8Async(part.Windows, 0, bytes, c.t.compute)) },
			func() error { return c.l.attendSums(a, part) },
			func() error {
				if !whole {
					return nil
				}
				bytes /= 2
				return c.l.fixedToFloat(slot.dev.at, r.fixed.at, n*count*keys, w.SumBits)
			},
		)
		if err != nil {
			r.ring.free <- slot
			return 0, err
		}
		err = r.ring.send(slot, slot.dev.at, bytes, func() {
			parallel.For(n, func(h int) {
				for k := range count {
					if whole {
						sums := slot.host.floats(int64(4*(h*count+k)*keys), part.WinStart+(k+1)*w.WindowSize)
						r.p.Whole(i, r.head(i, h0+h), window+k, sums)
						continue
					}
					sums := slot.host.longs(int64(8*(h*count+k)*keys), min(keys, part.WinStart+(k+1)*w.WindowSize))
					r.p.Sums(i, r.head(i, h0+h), window+k, sums)
				}
			})
		})
		if err != nil {
			return 0, err
		}
	}
	return to, nil
}

// rowShape returns how recorded rows of a layer are stored in a slot: bytes per element and
// elements per row.
func (r *recording) rowShape(i, keys int) (size, ld int) {
	size, ld = 4, (keys+3)/4*4
	if r.want[i].Halves != nil {
		size = 2
	}
	return size, ld
}

// fits reports whether a slot holds n rows of all heads, each with its log-sum-exp.
func (r *recording) fits(i, n, keys int) bool {
	size, ld := r.rowShape(i, keys)
	return int64(r.s.c.d.Heads*n)*int64(size*ld+4) <= r.ring.bytes
}

// show makes shown refer to n rows in a slot, from a byte offset on.
func (r *recording) show(i int, shown *Rows, s *slot, offset int64, n int) {
	if r.want[i].Halves != nil {
		shown.Halves = s.host.halves(offset, n*shown.Stride)
	} else {
		shown.Weights = s.host.floats(offset, n*shown.Stride)
	}
}

// rows sends the chunk's recorded rows, with as many heads and rows at a time as a slot
// holds.
func (r *recording) rows(i int, a attention) error {
	c, w := r.s.c, &r.want[i]
	list, listed, err := r.list(i)
	if err != nil {
		return err
	}
	drop, err := c.rounding(w.Halves)
	if err != nil {
		return err
	}
	row0 := max(0, w.Rows-a.Pos0)
	total := a.N - row0
	size, ld := r.rowShape(i, a.Keys)
	per := int(r.ring.bytes) / (size*ld + 4) // rows of weights, each with its log-sum-exp
	if per < 1 {
		return fmt.Errorf("a row of %d keys does not fit in a slot of %s", a.Keys, sizes.Text(r.ring.bytes))
	}
	rows := min(total, per)
	heads := min(listed, max(1, per/rows))
	for h0 := 0; h0 < listed; h0 += heads {
		for at := row0; at < a.N; at += rows {
			h, n := min(heads, listed-h0), min(rows, a.N-at)
			slot, err := r.ring.take()
			if err != nil {
				return err
			}
			weights := int64(size * h * n * ld)
			out := attentionRowsOut{W: slot.dev.at, LdHead: n, Ld: ld, Drop: drop, List: list + address(4*h0), Listed: h, Row0: at, Rows: n, Width: ld}
			err = c.l.attendRows(a, out)
			for k := 0; k < h && err == nil && a.LSE != 0; k++ {
				from := a.LSE + address(4*(r.head(i, h0+k)*a.N+at))
				err = call("cuMemcpyDtoDAsync", cu.MemcpyDtoDAsync(slot.dev.off(weights+int64(4*k*n)), from, int64(4*n), c.t.compute))
			}
			if err != nil {
				r.ring.free <- slot
				return err
			}
			sent := weights
			if a.LSE != 0 {
				sent += int64(4 * h * n)
			}
			err = r.ring.send(slot, slot.dev.at, sent, func() {
				parallel.For(h, func(k int) {
					shown := Rows{Head: r.head(i, h0+k), Pos0: a.Pos0 + at, Rows: n, Keys: min(a.Keys, a.Pos0+at+n), Stride: ld}
					r.show(i, &shown, slot, int64(size*k*n*ld), n)
					if a.LSE != 0 {
						shown.LSE = slot.host.floats(weights+int64(4*k*n), n)
					}
					r.p.Rows(i, &shown)
				})
			})
			if err != nil {
				return err
			}
		}
	}
	return r.ring.poll()
}

// tokenBytes returns the largest part of a slot that a token takes in a layer. ok is false if
// it leaves more than rows, log-sum-exps and queries. Nothing is recorded if r is nil.
func (r *recording) tokenBytes() (n int64, ok bool) {
	if r == nil {
		return 0, true
	}
	d := r.s.c.d
	for i := range r.want {
		want := r.of(i, r.pos0, 1)
		if want.sums {
			return 0, false
		}
		var bytes int64
		if want.rows || want.lse {
			bytes = portionBytes(r.decodedBytes(i, r.s.layers[i].keys+1, 1, want))
		}
		if r.want[i].States < r.end {
			bytes += portionBytes(int64(4 * d.Heads * d.HeadDim))
		}
		n = max(n, bytes)
	}
	return n, true
}

// decodedBytes returns the bytes of the rows and log-sum-exps of all heads that n queries
// leave.
func (r *recording) decodedBytes(i, keys, n int, want wanted) int64 {
	per := 4 * b2i(want.lse)
	if want.rows {
		size, ld := r.rowShape(i, keys)
		per += int64(size * ld)
	}
	return int64(r.s.c.d.Heads*n) * per
}

// decode computes the attention of few queries and sends their rows and log-sum-exps.
func (r *recording) decode(i int, a decode, want wanted) error {
	w := &r.want[i]
	p, err := r.ring.portion(r.decodedBytes(i, a.Keys, a.N, want))
	if err != nil {
		return err
	}
	var size, ld int
	from, listed := w.LSE, a.Heads
	if want.rows {
		size, ld = r.rowShape(i, a.Keys)
		from = w.Rows
		_, listed = r.heads(i)
		a.W, a.LdW = p.dev(), ld
		a.Drop, err = r.s.c.rounding(w.Halves)
	}
	weights := int64(size * a.Heads * a.N * ld)
	if want.lse {
		a.LSE = p.dev() + address(weights)
	}
	if err == nil {
		err = r.s.c.l.decode(a)
	}
	if err != nil {
		r.ring.giveBack(p)
		return err
	}
	row0 := max(0, from-a.Pos0)
	n := a.N - row0
	return r.ring.deliver(p, func() {
		parallel.For(listed, func(k int) {
			h := k
			if want.rows {
				h = r.head(i, k)
			}
			rows := Rows{Head: h, Pos0: a.Pos0 + row0, Rows: n, Keys: min(a.Keys, a.Pos0+a.N), Stride: ld}
			if want.rows {
				r.show(i, &rows, p.slot, p.at+int64(size*(h*a.N+row0)*ld), n)
			}
			if want.lse {
				rows.LSE = p.slot.host.floats(p.at+weights+int64(4*(h*a.N+row0)), n)
			}
			r.p.Rows(i, &rows)
		})
	})
}

// lse sends the log-sum-exps of all heads.
func (r *recording) lse(i int, a attention) error {
	d, end := r.s.c.d, a.Pos0+a.N
	from := max(0, r.want[i].LSE-a.Pos0)
	heads := min(d.Heads, int(r.ring.bytes/4)/a.N)
	for h0 := 0; h0 < d.Heads; h0 += heads {
		h := min(heads, d.Heads-h0)
		err := r.copied(a.LSE+address(4*h0*a.N), int64(4*h*a.N), func(host pinned) {
			for k := range h {
				r.p.Rows(i, &Rows{
					Head: h0 + k, Pos0: a.Pos0 + from, Rows: a.N - from, Keys: end,
					LSE: host.floats(int64(4*(k*a.N+from)), a.N-from),
				})
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// queries sends the queries that are wanted.
func (r *recording) queries(i int, a attention) error {
	if r == nil {
		return nil
	}
	c, d := r.s.c, r.s.c.d
	nq := d.Heads * d.HeadDim
	step := int(r.ring.bytes/4) / nq
	for at := max(0, r.want[i].States-a.Pos0); at < a.N; at += step {
		n := min(step, a.N-at)
		p, err := r.ring.portion(int64(4 * n * nq))
		if err != nil {
			return err
		}
		q := a.Q + address(int64(at*nq)*c.dt.bytes())
		if err := c.l.dequant(p.dev(), f32, q, ownType[c.dt], int64(n*nq)); err != nil {
			r.ring.giveBack(p)
			return err
		}
		err = r.ring.deliver(p, func() {
			r.p.States(i, a.Pos0+at, n, p.slot.host.floats(p.at, n*nq), nil, nil)
		})
		if err != nil {
			return err
		}
	}
	return r.ring.poll()
}

// copied copies n bytes, which later work may overwrite, to a slot and sends it.
func (r *recording) copied(src address, n int64, show func(host pinned)) error {
	slot, err := r.ring.take()
	if err != nil {
		return err
	}
	if err := cu.MemcpyDtoDAsync(slot.dev.at, src, n, r.s.c.t.compute); err != nil {
		r.ring.free <- slot
		return call("cuMemcpyDtoDAsync", err)
	}
	return r.ring.send(slot, slot.dev.at, n, func() { show(slot.host) })
}

// finish sends the sums over all queries that are complete, or nothing after a failure,
// and waits until everything is delivered.
func (r *recording) finish(failed error) error {
	if r == nil {
		return failed
	}
	if failed == nil {
		failed = r.finishTotals()
	}
	if err := r.ring.drain(failed != nil); failed == nil {
		failed = err
	}
	r.giveBack(failed != nil)
	return failed
}

func (r *recording) giveBack(failed bool) {
	r.s.c.pool.put(r.fixed)
	r.giveBackTotals(failed)
}

// longs returns n 64-bit numbers from a byte offset.
func (p pinned) longs(offset int64, n int) []int64 {
	if offset+8*int64(n) > p.bytes {
		panic("cuda: past the end of pinned memory")
	}
	return unsafe.Slice((*int64)(unsafe.Add(p.at, offset)), n)
}
