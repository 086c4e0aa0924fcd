package cpu

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
)

// stepSlots is how many slots of a store one task of a decoding step takes.
// It decides the order of sums, so it must not depend on the number of threads.
const stepSlots = 512

// step is the attention of one query at position pos. The heads of a group go
// through their keys and values together, in parts that are normalised apart and
// joined at the end, so that the cache is read once, by all threads.
func (a *Attention) step(p *Pool, kv *KV, out, q []float32, pos int, visit func(worker int, t *Tile)) {
	group, stores := a.Heads/len(kv.heads), len(kv.heads)
	longest := kv.maxSlots()
	parts, stride := (longest+stepSlots-1)/stepSlots, rowStride(longest)
	// For each head its scores; for each head and part the sum over the values,
	// the largest score and the sum of exponentials.
	width := a.ValueDim + 2
	buf := room(&p.step, a.Heads*(stride+parts*width+a.KeyDim))
	scores, partial, qs := buf[:a.Heads*stride], buf[a.Heads*stride:][:a.Heads*parts*width], buf[a.Heads*(stride+parts*width):]
	for i, v := range q {
		qs[i] = v * a.Scale
	}
	p.Run(stores*parts, func(task, _ int) {
		g, part := task%stores, task/stores
		s := &kv.heads[g]
		lo, hi := part*stepSlots, min(s.n, (part+1)*stepSlots)
		first := 0
		if a.Window > 0 {
			first = s.slotFrom(max(0, pos-a.Window+1))
		}
		h0 := g * group
		w := scores[h0*stride:]
		if hi <= max(lo, first) { // nothing to see here
			for r := range group {
				partial[((h0+r)*parts+part)*width+a.ValueDim] = float32(math.Inf(-1))
				clear(w[r*stride+min(lo, s.n) : r*stride+hi])
			}
			return
		}
		for j := lo; j < hi; j += simd.Width {
			at := j * a.KeyDim
			simd.MulPanel(w[j:], stride, qs[h0*a.KeyDim:], a.KeyDim, s.keys[at:at+a.KeyDim*simd.Width], group, simd.Width, a.KeyDim, false)
		}
		from := max(lo, first)
		for r := range group {
			row := w[r*stride : r*stride+hi]
			clear(row[lo:from])
			x, into := row[from:], partial[((h0+r)*parts+part)*width:]
			a.cap(x)
			into[a.ValueDim] = simd.Max(x)
			into[a.ValueDim+1] = simd.ExpSum(x, into[a.ValueDim])
		}
		for d := 0; d < a.ValueDim; d += simd.Width {
			at := (d/simd.Width*s.room + lo) * simd.Width
			simd.MulPanel(partial[(h0*parts+part)*width+d:], parts*width, w[lo:], stride, s.values[at:at+(hi-lo)*simd.Width],
				group, min(simd.Width, a.ValueDim-d), hi-lo, false)
		}
	})
	join := func(h, worker int) {
		s := &kv.heads[h/group]
		sums := partial[h*parts*width : (h+1)*parts*width]
		top, total := float32(math.Inf(-1)), float32(0)
		for at := a.ValueDim; at < len(sums); at += width {
			top = max(top, sums[at])
		}
		o := out[h*a.ValueDim : (h+1)*a.ValueDim]
		clear(o)
		for part := range parts {
			x := sums[part*width : (part+1)*width]
			if math.IsInf(float64(x[a.ValueDim]), -1) {
				continue
			}
			factor := float32(math.Exp(float64(x[a.ValueDim] - top)))
			total += x[a.ValueDim+1] * factor
			simd.AddScaled(o, x, factor)
			x[a.ValueDim] = factor
		}
		simd.Scale(o, 1/total)
		if visit == nil {
			return
		}
		w := scores[h*stride : h*stride+s.n]
		for part := range parts {
			if lo := part * stepSlots; lo < s.n {
				simd.Scale(w[lo:min(s.n, lo+stepSlots)], max(0, sums[part*width+a.ValueDim])/total)
			}
		}
		lse := []float32{top + float32(math.Log(float64(total)))}
		visit(worker, &Tile{Head: h, Rows: 1, Pos0: pos, Keys: s.n, Stride: stride, Weights: w, LSE: lse})
	}
	if visit == nil {
		for h := range a.Heads {
			join(h, 0)
		}
		return
	}
	p.Run(a.Heads, join)
}
