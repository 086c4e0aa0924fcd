package dumps

import "slices"

// LayerKind says how a layer reads earlier positions.
type LayerKind string

// The kinds of layers.
const (
	KindAttention LayerKind = "attention" // it has rows of weights
	KindLinear    LayerKind = "linear"    // a recurrence or a convolution: it has a state, but no weights
	KindNone      LayerKind = "none"      // only a feed-forward
)

// LayerShape describes the attention of one layer. Sizes are 0 in a layer without
// attention.
type LayerShape struct {
	Kind     LayerKind `json:"kind"`
	Heads    int       `json:"heads"`
	KVHeads  int       `json:"kv_heads"`
	KeyDim   int       `json:"key_dim"`   // channels of a cached key, and of a query
	ValueDim int       `json:"value_dim"` // channels of a cached value
	Scale    float64   `json:"scale"`     // score = scale q·k
	SoftCap  float64   `json:"soft_cap"`  // score = cap tanh(score/cap); 0: none

	// A query at position p sees the keys after p-Window, or from floor(p/Chunk) Chunk
	// on; 0: all keys.
	Window int `json:"window"`
	Chunk  int `json:"chunk"`

	// Sink says that a learned sink takes a part of every row: the weights of the keys
	// and the sink's sum to 1.
	Sink bool `json:"sink"`
	// CacheOf is the layer whose keys and values this one reads: itself or an earlier
	// one.
	CacheOf int `json:"cache_of"`
	// Latent says that a cache entry is one latent for all heads, and its value is the
	// first ValueDim channels of its key (MLA).
	Latent bool `json:"latent"`

	Rope RopeShape `json:"rope"`
}

// RopeShape describes which channels of queries and keys are rotated.
type RopeShape struct {
	At      int    `json:"at"`      // first rotated channel
	Dim     int    `json:"dim"`     // number of rotated channels; 0: none
	Pairing string `json:"pairing"` // halves (i and i + Dim/2) or adjacent (2i and 2i + 1)
}

// Pairings lists how a rotation may pair channels.
var Pairings = []string{"halves", "adjacent"}

// HasAttention reports whether the layer has rows of weights.
func (s *LayerShape) HasAttention() bool { return s.Kind == KindAttention }

// EntryDim is the number of elements that the cache of this layer keeps per position, of
// all kv heads. It is 0 for a layer without attention or with the cache of another one.
func (m *ModelInfo) EntryDim(layer int) int {
	s := m.Layer(layer)
	switch {
	case !s.HasAttention() || s.CacheOf != layer:
		return 0
	case s.Latent:
		return s.KVHeads * s.KeyDim
	}
	return s.KVHeads * (s.KeyDim + s.ValueDim)
}

// First returns the first position that a query at position p sees.
func (s *LayerShape) First(p int) int {
	switch {
	case s.Window > 0:
		return max(0, p-s.Window+1)
	case s.Chunk > 0:
		return p / s.Chunk * s.Chunk
	}
	return 0
}

// Layer returns the shape of a layer. Of a dump of version 1, it follows from the sizes
// of the model; its rotation is not known.
func (m *ModelInfo) Layer(layer int) LayerShape {
	if len(m.LayerShapes) > 0 {
		if layer < 0 || layer >= len(m.LayerShapes) {
			return LayerShape{Kind: KindNone}
		}
		return m.LayerShapes[layer]
	}
	s := LayerShape{
		Kind:     KindAttention,
		Heads:    m.Heads,
		KVHeads:  m.KVHeads,
		KeyDim:   m.HeadDim,
		ValueDim: m.ValueDim,
		Scale:    m.Scale,
		SoftCap:  m.SoftCap,
		CacheOf:  layer,
	}
	if layer < len(m.LayerWindows) {
		s.Window = m.LayerWindows[layer]
	}
	return s
}

// AttentionLayers lists the layers that have attention, in ascending order.
func (m *ModelInfo) AttentionLayers() []int {
	var list []int
	for l := range m.Layers {
		if s := m.Layer(l); s.HasAttention() {
			list = append(list, l)
		}
	}
	return list
}

// Readers lists the layers that read the cache of a layer, in ascending order.
func (m *ModelInfo) Readers(cache int) []int {
	var list []int
	for l := range m.Layers {
		if s := m.Layer(l); s.HasAttention() && s.CacheOf == cache {
			list = append(list, l)
		}
	}
	return list
}

// SetLayers describes the layers of the model. If version 1 can express all that matters,
// LayerShapes stays empty and only the older fields are set. Otherwise Heads, KVHeads,
// HeadDim and ValueDim are the largest of all layers, and Scale and SoftCap are 0 where
// layers differ.
func (m *ModelInfo) SetLayers(shapes []LayerShape) {
	m.Layers = len(shapes)
	m.Heads, m.KVHeads, m.HeadDim, m.ValueDim = 0, 0, 0, 0
	m.LayerWindows = make([]int, len(shapes))
	first := slices.IndexFunc(shapes, func(s LayerShape) bool { return s.HasAttention() })
	if first < 0 {
		m.LayerShapes = shapes
		return
	}
	m.Scale = shapes[first].Scale
	m.SoftCap = shapes[first].SoftCap
	for l, s := range shapes {
		if !s.HasAttention() {
			continue
		}
		m.Heads = max(m.Heads, s.Heads)
		m.KVHeads = max(m.KVHeads, s.KVHeads)
		m.HeadDim = max(m.HeadDim, s.KeyDim)
		m.ValueDim = max(m.ValueDim, s.ValueDim)
		m.LayerWindows[l] = s.Window
		if s.Scale != m.Scale {
			m.Scale = 0
		}
		if s.SoftCap != m.SoftCap {
			m.SoftCap = 0
		}
	}
	m.LayerShapes = nil
	for l, s := range shapes {
		s.Rope = RopeShape{}
		if s != m.Layer(l) {
			m.LayerShapes = shapes
			return
		}
	}
}

// version is the version of the format that a dump of this model needs.
func (m *ModelInfo) version() int {
	if len(m.LayerShapes) > 0 {
		return Version
	}
	return 1
}

// sound reports whether a shape is possible in layer number layer of the model.
func (s *LayerShape) sound(m *ModelInfo, layer int) bool {
	if s.Kind == KindLinear || s.Kind == KindNone {
		return *s == LayerShape{Kind: s.Kind, CacheOf: s.CacheOf} && within(s.CacheOf, 0, layer)
	}
	return s.Kind == KindAttention &&
		within(s.Heads, 1, m.Heads) &&
		within(s.KVHeads, 1, min(s.Heads, m.KVHeads)) &&
		s.Heads%s.KVHeads == 0 &&
		within(s.KeyDim, 1, m.HeadDim) &&
		within(s.ValueDim, 0, m.ValueDim) &&
		within(s.Window, 0, maxTokens) &&
		within(s.Chunk, 0, maxTokens) &&
		(s.Window == 0 || s.Chunk == 0) &&
		within(s.CacheOf, 0, layer) &&
		within(s.Rope.At, 0, s.KeyDim) &&
		within(s.Rope.Dim, 0, s.KeyDim-s.Rope.At) &&
		(s.Rope.Dim == 0 || slices.Contains(Pairings, s.Rope.Pairing)) &&
		(!s.Latent || s.KVHeads == 1 && s.ValueDim <= s.KeyDim)
}

// soundShapes reports whether the shapes of all layers are possible together: a layer
// that reads another one's cache reads one that has its own, of the same sizes.
func (m *ModelInfo) soundShapes() bool {
	if len(m.LayerShapes) == 0 {
		return true
	}
	if len(m.LayerShapes) != m.Layers {
		return false
	}
	for l := range m.LayerShapes {
		s := &m.LayerShapes[l]
		if !s.sound(m, l) {
			return false
		}
		if !s.HasAttention() {
			continue
		}
		owner := &m.LayerShapes[s.CacheOf]
		fits := owner.HasAttention() && owner.CacheOf == s.CacheOf &&
			owner.KVHeads == s.KVHeads && owner.KeyDim == s.KeyDim && owner.ValueDim == s.ValueDim && owner.Latent == s.Latent
		if !fits {
			return false
		}
	}
	return true
}
