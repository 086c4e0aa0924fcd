package cpu

import (
	"cmp"

	"github.com/attnscope/attnscope/engine/tensor"
	"github.com/attnscope/attnscope/internal/simd"
)

// Deferred returns a matrix without panels, which [Matrix.Load] packs as Pack does and
// [Matrix.Unload] releases, for weights that are read from their file each time they are
// needed. read, if it is not nil, returns the weights that Load packs; otherwise they are
// parts, and must stay readable.
func Deferred(compute Compute, parts []tensor.Tensor, read func() ([]tensor.Tensor, error)) (*Matrix, error) {
	m := &Matrix{compute: compute, parts: parts, read: read}
	return m, m.measure(parts)
}

// Loaded reports whether the matrix has panels and can be multiplied.
func (m *Matrix) Loaded() bool { return m.panels != nil }

// Load packs the weights of a matrix made by Deferred, unless it is loaded.
func (m *Matrix) Load(p *Pool) error {
	if m.Loaded() {
		return nil
	}
	weights := m.parts
	if m.read != nil {
		var err error
		if weights, err = m.read(); err != nil {
			return err
		}
	}
	if err := m.pack(p, weights); err != nil {
		m.Unload(p)
		return err
	}
	if r, ok := m.panels.(*roundedPanels); ok {
		r.exact = m.exact
	}
	return nil
}

// Unload releases the panels of a matrix made by Deferred. The pool keeps the memory for
// the next matrix of the same size.
func (m *Matrix) Unload(p *Pool) {
	if !m.Loaded() {
		return
	}
	if r, ok := m.panels.(*roundedPanels); ok {
		m.failed = cmp.Or(m.failed, r.takeFailed())
	}
	p.keep(m.panels.memory())
	m.panels = nil
}

// slab returns memory that a matrix of the same size no longer uses, whose content is
// unspecified, or else new memory, which is zero.
func (p *Pool) slab(bytes int) (s *slab, zero bool) {
	for i, s := range p.unused {
		if len(s.data) == bytes {
			p.unused = append(p.unused[:i], p.unused[i+1:]...)
			return s, false
		}
	}
	return newSlab(bytes), true
}

// zeroSlab is like slab, but the memory is always zero.
func (p *Pool) zeroSlab(bytes int) *slab {
	s, zero := p.slab(bytes)
	if !zero {
		clear(s.data)
	}
	return s
}

// panelSlab returns memory for panels of out outputs. Only the outputs that pad the last
// panel must be zero; all others are going to be written.
func (p *Pool) panelSlab(bytes, out int) *slab {
	if out%simd.Width != 0 {
		return p.zeroSlab(bytes)
	}
	s, _ := p.slab(bytes)
	return s
}

// keep keeps memory for a later call of slab.
func (p *Pool) keep(s *slab) { p.unused = append(p.unused, s) }

// Release returns the memory that unloaded matrices have used to the system.
func (p *Pool) Release() {
	for _, s := range p.unused {
		s.free()
	}
	p.unused = nil
}

// packedBytes returns the memory of the weights once they are packed. If they are of
// several quantized types, it is that of the largest one.
func (m *Matrix) packedBytes() int {
	types := map[tensor.DType]bool{}
	quantized := true
	most := int64(0)
	for _, w := range m.parts {
		types[w.Exactly()] = true
		_, affine := w.Exactly().Affine()
		quantized = quantized && affine
		most = max(most, PackedBytes(m.compute, w.Exactly(), m.out, m.in))
	}
	if len(types) > 1 && !quantized {
		most = PackedBytes(m.compute, tensor.F32, m.out, m.in)
	}
	return int(most)
}

// fastPanel packs a whole panel of bfloat16 or float16 whose rows lie next to each other
// in memory. It returns false if they do not, or if a weight is not finite, in which case
// it may have written a part of the panel.
func (h *halfPanels) fastPanel(w tensor.Tensor, panel, i int) bool {
	if w.Coded != nil || i+simd.Width > w.Rows() || len(w.Data) < 2*(i+simd.Width)*h.in {
		return false
	}
	finite := false
	err := tensor.Guard(func() error {
		dst := h.data[panel*h.in*simd.Width:][:h.in*simd.Width]
		exponent := uint16(0x7c00)
		if h.bfloat16 {
			exponent = 0x7f80
		}
		finite = simd.Interleave(dst, w.Data[2*i*h.in:2*(i+simd.Width)*h.in], h.in, exponent)
		return nil
	})
	return err == nil && finite
}
