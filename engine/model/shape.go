package model

import (
	"fmt"
	"slices"
)

// LayerKind says how a layer reads earlier positions.
type LayerKind string

// The kinds of layers.
const (
	Attention LayerKind = "attention"
	Linear    LayerKind = "linear" // a recurrence or a convolution
	None      LayerKind = "none"   // only a feed-forward
)

// LayerShape describes the attention of one layer. Sizes are 0 in a layer without
// attention.
type LayerShape struct {
	Kind     LayerKind
	Heads    int // query heads
	KVHeads  int
	KeyDim   int     // channels of a query, and of a cached key
	ValueDim int     // channels of a cached value
	Scale    float32 // factor of the scores
	SoftCap  float32 // of the scores; 0: none

	// A query at position p sees the keys after p-Window, or from floor(p/Chunk) Chunk
	// on; 0: all keys.
	Window int
	Chunk  int

	Sink    bool // a learned sink takes part in every softmax
	CacheOf int  // the layer whose keys and values this one reads: itself or an earlier one
	// Latent says that one cache entry serves all heads, and that its value is the first
	// ValueDim channels of its key (MLA).
	Latent bool

	Rope   *Rope // nil: queries and keys are not rotated
	RopeAt int   // first rotated channel of a head
}

// HasAttention reports whether the layer has rows of weights.
func (s *LayerShape) HasAttention() bool { return s.Kind == Attention }

// queryWidth is the number of elements of all query heads of a token.
func (s *LayerShape) queryWidth() int { return s.Heads * s.KeyDim }

// keyWidth is the number of elements of all keys of a token.
func (s *LayerShape) keyWidth() int { return s.KVHeads * s.KeyDim }

// valueWidth is the number of elements of all values of a token.
func (s *LayerShape) valueWidth() int { return s.KVHeads * s.ValueDim }

// outputWidth is the number of elements of the attention's output of a token.
func (s *LayerShape) outputWidth() int { return s.Heads * s.ValueDim }

// entryDim is the number of elements that a cache keeps per position, of all kv heads.
func (s *LayerShape) entryDim() int {
	if s.Latent {
		return s.keyWidth()
	}
	return s.keyWidth() + s.valueWidth()
}

// alike returns the shapes of layers that differ in their windows and rotations alone.
// The families set what differs in Architecture.Vary.
func (c *Config) alike() []LayerShape {
	list := make([]LayerShape, c.Layers)
	global := c.Rope // one copy, so that layers of the same rotation have the same pointer
	for l := range list {
		rope := &global
		switch {
		case c.Rope.Kind == noRotation, c.NoRope != nil && c.NoRope[l]:
			rope = nil
		case c.hasLocalRope(l):
			rope = c.LocalRope
		}
		list[l] = LayerShape{
			Kind:     Attention,
			Heads:    c.Heads,
			KVHeads:  c.KVHeads,
			KeyDim:   c.HeadDim,
			ValueDim: c.ValueDim,
			Scale:    c.Scale,
			SoftCap:  c.SoftCap,
			Window:   c.LayerWindows[l],
			Sink:     c.arch.Sinks,
			CacheOf:  l,
			Rope:     rope,
		}
		if c.Latent != nil {
			list[l].Latent = true
			list[l].RopeAt = c.Latent.Rank
		}
	}
	return list
}

// hasLocalRope reports whether a layer that is rotated has the rotation of layers with a
// sliding window.
func (c *Config) hasLocalRope(layer int) bool {
	return c.LocalRope != nil && c.LayerWindows[layer] > 0
}

// newWidths returns the numbers of elements of the keys and the values that a layer adds
// to its cache for a token: 0 if it reads the cache of another one.
func (c *Config) newWidths(layer int) (keys, values int) {
	s := &c.Shapes[layer]
	if s.CacheOf != layer {
		return 0, 0
	}
	return s.keyWidth(), s.valueWidth()
}

// Chunked returns the number of layers that attend within chunks, and the size of a
// chunk.
func (c *Config) Chunked() (layers, size int) {
	for l := range c.Shapes {
		if c.Shapes[l].Chunk > 0 {
			layers++
			size = c.Shapes[l].Chunk
		}
	}
	return layers, size
}

// Borrowing returns the number of layers that read the cache of an earlier layer.
func (c *Config) Borrowing() int {
	n := 0
	for l := range c.Shapes {
		if c.Shapes[l].HasAttention() && c.Shapes[l].CacheOf != l {
			n++
		}
	}
	return n
}

// shared reports whether several layers read the cache of a layer.
func (c *Config) shared(cache int) bool {
	for l := range c.Shapes {
		if l != cache && c.Shapes[l].HasAttention() && c.Shapes[l].CacheOf == cache {
			return true
		}
	}
	return false
}

// AttentionLayers lists the layers that have attention, in ascending order.
func (c *Config) AttentionLayers() []int {
	var list []int
	for l := range c.Shapes {
		if c.Shapes[l].HasAttention() {
			list = append(list, l)
		}
	}
	return list
}

// checkShapes reports inconsistent sizes of a layer.
func (c *Config) checkShapes(path string) error {
	for l := range c.Shapes {
		s := &c.Shapes[l]
		if !s.HasAttention() {
			continue
		}
		owner := &c.Shapes[s.CacheOf]
		switch {
		case s.KVHeads < 1 || s.Heads%s.KVHeads != 0:
			return fmt.Errorf("%s: layer %d: %d query heads for %d kv heads: want a multiple", path, l, s.Heads, s.KVHeads)
		case s.Rope != nil && (s.Rope.Dim%2 != 0 || s.RopeAt+s.Rope.Dim > s.KeyDim):
			return fmt.Errorf("%s: layer %d: heads of %d channels, of which %d are rotated: want an even number", path, l, s.KeyDim, s.Rope.Dim)
		case owner.CacheOf != s.CacheOf || owner.KVHeads != s.KVHeads || owner.KeyDim != s.KeyDim || owner.ValueDim != s.ValueDim:
			return fmt.Errorf("%s: layer %d reads the cache of layer %d, whose keys and values have other sizes", path, l, s.CacheOf)
		}
	}
	if len(c.AttentionLayers()) == 0 {
		return fmt.Errorf("%s: no layer has attention: there is nothing to record", path)
	}
	return nil
}

// noRotation is the kind of rotation of families that rotate nothing.
const noRotation = "none"

// shapeLayers describes the layers, after everything that they have in common was read.
func (c *Config) shapeLayers(f *fields) error {
	c.Shapes = c.alike()
	if c.arch.Vary == nil || f.err != nil {
		return f.err
	}
	if err := c.arch.Vary(c, f); err != nil {
		return err
	}
	return f.err
}

// differ returns what a layer of the model has that a card, which knows one shape for all
// layers, does not support; or an empty string.
func (c *Config) differ() string {
	plain := c.alike()
	for l := range c.Shapes {
		s := c.Shapes[l]
		switch {
		case !s.HasAttention():
			return fmt.Sprintf("a model with layers without attention (layer %d: %s)", l, s.Kind)
		case s.Latent:
			return fmt.Sprintf("latent attention (layer %d)", l)
		case s.Sink:
			return fmt.Sprintf("a model with learned sinks in attention (layer %d)", l)
		case s.Chunk > 0:
			return fmt.Sprintf("attention within chunks (layer %d)", l)
		case s.CacheOf != l:
			return fmt.Sprintf("layers that share a cache (layer %d reads that of layer %d)", l, s.CacheOf)
		case (s.Rope == nil) != (plain[l].Rope == nil), s.RopeAt > 0, !s.sameSizes(&plain[l]):
			return fmt.Sprintf("layers of different shapes (layer %d)", l)
		}
	}
	return ""
}

// sameSizes reports whether two shapes are equal but for the rotation.
func (s *LayerShape) sameSizes(other *LayerShape) bool {
	a, b := *s, *other
	a.Rope, b.Rope = nil, nil
	return a == b
}

// ropes lists the rotations of the model, each once.
func (c *Config) ropes() []*Rope {
	var list []*Rope
	for l := range c.Shapes {
		if r := c.Shapes[l].Rope; r != nil && !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	return list
}
