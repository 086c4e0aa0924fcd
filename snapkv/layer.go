package snapkv

import "math"

// Layer is one layer of one prompt, as methods see it. Parts that a method does not
// need may be nil; see [Needs]. Weights are attention weights, after the softmax.
//
// If several layers of the model read one cache, they are one Layer: its heads are those
// of all of them ([JoinReaders]), so that the votes of all are pooled.
type Layer struct {
	Index    int       // id of the layer, or of the one that owns the cache
	Layers   int       // layers of the model
	Readers  []int     // ids of the layers whose heads these are; nil: only Index
	Heads    int       // query heads
	KVHeads  int       // kv heads, a divisor of Heads
	Len      int       // positions of the prompt
	N        int       // recorded queries, the last of the prompt
	Rows     []float32 // [Heads, N, Len], the weights of the recorded queries
	Sums     []float32 // [Heads, Len], weights summed over all queries of the prompt
	Dim      int       // elements of a key
	ValueDim int       // elements of a value
	Scale    float64   // of a score, scale q·k; 0: 1/√Dim
	// Latent means that a cache entry is one for all heads (multi-head latent attention):
	// KVHeads is 1, and Values are the first ValueDim elements of Keys.
	Latent  bool
	Keys    []float32 // [Len or more, KVHeads, Dim], rotated
	Values  []float32 // [Len or more, KVHeads, ValueDim]
	Queries []float32 // [N, Heads, Dim], rotated
	// Generated holds the weights summed over the reply's queries, [Heads, Len].
	Generated []float64
}

// Joint reports whether the query heads of a kv head always have one selection, whatever
// the group: their cache has one entry for all heads, or several layers read it.
func (l *Layer) Joint() bool { return l.Latent || len(l.Readers) > 1 }

// config returns the config that applies to the layer: if its heads have one selection,
// GroupHead becomes GroupMean.
func (l *Layer) config(c Config) Config {
	c.Group = c.Group.For(l.Joint())
	return c
}

// Place returns the layer and the query head in that layer that head h is.
func (l *Layer) Place(h int) (layer, head int) {
	readers := len(l.Readers)
	if readers < 2 {
		return l.Index, h
	}
	group := l.Heads / l.KVHeads // query heads of a kv head, of all readers
	of := group / readers        // of one reader
	return l.Readers[h%group/of], h/group*of + h%of
}

// Joined returns the index of the head that is query head h of reader number r; it is the
// inverse of Place.
func (l *Layer) Joined(r, h int) int {
	readers := max(1, len(l.Readers))
	of := l.Heads / l.KVHeads / readers
	return h/of*of*readers + r*of + h%of
}

// JoinReaders puts the heads of layers that read one cache together, in the order of
// their kv heads: first all query heads of kv head 0, layer after layer, then those of kv
// head 1. The layers have the same kv heads and the same number of query heads; the
// result owns the keys and values of the first.
func JoinReaders(layers []*Layer) *Layer {
	all := *layers[0]
	all.Readers = nil
	all.Heads = 0
	for _, l := range layers {
		all.Readers = append(all.Readers, l.Index)
		all.Heads += l.Heads
	}
	all.Rows = joinHeads(&all, layers, func(l *Layer) []float32 { return l.Rows })
	all.Sums = joinHeads(&all, layers, func(l *Layer) []float32 { return l.Sums })
	all.Generated = joinHeads(&all, layers, func(l *Layer) []float64 { return l.Generated })
	all.Queries = joinQueries(&all, layers)
	return &all
}

// joinHeads joins arrays [heads, ...]. It returns nil if one is missing.
func joinHeads[T any](all *Layer, layers []*Layer, of func(l *Layer) []T) []T {
	size := len(of(layers[0])) / layers[0].Heads
	if size == 0 {
		return nil
	}
	out := make([]T, all.Heads*size)
	for r, l := range layers {
		x := of(l)
		if len(x) == 0 {
			return nil
		}
		for h := range l.Heads {
			copy(out[all.Joined(r, h)*size:][:size], x[h*size:])
		}
	}
	return out
}

// joinQueries joins queries [N, heads, dim].
func joinQueries(all *Layer, layers []*Layer) []float32 {
	out := make([]float32, all.N*all.Heads*all.Dim)
	for r, l := range layers {
		if len(l.Queries) == 0 {
			return nil
		}
		for i := range all.N {
			for h := range l.Heads {
				copy(out[(i*all.Heads+all.Joined(r, h))*all.Dim:][:all.Dim], l.Queries[(i*l.Heads+h)*all.Dim:])
			}
		}
	}
	return out
}

// row returns the weights of head h and recorded query i, [Len].
func (l *Layer) row(h, i int) []float32 { return l.Rows[(h*l.N+i)*l.Len:][:l.Len] }

// key returns the key of position j and kv head kv.
func (l *Layer) key(j, kv int) []float32 { return l.Keys[(j*l.KVHeads+kv)*l.Dim:][:l.Dim] }

// value returns the value of position j and kv head kv.
func (l *Layer) value(j, kv int) []float32 {
	return l.Values[(j*l.KVHeads+kv)*l.ValueDim:][:l.ValueDim]
}

// norm returns the L2 norm, summed in float64.
func norm(x []float32) float64 {
	sum := 0.0
	for _, v := range x {
		sum += float64(v) * float64(v) // an exact product
	}
	return math.Sqrt(sum)
}

// query returns recorded query i of head h.
func (l *Layer) query(h, i int) []float32 { return l.Queries[(i*l.Heads+h)*l.Dim:][:l.Dim] }

// scale returns Scale or its default.
func (l *Layer) scale() float64 {
	if l.Scale == 0 {
		return 1 / math.Sqrt(float64(l.Dim))
	}
	return l.Scale
}

// Needs lists the parts of a [Layer] that a method reads. Values is set only by
// methods that require values; other methods may use values if they are recorded.
// AllQueries means that the queries of the whole prompt are needed, so that N is Len.
type Needs struct{ Rows, Sums, Keys, Values, Queries, AllQueries, Generated bool }

// Union returns the parts that n or o needs.
func (n Needs) Union(o Needs) Needs {
	return Needs{
		Rows:       n.Rows || o.Rows,
		Sums:       n.Sums || o.Sums,
		Keys:       n.Keys || o.Keys,
		Values:     n.Values || o.Values,
		Queries:    n.Queries || o.Queries,
		AllQueries: n.AllQueries || o.AllQueries,
		Generated:  n.Generated || o.Generated,
	}
}

// States reports whether keys, queries or values are needed. A [Layer] holds them
// for all heads together.
func (n Needs) States() bool { return n.Keys || n.Queries || n.Values }
