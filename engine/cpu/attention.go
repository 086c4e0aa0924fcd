package cpu

import (
	"math"
	"runtime"

	"github.com/attnscope/attnscope/internal/simd"
)

// Attention is the shape of one layer's attention.
type Attention struct {
	Heads            int // query heads
	KeyDim, ValueDim int
	Scale            float32 // of the scores
	SoftCap          float32 // scores become cap*tanh(score/cap); 0 = off
	// Bias is added to the scaled scores, by query head and position of the key; nil: none.
	Bias   [][]float32
	Window int // a query at position p sees the keys after p-Window; 0 = all
	Chunk  int // a query at position p sees the keys from p/Chunk*Chunk on; 0 = all
	// Sinks has a score for each query head that joins the scores of every query of the
	// head. It has a share in the sum that divides the exponentials, but no value; nil:
	// none.
	Sinks []float32
}

// first returns the position of the first key that a query at position p sees.
func (a *Attention) first(p int) int {
	first := 0
	if a.Window > 0 {
		first = max(0, p-a.Window+1)
	}
	if a.Chunk > 0 {
		first = max(first, p/a.Chunk*a.Chunk)
	}
	return first
}

// Queries are consecutive rows of a sequence that attend in one pass. Their keys and
// values must already have been appended to the store.
type Queries struct {
	Q    []float32 // [Rows, Heads*KeyDim], after the rotation
	Out  []float32 // [Rows, Heads*ValueDim]
	Rows int
	Pos0 int // position of the first row

	OutFrom int // first row whose output is computed; earlier rows of Out are not written

	// Visit, if not nil, is called with the weights of the rows from VisitFrom on,
	// by several workers at once.
	Visit     func(worker int, t *Tile)
	VisitFrom int
}

// Tile holds the normalized weights of a few queries of one head. It is valid only
// during the call of Visit that receives it.
type Tile struct {
	Head    int
	Row0    int // index of the first row in this pass
	Rows    int
	Pos0    int       // position of the first row
	Key0    int       // position of the first key
	Keys    int       // number of keys from Key0 to the last one that the last row sees
	Stride  int       // between rows of Weights
	Weights []float32 // row i: Weights[i*Stride:][:Keys]; zero where a key is not visible
	LSE     []float32 // per row, ln Σ exp(score), with the sink's score
	Sinks   []float32 // per row, the share of the sink; nil: none. Weights and sink sum to 1
}

// The scores of a tile should fit in the second-level cache. Processors with AMX, whose
// products have blocks of 32 rows, have larger caches than those without.
const (
	mostRows     = 28
	mostBytes    = 600 << 10
	mostBytesAMX = 1200 << 10
)

// PieceRows returns the number of tokens that should pass through a layer together: whole
// tiles of attention, and whole kernels of 14 rows or blocks of 32 rows.
func PieceRows() int {
	if simd.HasTiles() {
		return 16 * simd.TileRows
	}
	return 18 * mostRows
}

// rowsPerTile returns the number of queries of a tile.
func rowsPerTile(q Queries) int {
	rows := mostRows
	bytes := mostBytes
	if simd.HasTiles() {
		rows = simd.TileRows
		bytes = mostBytesAMX
	}
	switch {
	case q.Rows < rows:
		return q.Rows
	case 4*rows*(q.Pos0+q.Rows) > bytes:
		return rows / 2
	}
	return rows
}

// Run computes q.Out, the attention of q over the keys and values of kv.
func (a *Attention) Run(p *Pool, kv *KV, q Queries) {
	defer runtime.KeepAlive(kv)
	if q.Rows == 1 {
		a.RunSteps(p, []Step{{KV: kv, Queries: q}})
		return
	}
	kv = kv.withValues(p)
	var split []splitStore
	if simd.HasTiles() && q.Rows >= minTileQueries {
		split = a.split(p, kv, q)
	}
	rows := rowsPerTile(q)
	tiles := (q.Rows + rows - 1) / rows
	p.Run(tiles*a.Heads, func(task, worker int) {
		// The last queries see the most keys. They are processed first, so that no long tile
		// is left for the end.
		tile := tiles - 1 - task/a.Heads
		row0 := tile * rows
		head := task % a.Heads
		t := tileTask{head: head, row0: row0, rows: min(rows, q.Rows-row0), worker: worker}
		if split != nil {
			t.split = &split[head/(a.Heads/len(kv.heads))]
		}
		a.tile(kv, q, t, p.Scratch(worker))
	})
}

// tileTask names the rows of a tile: [row0, row0+rows) of one head.
type tileTask struct {
	head, row0, rows int
	worker           int
	split            *splitStore // if not nil, products are computed by tiles of the processor
}

// tile computes a tile.
func (a *Attention) tile(kv *KV, q Queries, t tileTask, scratch *Scratch) {
	head := t.head
	row0 := t.row0
	rows := t.rows
	shown := q.Visit != nil && row0+rows > q.VisitFrom
	wanted := row0+rows > q.OutFrom
	if !shown && !wanted {
		return
	}
	s := &kv.heads[head/(a.Heads/len(kv.heads))]
	// Slot i holds position i, unless the store is compressed: then the positions of
	// this pass are in its last slots.
	pos0 := q.Pos0 + row0
	first := pos0 - (kv.seen - s.n) // slot of the first row's own key
	key0 := s.slotFrom(a.first(pos0)) / simd.Width * simd.Width
	keys := first + rows - key0 // number of slots from key0 to the last that the last row sees
	stride := rowStride(keys)

	buf := scratch.Floats(rows * (stride + 3 + a.KeyDim))
	w := Mat{Data: buf[:rows*stride], Rows: rows, Cols: keys, Stride: stride}
	lse := buf[rows*stride:][:rows]
	inverse := buf[rows*(stride+1):][:rows]
	sinks := buf[rows*(stride+2):][:rows]
	scaled := Dense(buf[rows*(stride+3):], rows, a.KeyDim)
	for i := range rows {
		x := scaled.Data[i*a.KeyDim : (i+1)*a.KeyDim]
		copy(x, q.Q[((row0+i)*a.Heads+head)*a.KeyDim:])
		simd.Scale(x, a.Scale)
	}
	if t.split != nil {
		t.split.mulKeys(w, scaled, key0, scratch)
	}
	for j := 0; j < keys && t.split == nil; j += simd.Width {
		at := (key0 + j) / simd.Width * a.KeyDim * simd.Width
		simd.MulPanel(w.Sub(0, j, rows, simd.Width), scaled, s.keys[at:at+a.KeyDim*simd.Width], false)
	}
	for i := range rows {
		row := w.Data[i*stride : i*stride+keys]
		lo := s.slotFrom(a.first(pos0+i)) - key0
		hi := keys - rows + i + 1
		clear(row[:lo])
		clear(row[hi:])
		a.addBias(row[lo:hi], head, s, key0+lo)
		inverse[i], lse[i], sinks[i] = a.exp(row[lo:hi], head)
	}
	if wanted {
		stride := a.Heads * a.ValueDim
		o := Mat{Data: q.Out[row0*stride+head*a.ValueDim:], Rows: rows, Cols: a.ValueDim, Stride: stride}
		if t.split != nil {
			t.split.mulValues(o, w, key0, scratch)
		}
		for d := 0; d < a.ValueDim && t.split == nil; d += simd.Width {
			at := (d/simd.Width*s.room + key0) * simd.Width
			values := s.values[at : at+keys*simd.Width]
			simd.MulPanel(o.Sub(0, d, rows, min(simd.Width, a.ValueDim-d)), w, values, false)
		}
		for i := range rows {
			simd.Scale(o.Data[i*stride:i*stride+a.ValueDim], inverse[i])
		}
	}
	if !shown {
		return
	}
	skip := max(0, q.VisitFrom-row0)
	for i := skip; i < rows; i++ {
		simd.Scale(w.Data[i*stride:i*stride+keys], inverse[i])
	}
	visited := Tile{
		Head: head,
		Row0: row0 + skip, Rows: rows - skip, Pos0: pos0 + skip,
		Key0: key0, Keys: keys,
		Stride: stride, Weights: w.Data[skip*stride:],
		LSE: lse[skip:rows],
	}
	if a.Sinks != nil {
		visited.Sinks = sinks[skip:rows]
	}
	q.Visit(t.worker, &visited)
}

// exp replaces the scores of a head, already scaled, by exponentials relative to the
// largest. It returns the inverse of their sum and the log-sum-exp of the scores, both
// with the head's sink, and the share of the sink.
func (a *Attention) exp(x []float32, head int) (inverse, lse, share float32) {
	a.capScores(x)
	m := a.withSink(simd.Max(x), head)
	sum := simd.ExpSum(x, m)
	share = a.sink(head, m)
	sum += share
	return 1 / sum, m + float32(math.Log(float64(sum))), share / sum
}

// withSink returns the larger of a score and the score of a head's sink.
func (a *Attention) withSink(score float32, head int) float32 {
	if a.Sinks == nil {
		return score
	}
	return max(score, a.Sinks[head])
}

// sink returns the exponential of the score of a head's sink relative to m, or 0 if there
// is none.
func (a *Attention) sink(head int, m float32) float32 {
	if a.Sinks == nil {
		return 0
	}
	return float32(math.Exp(float64(a.Sinks[head] - m)))
}

// addBias adds the biases of a head to the scores x of the slots of a store from slot on.
func (a *Attention) addBias(x []float32, head int, s *store, slot int) {
	switch {
	case a.Bias == nil:
	case s.pos == nil:
		for i, v := range a.Bias[head][slot : slot+len(x)] {
			x[i] += v
		}
	default:
		for i, p := range s.pos[slot : slot+len(x)] {
			x[i] += a.Bias[head][p]
		}
	}
}

// capScores applies the soft cap if the model has one.
func (a *Attention) capScores(x []float32) {
	if a.SoftCap > 0 {
		for i, v := range x {
			x[i] = a.SoftCap * float32(math.Tanh(float64(v/a.SoftCap)))
		}
	}
}

// rowStride returns the distance between two rows of scores over the given number of
// keys. Above half a page it is a multiple of a page plus two cache lines, so that the
// rows of a tile, which are read and written together, use different sets of the
// caches.
func rowStride(keys int) int {
	const page = 1024
	if keys <= page/2 {
		return (keys + simd.Width - 1) / simd.Width * simd.Width
	}
	return (keys+page-1)/page*page + simd.Width
}
