package cpu

import "github.com/attnscope/attnscope/internal/simd"

// A store of latents keeps its values only as the first channels of its keys, in the
// layout of keys. Products with the values need the layout of values: a pass of many
// queries converts the whole layer, and a decoding step one part at a time.

// withValues returns the store, or a copy of a store of latents that has values in a
// buffer of the pool. The copy is valid until the next call.
func (kv *KV) withValues(p *Pool) *KV {
	if !kv.latent {
		return kv
	}
	out := *kv
	out.heads = append([]store(nil), kv.heads...)
	total := 0
	for i := range out.heads {
		s := &out.heads[i]
		s.room = simd.Panels(s.n) * simd.Width
		total += kv.valuePanels() * s.room * simd.Width
	}
	buf := resize(&p.values, total)
	for i := range out.heads {
		s := &out.heads[i]
		s.values = buf[:kv.valuePanels()*s.room*simd.Width]
		buf = buf[len(s.values):]
		p.Run(kv.valuePanels(), func(panel, _ int) {
			kv.transpose(s.values[panel*s.room*simd.Width:][:s.room*simd.Width], s, panel, 0)
		})
	}
	return &out
}

// panelValues returns a panel of the values of a store, [hi-lo][32], for slots from lo, a
// multiple of 32, to hi.
func (kv *KV) panelValues(s *store, panel, lo, hi int, scratch *Scratch) []float32 {
	if !kv.latent {
		return s.values[(panel*s.room+lo)*simd.Width : (panel*s.room+hi)*simd.Width]
	}
	dst := scratch.Floats(simd.Panels(hi-lo) * simd.Width * simd.Width)
	kv.transpose(dst, s, panel, lo)
	return dst[:(hi-lo)*simd.Width]
}

// transpose writes a panel of values to dst, [slots][32], from slot lo on.
func (kv *KV) transpose(dst []float32, s *store, panel, lo int) {
	const block = simd.Width * simd.Width
	d0 := panel * simd.Width
	channels := min(simd.Width, kv.valueDim-d0)
	for at := 0; at < len(dst); at += block {
		to := dst[at : at+block]
		if channels < simd.Width {
			clear(to)
		}
		keys := s.keys[(lo+at/simd.Width)*kv.keyDim+d0*simd.Width:][:channels*simd.Width]
		d := 0
		for ; d+4 <= channels; d += 4 { // four channels at once take half the time
			x0, x1 := keys[d*simd.Width:][:simd.Width], keys[(d+1)*simd.Width:][:simd.Width]
			x2, x3 := keys[(d+2)*simd.Width:][:simd.Width], keys[(d+3)*simd.Width:][:simd.Width]
			for slot := range simd.Width {
				four := to[slot*simd.Width+d:][:4]
				four[0] = x0[slot]
				four[1] = x1[slot]
				four[2] = x2[slot]
				four[3] = x3[slot]
			}
		}
		for ; d < channels; d++ {
			for slot, x := range keys[d*simd.Width:][:simd.Width] {
				to[slot*simd.Width+d] = x
			}
		}
	}
}
