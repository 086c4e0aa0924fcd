//go:build cuda

package cuda

import (
	"errors"
	"fmt"
	"sync"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/internal/sizes"
)

// ring carries recorded data to the host while the card computes. Each slot is a
// staging buffer on the card and pinned memory of the same size. The card's thread
// fills a slot and continues; the copy runs in its own stream; one goroutine delivers
// what has arrived, in order. If all slots are in use, the card's thread waits, so that
// memory does not grow.
type ring struct {
	c       *card
	bytes   int64 // of a slot
	slots   []*slot
	free    chan *slot
	pending []delivery // copies that are running, oldest first
	work    chan delivery
	unshown sync.WaitGroup
	shared  *sharedSlot // nil: each portion has a slot of its own
	copies  int         // sent so far
	sent    int64       // their bytes
}

type slot struct {
	dev   block
	host  pinned
	made  cu.Event // the kernels that fill dev are done
	ready cu.Event // the copy is done
}

// delivery is a function to be called once a slot has arrived; slot may be nil.
type delivery struct {
	slot *slot
	show func()
}

// recordRing returns the ring, with slots of want bytes, or somewhat fewer if there is such a
// ring already: a reply that grows by a token at a time seldom needs a new one. If the memory
// is too small, slots have at least atLeast bytes. A ring never becomes smaller.
func (c *card) recordRing(want, atLeast int64) (*ring, error) {
	if c.ring != nil && c.ring.bytes >= max(want/4*3, atLeast) {
		return c.ring, nil
	}
	if c.ring != nil {
		atLeast = max(atLeast, c.ring.bytes)
		want = max(want, atLeast)
		c.ring.close()
		c.ring = nil
	}
	for bytes := want; ; bytes /= 2 {
		r, err := c.newRing(max(bytes, atLeast))
		var small *MemoryError
		if errors.As(err, &small) && bytes > atLeast {
			continue
		}
		if err != nil {
			return nil, err
		}
		c.ring = r
		return r, nil
	}
}

func (c *card) newRing(bytes int64) (*ring, error) {
	r := &ring{c: c, bytes: bytes, free: make(chan *slot, ringSlots), work: make(chan delivery, ringSlots)}
	for range ringSlots {
		s := &slot{}
		r.slots = append(r.slots, s)
		err := inOrder(
			func() (err error) { s.dev, err = c.pool.get(bytes, "recorded data"); return err },
			func() (err error) { s.host, err = allocPinned(bytes); return err },
			func() (err error) { s.made, err = cu.MakeEvent(cu.DisableTiming); return call("cuEventCreate", err) },
			func() (err error) { s.ready, err = cu.MakeEvent(cu.DisableTiming); return call("cuEventCreate", err) },
		)
		if outOfMemory(err) {
			err = fmt.Errorf("pinned host memory for recorded data (%s): %w", sizes.Text(ringSlots*bytes), err)
		}
		if err != nil {
			r.close()
			return nil, err
		}
		r.free <- s
	}
	go func() {
		for d := range r.work {
			d.show()
			if d.slot != nil {
				r.free <- d.slot
			}
			r.unshown.Done()
		}
	}()
	return r, nil
}

// take returns a free slot; it may have to wait for one.
func (r *ring) take() (*slot, error) {
	for {
		select {
		case s := <-r.free:
			return s, nil
		default:
		}
		if len(r.pending) == 0 {
			return <-r.free, nil
		}
		if err := r.pass(); err != nil {
			return nil, err
		}
	}
}

// pass waits for the oldest copy and passes it to the goroutine that delivers it.
func (r *ring) pass() error {
	d := r.pending[0]
	r.pending = r.pending[1:]
	if d.slot != nil {
		if err := d.slot.ready.Synchronize(); err != nil {
			r.free <- d.slot
			return call("cuEventSynchronize", err)
		}
	}
	r.unshown.Add(1)
	r.work <- d
	return nil
}

// sharedSlot is a slot that is filled with portions and then sent once.
type sharedSlot struct {
	slot  *slot
	used  int64
	shows []func()
}

// portion is a part of a slot.
type portion struct {
	slot      *slot
	at, bytes int64
}

// dev is the portion's address on the card.
func (p portion) dev() address { return p.slot.dev.off(p.at) }

// portionBytes is the part of a slot that a portion of n bytes takes.
func portionBytes(n int64) int64 { return (n + 255) / 256 * 256 }

// portion returns n bytes of the shared slot or, if there is none, of a slot of its own. It
// must be delivered or given back.
func (r *ring) portion(n int64) (portion, error) {
	if o := r.shared; o != nil {
		p := portion{o.slot, o.used, n}
		o.used += portionBytes(n)
		return p, nil
	}
	s, err := r.take()
	return portion{s, 0, n}, err
}

// deliver sends a portion that the work in the compute stream fills; show is called when it
// has arrived.
func (r *ring) deliver(p portion, show func()) error {
	if r.shared != nil {
		r.shared.shows = append(r.shared.shows, show)
		return nil
	}
	return r.send(p.slot, p.dev(), p.bytes, show)
}

// giveBack returns a portion that was not filled.
func (r *ring) giveBack(p portion) {
	if r.shared == nil {
		r.free <- p.slot
	}
}

// share runs f, whose portions lie in one slot, and sends that slot. r is nil if f needs none.
func (r *ring) share(f func() error) error {
	if r == nil {
		return f()
	}
	s, err := r.take()
	if err != nil {
		return err
	}
	o := &sharedSlot{slot: s}
	r.shared = o
	err = f()
	r.shared = nil
	if err != nil || o.used == 0 {
		r.free <- s
		return err
	}
	return r.send(s, s.dev.at, o.used, func() {
		for _, show := range o.shows {
			show()
		}
	})
}

// poll passes on the copies that have arrived, without waiting.
func (r *ring) poll() error {
	for len(r.pending) > 0 && len(r.work) < cap(r.work) {
		if s := r.pending[0].slot; s != nil && s.ready.Query() != nil {
			return nil
		}
		if err := r.pass(); err != nil {
			return err
		}
	}
	return nil
}

// send copies n bytes from src to the slot's host memory, after the work that is
// already in the compute stream. show is called when they have arrived.
func (r *ring) send(s *slot, src address, n int64, show func()) error {
	t := r.c.t
	err := inOrder(
		func() error { return call("cuEventRecord", s.made.Record(t.compute)) },
		func() error { return call("cuStreamWaitEvent", t.copies.Wait(s.made, 0)) },
		func() error { return call("cuMemcpyDtoHAsync", cu.MemcpyDtoHAsync(s.host.at, src, n, t.copies)) },
		func() error { return call("cuEventRecord", s.ready.Record(t.copies)) },
	)
	if err != nil {
		r.free <- s
		return err
	}
	r.pending = append(r.pending, delivery{s, show})
	r.copies++
	r.sent += n
	return nil
}

// then arranges that show is called after everything that was sent before.
func (r *ring) then(show func()) { r.pending = append(r.pending, delivery{nil, show}) }

// drain delivers everything that was sent or, after a failure, drops it. It returns
// when that is done.
func (r *ring) drain(failed bool) (err error) {
	for len(r.pending) > 0 {
		if failed {
			d := r.pending[0]
			r.pending = r.pending[1:]
			if d.slot != nil {
				_ = d.slot.ready.Synchronize()
				r.free <- d.slot
			}
			continue
		}
		if err = r.pass(); err != nil {
			failed = true
		}
	}
	r.unshown.Wait()
	return err
}

func (r *ring) close() {
	close(r.work)
	for _, s := range r.slots {
		r.c.pool.put(s.dev)
		s.host.free()
		for _, e := range []*cu.Event{&s.made, &s.ready} {
			if *e != (cu.Event{}) {
				_ = cu.DestroyEvent(e)
			}
		}
	}
}
