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
	Window           int     // a query at p sees keys > p-Window; 0 = all
	OutFrom          int     // first row of a pass whose output is wanted; the others' is not written
}

// Tile holds the normalised weights of a few queries of one head. It is valid
// during the call that shows it.
type Tile struct {
	Head    int
	Row0    int // index of the first row in this pass
	Rows    int
	Pos0    int       // position of the first row
	Key0    int       // position of the first key
	Keys    int       // keys from Key0 on that the last row sees
	Stride  int       // between rows of Weights
	Weights []float32 // row i: Weights[i*Stride:][:Keys], zero where not visible
	LSE     []float32 // per row ln Σ exp(score)
}

// Sizes of a tile: its scores should stay in the second-level cache.
const (
	tileRows  = 28
	tileBytes = 600 << 10
)

// Run computes the attention of n queries at positions pos0.., whose keys and
// values have been appended already: q [n, heads*keyDim] after the rotation,
// out [n, heads*valueDim]. visit, if not nil, is shown the rows from visitFrom
// on, by several workers at once.
func (a *Attention) Run(p *Pool, kv *KV, out, q []float32, n, pos0 int, visit func(worker int, t *Tile), visitFrom int) {
	defer runtime.KeepAlive(kv)
	if n == 1 {
		if visitFrom > 0 {
			visit = nil
		}
		a.step(p, kv, out, q, pos0, visit)
		return
	}
	rows := tileRows
	if n < rows {
		rows = n
	} else if 4*rows*(pos0+n) > tileBytes {
		rows = tileRows / 2
	}
	tiles := (n + rows - 1) / rows
	p.Run(tiles*a.Heads, func(task, worker int) {
		// The last queries see most: they go first, so that no long tile is left for the end.
		tile, head := tiles-1-task/a.Heads, task%a.Heads
		row0 := tile * rows
		a.tile(p, worker, kv, out, q, head, row0, min(rows, n-row0), n, pos0, visit, visitFrom)
	})
}

// tile runs rows [row0, row0+rows) of one head.
func (a *Attention) tile(p *Pool, worker int, kv *KV, out, q []float32, head, row0, rows, n, pos0 int, visit func(int, *Tile), visitFrom int) {
	shown, wanted := visit != nil && row0+rows > visitFrom, row0+rows > a.OutFrom
	if !shown && !wanted {
		return
	}
	group := a.Heads / len(kv.heads)
	s := &kv.heads[head/group]
	// Slots hold positions one to one, unless the store is compressed: then the
	// pass's own n positions stand last.
	dropped := kv.seen - s.n
	first := pos0 + row0 - dropped // slot of the first row's own key
	key0 := 0
	if a.Window > 0 {
		key0 = s.slotFrom(max(0, pos0+row0-a.Window+1)) / simd.Width * simd.Width
	}
	keys := first + rows - key0 // slots from key0 that the last row sees
	stride := rowStride(keys)
	buf := p.Scratch(worker).Floats(rows * (stride + 2 + a.KeyDim))
	w, lse, inverse, qs := buf[:rows*stride], buf[rows*stride:][:rows], buf[rows*(stride+1):][:rows], buf[rows*(stride+2):]
	ldq := a.Heads * a.KeyDim
	for i := range rows {
		x := qs[i*a.KeyDim : (i+1)*a.KeyDim]
		copy(x, q[(row0+i)*ldq+head*a.KeyDim:])
		simd.Scale(x, a.Scale)
	}
	for j := 0; j < keys; j += simd.Width {
		at := (key0 + j) / simd.Width * a.KeyDim * simd.Width
		simd.MulPanel(w[j:], stride, qs, a.KeyDim, s.keys[at:at+a.KeyDim*simd.Width], rows, simd.Width, a.KeyDim, false)
	}
	for i := range rows {
		row := w[i*stride : i*stride+keys]
		lo, hi := 0, keys-rows+i+1
		if a.Window > 0 {
			lo = s.slotFrom(max(0, pos0+row0+i-a.Window+1)) - key0
		}
		clear(row[:lo])
		clear(row[hi:])
		inverse[i], lse[i] = a.exp(row[lo:hi])
	}
	ldo := a.Heads * a.ValueDim
	o := out[row0*ldo+head*a.ValueDim:]
	for d := 0; d < a.ValueDim && wanted; d += simd.Width {
		at := (d/simd.Width*s.room + key0) * simd.Width
		simd.MulPanel(o[d:], ldo, w, stride, s.values[at:at+keys*simd.Width], rows, min(simd.Width, a.ValueDim-d), keys, false)
	}
	for i := 0; i < rows && wanted; i++ {
		simd.Scale(o[i*ldo:i*ldo+a.ValueDim], inverse[i])
	}
	if !shown {
		return
	}
	skip := max(0, visitFrom-row0)
	for i := skip; i < rows; i++ {
		simd.Scale(w[i*stride:i*stride+keys], inverse[i])
	}
	visit(worker, &Tile{
		Head: head, Row0: row0 + skip, Rows: rows - skip, Pos0: pos0 + row0 + skip,
		Key0: key0, Keys: keys, Stride: stride, Weights: w[skip*stride:], LSE: lse[skip:rows],
	})
}

// exp turns scores, scaled already, into exponentials relative to the largest;
// it returns the inverse of their sum and the log-sum-exp of the scores.
func (a *Attention) exp(x []float32) (inverse, lse float32) {
	a.cap(x)
	m := simd.Max(x)
	sum := simd.ExpSum(x, m)
	return 1 / sum, m + float32(math.Log(float64(sum)))
}

// cap is the soft cap of scores, where the model has one.
func (a *Attention) cap(x []float32) {
	if a.SoftCap > 0 {
		for i, v := range x {
			x[i] = a.SoftCap * float32(math.Tanh(float64(v/a.SoftCap)))
		}
	}
}

// rowStride is the distance between rows of keys scores: an odd number of pairs
// of cache lines past a multiple of a page, so that the rows of a tile, which
// are read and written together, fall into different sets of the caches.
func rowStride(keys int) int {
	const page = 1024
	if keys <= page/2 {
		return (keys + simd.Width - 1) / simd.Width * simd.Width
	}
	return (keys+page-1)/page*page + simd.Width
}
