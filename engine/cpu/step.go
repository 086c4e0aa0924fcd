package cpu

import (
	"math"
	"runtime"
	"sync/atomic"

	"github.com/attnscope/attnscope/internal/simd"
)

// stepSlots is the number of slots of a store that one task of a decoding step
// processes. It determines the order of sums, so it must not depend on the number of
// threads.
const stepSlots = 512

// Step is the next row of a sequence, which attends to the sequence's own store.
type Step struct {
	KV      *KV
	Queries Queries // of one row
}

// RunSteps computes the attention of the next row of each sequence, in one job for all
// of them. Each output, and each tile that Visit receives, has the bits that Run would
// give it.
func (a *Attention) RunSteps(p *Pool, list []Step) {
	defer runtime.KeepAlive(list)
	steps := make([]step, len(list))
	floats := 0
	stores := 0
	shown := false
	for i := range list {
		s := &steps[i]
		*s = a.newStep(list[i])
		floats += s.floats()
		stores += len(s.kv.heads)
		shown = shown || s.q.Visit != nil
	}
	buf := resize(&p.stepBuf, floats)
	unfinished := make([]atomic.Int32, stores)
	tasks := 0
	for i := range steps {
		s := &steps[i]
		n := len(s.kv.heads)
		s.use(buf[:s.floats()], unfinished[:n])
		buf = buf[s.floats():]
		unfinished = unfinished[n:]
		tasks += s.tasks()
	}
	// The task that finishes a store joins its heads. If there are fewer stores than
	// threads, and rows are shown, which takes time, heads are joined in a second job.
	apart := shown && stores < p.threads
	p.Run(tasks, func(task, worker int) {
		i := 0
		for ; task >= steps[i].tasks(); i++ {
			task -= steps[i].tasks()
		}
		s := &steps[i]
		store := task % len(s.kv.heads)
		s.part(store, task/len(s.kv.heads), p.Scratch(worker))
		if s.unfinished[store].Add(-1) > 0 || apart {
			return
		}
		for h := store * s.group; h < (store+1)*s.group; h++ {
			s.join(h, worker)
		}
	})
	if apart {
		p.Run(len(steps)*a.Heads, func(task, worker int) {
			steps[task/a.Heads].join(task%a.Heads, worker)
		})
	}
}

// step is the attention of one query. Each store's slots are split into parts of
// stepSlots. A task computes one part for all heads of a group, so that the cache is
// read once; the parts are normalized separately and joined at the end.
type step struct {
	*Attention
	kv     *KV
	q      Queries
	group  int       // query heads per store
	parts  int       // parts of the longest store
	width  int       // floats of a partial result
	stride int       // between the scores of two heads
	scores []float32 // [Heads][stride], exponentials relative to their part's largest score
	// partial holds, for each head and part, the weighted sum of the values [ValueDim],
	// the largest score and the sum of the exponentials.
	partial    []float32
	scaled     Mat            // the query of each head, times Scale
	unfinished []atomic.Int32 // parts of each store that are not finished
}

// newStep returns a step without buffers.
func (a *Attention) newStep(of Step) step {
	if of.Queries.VisitFrom > 0 {
		of.Queries.Visit = nil
	}
	longest := of.KV.maxSlots()
	return step{
		Attention: a, kv: of.KV, q: of.Queries,
		group:  a.Heads / len(of.KV.heads),
		parts:  (longest + stepSlots - 1) / stepSlots,
		width:  a.ValueDim + 2,
		stride: rowStride(longest),
	}
}

// tasks returns the number of parts of all stores.
func (s *step) tasks() int { return len(s.kv.heads) * s.parts }

// floats returns the size of the buffer of a step.
func (s *step) floats() int { return s.Heads * (s.stride + s.parts*s.width + s.KeyDim) }

// use gives a step its buffers, and scales the query.
func (s *step) use(buf []float32, unfinished []atomic.Int32) {
	partial := s.parts * s.width // per head
	s.scores = buf[:s.Heads*s.stride]
	s.partial = buf[s.Heads*s.stride:][:s.Heads*partial]
	s.scaled = Dense(buf[s.Heads*(s.stride+partial):], s.Heads, s.KeyDim)
	for i, v := range s.q.Q {
		s.scaled.Data[i] = v * s.Scale
	}
	s.unfinished = unfinished
	for i := range unfinished {
		unfinished[i].Store(int32(s.parts))
	}
}

// part computes one part of a store for the heads that read it.
func (s *step) part(store, part int, scratch *Scratch) {
	kv := &s.kv.heads[store]
	lo := part * stepSlots
	hi := min(kv.n, lo+stepSlots)
	first := kv.slotFrom(s.first(s.q.Pos0))
	h0 := store * s.group
	w := Mat{Data: s.scores[h0*s.stride:], Rows: s.group, Cols: s.stride, Stride: s.stride}
	partial := Mat{
		Data: s.partial[(h0*s.parts+part)*s.width:],
		Rows: s.group, Cols: s.width, Stride: s.parts * s.width,
	}
	if hi <= max(lo, first) { // the query sees no slot of this part
		for r := range s.group {
			partial.Data[r*partial.Stride+s.ValueDim] = float32(math.Inf(-1))
			clear(w.Data[r*s.stride+min(lo, kv.n) : r*s.stride+hi])
		}
		return
	}
	q := s.scaled.Sub(h0, 0, s.group, s.KeyDim)
	for j := lo; j < hi; j += simd.Width {
		at := j * s.KeyDim
		simd.MulPanel(w.Sub(0, j, s.group, simd.Width), q, kv.keys[at:at+s.KeyDim*simd.Width], false)
	}
	from := max(lo, first)
	for r := range s.group {
		row := w.Data[r*s.stride : r*s.stride+hi]
		clear(row[lo:from])
		x := row[from:]
		into := partial.Data[r*partial.Stride:]
		s.addBias(x, h0+r, kv, from)
		s.capScores(x)
		into[s.ValueDim] = simd.Max(x)
		into[s.ValueDim+1] = simd.ExpSum(x, into[s.ValueDim])
	}
	for d := 0; d < s.ValueDim; d += simd.Width {
		out := partial.Sub(0, d, s.group, min(simd.Width, s.ValueDim-d))
		values := s.kv.panelValues(kv, d/simd.Width, lo, hi, scratch)
		simd.MulPanel(out, w.Sub(0, lo, s.group, hi-lo), values, false)
	}
}

// join adds up the parts of head h, normalizes them and shows the weights.
func (s *step) join(h, worker int) {
	sums := s.partial[h*s.parts*s.width : (h+1)*s.parts*s.width]
	top := float32(math.Inf(-1))
	for at := s.ValueDim; at < len(sums); at += s.width {
		top = max(top, sums[at])
	}
	top = s.withSink(top, h)
	sink := s.sink(h, top)
	total := sink
	o := s.q.Out[h*s.ValueDim : (h+1)*s.ValueDim]
	clear(o)
	for part := range s.parts {
		x := sums[part*s.width : (part+1)*s.width]
		if math.IsInf(float64(x[s.ValueDim]), -1) {
			continue
		}
		factor := float32(math.Exp(float64(x[s.ValueDim] - top)))
		total += float32(x[s.ValueDim+1] * factor)
		simd.AddScaled(o, x, factor)
		x[s.ValueDim] = factor // of the weights below
	}
	simd.Scale(o, 1/total)
	if s.q.Visit == nil {
		return
	}
	slots := s.kv.heads[h/s.group].n
	w := s.scores[h*s.stride : h*s.stride+slots]
	for part := range s.parts {
		if lo := part * stepSlots; lo < slots {
			simd.Scale(w[lo:min(slots, lo+stepSlots)], max(0, sums[part*s.width+s.ValueDim])/total)
		}
	}
	visited := Tile{
		Head: h, Rows: 1, Pos0: s.q.Pos0,
		Keys: slots, Stride: s.stride, Weights: w,
		LSE: []float32{top + float32(math.Log(float64(total)))},
	}
	if s.Sinks != nil {
		visited.Sinks = []float32{sink / total}
	}
	s.q.Visit(worker, &visited)
}
