package model

import (
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
)

// A Recorder holds the callbacks through which a pass shows what its attention
// computes. All of them are optional; the arguments of a callback are valid only
// during the call.
//
// On the processor a pass calls Tile and States. On a card, a pass calls a Recorder
// without Wants in the same way, but from one goroutine at a time. If Wants is set, the
// pass first calls it for each layer, so that the card hands over sums and recorded
// rows instead of every weight. The pass then calls Rows, Sums, Whole, Cells and Done
// instead of Tile, from several goroutines at once. A callback that Wants asks for must
// be set.
type Recorder struct {
	// Tile receives the normalized weights of a few queries of one head. Several
	// workers call it at once.
	Tile func(layer int, t *cpu.Tile)
	// States follows all tiles of a chunk of one layer. It receives the queries q
	// [n, heads*headDim] and keys k [n, kvHeads*headDim] after the rotation and the
	// values v [n, kvHeads*valueDim] of positions pos0 to pos0+n-1. On a card, k and
	// v are nil. They are empty in a layer that reads the cache of another one.
	States func(layer, pos0, n int, q, k, v []float32)

	// Wants is called once per layer and pass over positions pos0 to pos0+n-1.
	Wants func(layer, pos0, n int) Wants
	// Rows receives rows that were asked for. Weights is nil if half floats or only the
	// log-sum-exps were asked for.
	Rows func(layer int, r *Rows)
	// Sums receives weights added up over the queries of one window, or over all
	// queries (window -1), for keys 0 to len(part)-1, in units of 2^-40. The sums of one
	// window come in several parts, which must be added. Those over all queries come at the
	// end of the pass that reaches Wants.Until.
	Sums func(layer, head, window int, part []int64)
	// Whole receives the complete sums of a window whose queries the card summed in one
	// piece, rounded to Wants.SumBits.
	Whole func(layer, head, window int, sums []float32)
	// Cells receives the largest weights, [Side, Side], along with the sums of window -1.
	Cells func(layer, head int, cells []float32)
	// Done reports that the window sums of a layer's queries before position end have been
	// delivered; the States of those queries follow.
	Done func(layer, end int)
}

// visit returns the function that shows a layer's tiles to the recorder, where row0
// is the row of the pass that the chunk begins with. It is nil without Tile.
func (r *Recorder) visit(layer, row0 int) func(worker int, t *cpu.Tile) {
	if r.Tile == nil {
		return nil
	}
	return func(_ int, t *cpu.Tile) {
		t.Row0 += row0
		r.Tile(layer, t)
	}
}

// Wants describes what a Recorder needs for positions pos0 to pos0+n-1. A first
// position of pos0+n or later means none.
type Wants = cuda.Record

// Rows are recorded rows of one head, valid during the call that shows them.
type Rows = cuda.Rows

// Pick is a selection of slots that a card can make by itself.
type Pick = cuda.Pick
