package cuda

// arena places buffers next to each other in one block.
type arena struct {
	places []*address
	at     []int64
	total  int64
}

// add plans n bytes, whose address will be in *place.
func (a *arena) add(place *address, n int64) {
	a.places = append(a.places, place)
	a.at = append(a.at, a.total)
	a.total += (n + 255) / 256 * 256
}

// terms is the number of bfloat16 numbers that a float32 is split into: their sum is the
// float32 exactly.
const terms = 3

// logitRows is the largest number of rows whose logits are computed together.
const logitRows = 32

// buffers holds the buffers of a chunk; f is float32, t the compute type.
type buffers struct {
	ids, x, h, qkv, q, attn, y   address // int32 [n]; f, t [n, hidden]; f [n, width]; t [n, heads*dim], [n, heads*valueDim]; f [n, hidden]
	gateUp, act                  address // f [n, 2ff], t [n, ff]
	stat, lse                    address // f [heads, n, 2], [heads, n]
	cos, sin                     [3]address
	last, logits                 address // t [logitRows, hidden], f [logitRows, vocab]
	routed, index, weight        address // of a mixture: f [n, experts + 1]; int32, f [n * (top + 1)]
	mixed, gathered, expertsGive address // f, t, f [n, hidden]
	terms                        address // bfloat16 [3, n, width of the widest input of a product]
}

// workspace holds the buffers for chunks of up to n tokens.
type workspace struct {
	buffers
	n int
}

// plan plans the buffers for a compute type of size bytes. half is the largest number of
// pairs of channels that are rotated; mixes asks for the terms of activations.
func (w *workspace) plan(s *Sizes, size int64, n, half int, mixes bool) *arena {
	a, rows := &arena{}, int64(n)
	h, ff := int64(s.Hidden), int64(max(s.Intermediate, s.ExpertSize, s.SharedSize))
	nq, nv := int64(s.Heads*s.HeadDim), int64(s.Heads*s.ValueDim)
	width := nq + int64(s.KVHeads*(s.HeadDim+s.ValueDim))
	if half == 0 {
		half = s.HeadDim / 2
	}
	a.add(&w.ids, 4*rows)
	a.add(&w.x, 4*rows*h)
	a.add(&w.h, size*rows*h)
	a.add(&w.qkv, 4*rows*width)
	a.add(&w.q, size*rows*nq)
	a.add(&w.attn, size*rows*nv)
	a.add(&w.y, 4*rows*h)
	a.add(&w.gateUp, 4*rows*2*ff)
	a.add(&w.act, size*rows*ff)
	a.add(&w.stat, 8*rows*int64(s.Heads))
	a.add(&w.lse, 4*rows*int64(s.Heads))
	for i := range w.cos {
		a.add(&w.cos[i], 4*rows*int64(half))
		a.add(&w.sin[i], 4*rows*int64(half))
	}
	if mixes {
		a.add(&w.terms, terms*2*rows*max(h, ff, nv))
	}
	last := min(logitRows, rows)
	a.add(&w.last, size*last*h)
	a.add(&w.logits, 4*last*int64(s.Vocab))
	if s.Experts > 0 {
		a.add(&w.routed, 4*rows*int64(s.Experts+1))
		a.add(&w.index, 4*rows*int64(s.TopExperts+1))
		a.add(&w.weight, 4*rows*int64(s.TopExperts+1))
		a.add(&w.mixed, 4*rows*h)
		a.add(&w.gathered, size*rows*h)
		a.add(&w.expertsGive, 4*rows*h)
	}
	return a
}
