package model

import "context"

// A backend holds the weights of a model and runs it: on the processor or on a
// card. Its sequences run one at a time.
type backend interface {
	newSequence() sequence
	// step appends tokens[i] to list[i], for at least two sequences of this backend.
	step(ctx context.Context, list []*Session, tokens []int32, passes []Pass) error
	// piece is the number of tokens that callers should pass to Forward at once.
	piece() int
	weightBytes() int64
	close()
}

// A sequence is the state of a Session in a backend. Its methods correspond to the
// methods of Session, which has checked the arguments.
type sequence interface {
	length() int
	// forward appends tokens; with single, they pass through the layers one at a time.
	forward(ctx context.Context, tokens []int32, single bool, p Pass) error
	keys(layer, pos, n int) ([]float32, error)
	values(layer, pos, n int) ([]float32, error)
	// stores returns what is kept of a layer with a cache of its own, compressed or not.
	stores(layer int) ([]Store, error)
	// slots returns the number of slots of each store of a layer.
	slots(layer int) ([]int, error)
	inMemory() bool
	cacheBytes() int64
	reserve(n int) error
	truncate(n int) error
	mark()
	// copy returns a new sequence of the first n tokens with room for room tokens.
	copy(n, room int) (sequence, error)
	choose(layer int, q []float32, n int, picks []Pick) (keep [][][]int32, ok bool, err error)
	// compress returns a new sequence that keeps slots keep[layer][kv head or query
	// head], for layers with a cache of their own.
	compress(keep [][][]int32) (sequence, error)
	quantize(f CacheFormat) error
	close()
}
