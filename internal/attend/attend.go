// Package attend computes rows of attention weights from queries and keys, one head at
// a time. The dump reader uses it to rebuild weights, and so does the decoder that
// reads compressed caches.
package attend

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
)

// Head specifies how the scores of a head become weights.
type Head struct {
	Scale   float32 // score = scale q·k
	SoftCap float32 // score = cap tanh(score/cap); 0: none
	Window  int     // a query at position p sees the keys from p-Window+1 on; 0: all
	Chunk   int     // a query at position p sees the keys from p/Chunk*Chunk on; 0: all
	// Bias is added to the scaled scores, by position of the key; nil: none.
	Bias []float32
	// Sink is the score of a learned sink, which joins the scores of every row: the
	// weights of a row and the share of the sink sum to 1. nil: none.
	Sink *float32
	// Positions are the positions of the keys, ascending; nil: key i is at position i.
	Positions []int32
}

// from returns the first of keys keys whose position is at least pos.
func (h Head) from(pos, keys int) int {
	if h.Positions == nil {
		return max(0, min(pos, keys))
	}
	at, _ := slices.BinarySearch(h.Positions[:keys], int32(pos))
	return at
}

// Rows writes the weights of the queries q [rows, dim], the first one at position pos0,
// over the keys k [keys, dim] to w [rows, keys]. A key that a query does not see has
// weight zero.
func (h Head) Rows(w []float32, pos0 int, q, k simd.Mat[float32]) {
	panel := make([]float32, q.Cols*simd.Width)
	for j := 0; j < k.Rows; j += simd.Width {
		simd.PackPanel(panel, k, j)
		simd.MulPanel(columns(w, q.Rows, k.Rows, j), q, panel, false)
	}
	for r := range q.Rows {
		h.softmax(w[r*k.Rows:(r+1)*k.Rows], pos0+r)
	}
}

// columns returns the view of up to Width columns of w [rows, keys] from column j on.
func columns(w []float32, rows, keys, j int) simd.Mat[float32] {
	return simd.Mat[float32]{Data: w[j:], Rows: rows, Cols: min(simd.Width, keys-j), Stride: keys}
}

// Packed holds the keys of one kv head in the layout that products read. Packing pays
// off if rows are computed more than once.
type Packed struct {
	keys, dim int
	panels    []float32 // [ceil(keys/Width)][dim][Width]
}

// released holds the memory of Packed values that were released.
var released spare.Slices[float32]

// NewPacked allocates memory for keys. They are zero at first, because a damaged dump
// may lack some of them.
func NewPacked(keys, dim int) *Packed {
	p := &Packed{keys: keys, dim: dim, panels: released.Take(simd.Panels(keys) * simd.Width * dim)}
	clear(p.panels)
	return p
}

// Release gives the memory to the next Packed. This one must not be used afterwards.
func (p *Packed) Release() {
	released.Give(p.panels)
	p.panels = nil
}

// Put stores the keys k [n, dim] as keys at to at+n-1. Ranges that do not overlap may
// be put concurrently.
func (p *Packed) Put(at int, k simd.Mat[float32]) {
	for j := 0; j < k.Rows; {
		if first := at + j; first%simd.Width == 0 && k.Rows-j >= simd.Width {
			simd.PackPanel(p.panels[first*p.dim:(first+simd.Width)*p.dim], k, j)
			j += simd.Width
			continue
		}
		for d, v := range k.Data[j*k.Stride:][:p.dim] {
			p.panels[p.index(at+j, d)] = v
		}
		j++
	}
}

// Key writes key j to dst, [dim].
func (p *Packed) Key(dst []float32, j int) {
	for d := range p.dim {
		dst[d] = p.panels[p.index(j, d)]
	}
}

// index returns the index of element d of key j.
func (p *Packed) index(j, d int) int {
	return (j/simd.Width*p.dim+d)*simd.Width + j%simd.Width
}

// Keys returns the number of keys.
func (p *Packed) Keys() int { return p.keys }

// Bytes returns the memory that the keys take.
func (p *Packed) Bytes() int { return 4 * len(p.panels) }

// PackedRows computes the same numbers as Rows, over the first keys keys of k, for
// queries at any positions: query r is at position pos[r].
func (h Head) PackedRows(w []float32, pos []int, keys int, q simd.Mat[float32], k *Packed) {
	for j := 0; j < keys; j += simd.Width {
		panel := k.panels[j*k.dim : (j+simd.Width)*k.dim]
		simd.MulPanel(columns(w, q.Rows, keys, j), q, panel, false)
	}
	for r, at := range pos {
		h.softmax(w[r*keys:(r+1)*keys], at)
	}
}

// softmax turns the scores of the query at pos into weights.
func (h Head) softmax(row []float32, pos int) {
	lo, hi := 0, h.from(pos+1, len(row))
	if h.Window > 0 {
		lo = h.from(pos-h.Window+1, len(row))
	}
	if h.Chunk > 0 {
		lo = max(lo, h.from(pos/h.Chunk*h.Chunk, len(row)))
	}
	clear(row[:lo])
	clear(row[hi:])
	x := row[lo:hi]
	if h.SoftCap > 0 {
		for i, v := range x {
			x[i] = h.SoftCap * float32(math.Tanh(float64(v*h.Scale/h.SoftCap)))
		}
	} else {
		simd.Scale(x, h.Scale)
	}
	switch {
	case h.Bias == nil:
	case h.Positions == nil:
		for i, v := range h.Bias[lo:hi] {
			x[i] += v
		}
	default:
		for i, pos := range h.Positions[lo:hi] {
			x[i] += h.Bias[pos]
		}
	}
	top := simd.Max(x)
	if h.Sink != nil {
		top = max(top, *h.Sink)
	}
	sum := simd.ExpSum(x, top)
	if h.Sink != nil {
		sum += float32(math.Exp(float64(*h.Sink - top)))
	}
	simd.Scale(x, 1/sum)
}
