package dumps

import (
	"reflect"
	"testing"
)

// alike returns shapes that version 1 describes.
func alike() []LayerShape {
	s := LayerShape{Kind: KindAttention, Heads: 4, KVHeads: 2, KeyDim: 8, ValueDim: 8, Scale: 0.5}
	a, b := s, s
	b.CacheOf = 1
	b.Window = 16
	b.Rope = RopeShape{Dim: 8, Pairing: "halves"}
	return []LayerShape{a, b}
}

func TestVersionOfShapes(t *testing.T) {
	for name, change := range map[string]func([]LayerShape){
		"sink":     func(s []LayerShape) { s[1].Sink = true },
		"chunk":    func(s []LayerShape) { s[1].Window, s[1].Chunk = 0, 8 },
		"scale":    func(s []LayerShape) { s[1].Scale = 1 },
		"kv heads": func(s []LayerShape) { s[1].KVHeads = 1 },
		"key dim":  func(s []LayerShape) { s[1].KeyDim, s[1].Rope.Dim = 4, 4 },
		"cache":    func(s []LayerShape) { s[1].CacheOf = 0 },
		"linear":   func(s []LayerShape) { s[1] = LayerShape{Kind: KindLinear, CacheOf: 1} },
		"latent":   func(s []LayerShape) { s[0].KVHeads, s[0].Latent = 1, true },
	} {
		shapes := alike()
		change(shapes)
		var m ModelInfo
		m.SetLayers(shapes)
		if m.version() != 2 || !m.soundShapes() {
			t.Errorf("%s: version %d, sound %v, want version 2 and sound", name, m.version(), m.soundShapes())
		}
		if got := []LayerShape{m.Layer(0), m.Layer(1)}; !reflect.DeepEqual(got, shapes) {
			t.Errorf("%s: layers %+v, want %+v", name, got, shapes)
		}
	}
	var m ModelInfo
	m.SetLayers(alike())
	want := ModelInfo{Layers: 2, Heads: 4, KVHeads: 2, HeadDim: 8, ValueDim: 8, Scale: 0.5, LayerWindows: []int{0, 16}}
	if m.version() != 1 || !reflect.DeepEqual(m, want) {
		t.Errorf("version %d of %+v, want 1 of %+v", m.version(), m, want)
	}
	s := m.Layer(1)
	if s.Window != 16 || s.CacheOf != 1 || s.KeyDim != 8 || s.First(20) != 5 {
		t.Errorf("layer 1 of version 1 is %+v", s)
	}
}

func TestUnsoundShapes(t *testing.T) {
	for name, change := range map[string]func([]LayerShape){
		"two heads for three kv heads": func(s []LayerShape) { s[0].KVHeads = 3 },
		"window and chunk":             func(s []LayerShape) { s[1].Chunk = 8 },
		"cache of a later layer":       func(s []LayerShape) { s[0].CacheOf = 1 },
		"cache of other sizes":         func(s []LayerShape) { s[1].CacheOf, s[1].KeyDim = 0, 4 },
		"cache of no attention":        func(s []LayerShape) { s[0] = LayerShape{Kind: KindLinear}; s[1].CacheOf = 0 },
		"unknown kind":                 func(s []LayerShape) { s[0].Kind = "magic" },
		"linear with heads":            func(s []LayerShape) { s[0].Kind = KindLinear },
		"latent of two heads":          func(s []LayerShape) { s[0].Latent = true },
		"rotation of more channels":    func(s []LayerShape) { s[0].Rope = RopeShape{At: 4, Dim: 6, Pairing: "halves"} },
		"unknown pairing":              func(s []LayerShape) { s[0].Rope = RopeShape{Dim: 6, Pairing: "thirds"} },
	} {
		shapes := alike()
		change(shapes)
		m := ModelInfo{Layers: 2, Heads: 4, KVHeads: 3, HeadDim: 8, ValueDim: 8, LayerShapes: shapes}
		if m.soundShapes() {
			t.Errorf("%s: shapes count as sound", name)
		}
	}
}

func TestLayersOfKinds(t *testing.T) {
	shapes := alike()
	shapes = append(shapes, LayerShape{Kind: KindLinear, CacheOf: 2}, LayerShape{Kind: KindNone, CacheOf: 3}, shapes[0])
	shapes[1].CacheOf = 0
	shapes[4].CacheOf = 4
	shapes[4].KVHeads = 1
	shapes[4].Latent = true
	var m ModelInfo
	m.SetLayers(shapes)
	if got := m.AttentionLayers(); !reflect.DeepEqual(got, []int{0, 1, 4}) {
		t.Errorf("attention in layers %v, want 0, 1 and 4", got)
	}
	if got := m.Readers(0); !reflect.DeepEqual(got, []int{0, 1}) {
		t.Errorf("readers of layer 0's cache: %v, want 0 and 1", got)
	}
	for l, want := range []int{2 * 16, 0, 0, 0, 8} {
		if got := m.EntryDim(l); got != want {
			t.Errorf("layer %d keeps %d elements per position, want %d", l, got, want)
		}
	}
	chunked := LayerShape{Chunk: 8}
	if got := chunked.First(17); got != 16 {
		t.Errorf("a query at 17 in chunks of 8 sees keys from %d, want 16", got)
	}
}
