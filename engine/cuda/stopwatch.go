//go:build cuda

package cuda

import "gorgonia.org/cu"

// stopwatch measures the card's time by kind of work, with events in the compute stream. A
// nil stopwatch does nothing.
type stopwatch struct {
	t     *thread
	marks []mark
}

type mark struct {
	kind  string // kind of the work that follows the event; empty: none
	event cu.Event
}

func (w *stopwatch) mark(kind string) {
	if w == nil || len(w.marks) > 0 && w.marks[len(w.marks)-1].kind == kind {
		return
	}
	e, err := cu.MakeEvent(cu.DefaultEvent)
	if err == nil && e.Record(w.t.compute) == nil {
		w.marks = append(w.marks, mark{kind, e})
	}
}

// Spent is the card's time for one kind of work.
type Spent struct {
	Milliseconds float64
	Times        int // number of uninterrupted pieces; of a kernel, its launches
}

// read returns the time of each kind of work since the last reading.
func (w *stopwatch) read() (map[string]Spent, error) {
	out := map[string]Spent{}
	if err := w.t.compute.Synchronize(); err != nil {
		return nil, call("cuStreamSynchronize", err)
	}
	for i := range w.marks {
		if m := &w.marks[i]; m.kind != "" && i+1 < len(w.marks) {
			ms, err := m.event.Elapsed(w.marks[i+1].event)
			if err != nil {
				return nil, call("cuEventElapsedTime", err)
			}
			s := out[m.kind]
			out[m.kind] = Spent{s.Milliseconds + ms, s.Times + 1}
		}
	}
	for i := range w.marks {
		_ = cu.DestroyEvent(&w.marks[i].event)
	}
	w.marks = nil
	return out, nil
}
