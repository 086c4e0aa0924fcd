package cpu

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// stepSlots is the number of slots of a store that one task of a decoding step
// processes. It determines the order of sums, so it must not depend on the number of
// threads.
const stepSlots = 512

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
	partial []float32
	scaled  Mat // the query of each head, times Scale
}

// step computes the attention of a pass of one row.
func (a *Attention) step(p *Pool, kv *KV, q Queries) {
	if q.VisitFrom > 0 {
		q.Visit = nil
	}
	longest := kv.maxSlots()
	s := step{
		Attention: a, kv: kv, q: q,
		group:  a.Heads / len(kv.heads),
		parts:  (longest + stepSlots - 1) / stepSlots,
		width:  a.ValueDim + 2,
		stride: rowStride(longest),
	}
	partial := s.parts * s.width // per head
	buf := resize(&p.stepBuf, a.Heads*(s.stride+partial+a.KeyDim))
	s.scores = buf[:a.Heads*s.stride]
	s.partial = buf[a.Heads*s.stride:][:a.Heads*partial]
	s.scaled = Dense(buf[a.Heads*(s.stride+partial):], a.Heads, a.KeyDim)
	for i, v := range q.Q {
		s.scaled.Data[i] = v * a.Scale
	}
	stores := len(kv.heads)
	p.Run(stores*s.parts, func(task, _ int) { s.part(task%stores, task/stores) })
	if q.Visit == nil {
		for h := range a.Heads {
			s.join(h, 0)
		}
		return
	}
	p.Run(a.Heads, s.join)
}

// part computes one part of a store for the heads that read it.
func (s *step) part(store, part int) {
	kv := &s.kv.heads[store]
	lo := part * stepSlots
	hi := min(kv.n, lo+stepSlots)
	first := 0
	if s.Window > 0 {
		first = kv.slotFrom(max(0, s.q.Pos0-s.Window+1))
	}
	h0 := store * s.group
	w := Mat{Data: s.scores[h0*s.stride:], Rows: s.group, Cols: s.stride, Stride: s.stride}
	partial := Mat{
		Data: s.partial[(h0*s.parts+part)*s.width:],
		Rows: s.group, Cols: s.width, Stride: s.parts * s.width,
	}
	if hi <= max(lo, first) { // the window sees no slot of this part
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
		s.capScores(x)
		into[s.ValueDim] = simd.Max(x)
		into[s.ValueDim+1] = simd.ExpSum(x, into[s.ValueDim])
	}
	for d := 0; d < s.ValueDim; d += simd.Width {
		at := (d/simd.Width*kv.room + lo) * simd.Width
		out := partial.Sub(0, d, s.group, min(simd.Width, s.ValueDim-d))
		simd.MulPanel(out, w.Sub(0, lo, s.group, hi-lo), kv.values[at:at+(hi-lo)*simd.Width], false)
	}
}

// join adds up the parts of head h, normalizes them and shows the weights.
func (s *step) join(h, worker int) {
	sums := s.partial[h*s.parts*s.width : (h+1)*s.parts*s.width]
	top := float32(math.Inf(-1))
	for at := s.ValueDim; at < len(sums); at += s.width {
		top = max(top, sums[at])
	}
	total := float32(0)
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
	s.q.Visit(worker, &Tile{
		Head: h, Rows: 1, Pos0: s.q.Pos0,
		Keys: slots, Stride: s.stride, Weights: w,
		LSE: []float32{top + float32(math.Log(float64(total)))},
	})
}
