package dumps

import "slices"

// KVHead returns the kv head that a query head reads.
func (s *LayerShape) KVHead(head int) int { return head * s.KVHeads / s.Heads }

// SharedCache reports whether several layers read the cache that a layer reads.
func (m *ModelInfo) SharedCache(layer int) bool { return len(m.Readers(m.Layer(layer).CacheOf)) > 1 }

// Caches lists the layers that have a cache of keys and values of their own, in ascending
// order.
func (m *ModelInfo) Caches() []int {
	return slices.DeleteFunc(m.AttentionLayers(), func(l int) bool { return m.Layer(l).CacheOf != l })
}

// HeadsOf lists the heads of a layer that were recorded: those of the plan that the layer
// has. Arrays of a layer have their heads in this order.
func (h *Header) HeadsOf(layer int) []int {
	heads := h.Plan.Heads
	s := h.Model.Layer(layer)
	for len(heads) > 0 && heads[len(heads)-1] >= s.Heads {
		heads = heads[:len(heads)-1]
	}
	return heads
}

// AllHeads reports whether all heads of a layer were recorded.
func (h *Header) AllHeads(layer int) bool {
	s := h.Model.Layer(layer)
	return len(h.HeadsOf(layer)) == s.Heads
}

// Caches lists the layers whose caches the layers of the plan read, in ascending order.
// Their keys and values are in a dump, even if the layers themselves were not recorded.
func (h *Header) Caches() []int {
	var list []int
	for _, l := range h.Plan.Layers {
		list = append(list, h.Model.Layer(l).CacheOf)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// Rotates reports whether some layer is known to rotate queries and keys.
func (m *ModelInfo) Rotates() bool {
	return slices.ContainsFunc(m.LayerShapes, func(s LayerShape) bool { return s.Rope.Dim > 0 })
}
