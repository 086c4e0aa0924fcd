package snapkv

import "math"

// Layer is one layer of one prompt, as methods see it. Parts that a method does not
// need may be nil; see [Needs]. Weights are attention weights, after the softmax.
type Layer struct {
	Index    int       // id of the layer
	Layers   int       // layers of the model
	Heads    int       // query heads
	KVHeads  int       // kv heads, a divisor of Heads
	Len      int       // positions of the prompt
	N        int       // recorded queries, the last of the prompt
	Rows     []float32 // [Heads, N, Len], the weights of the recorded queries
	Sums     []float32 // [Heads, Len], weights summed over all queries of the prompt
	Dim      int       // elements of a key
	ValueDim int       // elements of a value
	Keys     []float32 // [Len or more, KVHeads, Dim], rotated
	Values   []float32 // [Len or more, KVHeads, ValueDim]
	Queries  []float32 // [N, Heads, Dim], rotated
	// Generated holds the weights summed over the reply's queries, [Heads, Len].
	Generated []float64
}

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

// Needs lists the parts of a [Layer] that a method reads. Values is set only by
// methods that require values; other methods may use values if they are recorded.
type Needs struct{ Rows, Sums, Keys, Values, Queries, Generated bool }

// Union returns the parts that n or o needs.
func (n Needs) Union(o Needs) Needs {
	return Needs{
		Rows:      n.Rows || o.Rows,
		Sums:      n.Sums || o.Sums,
		Keys:      n.Keys || o.Keys,
		Values:    n.Values || o.Values,
		Queries:   n.Queries || o.Queries,
		Generated: n.Generated || o.Generated,
	}
}

// States reports whether keys, queries or values are needed. A [Layer] holds them
// for all heads together.
func (n Needs) States() bool { return n.Keys || n.Queries || n.Values }
