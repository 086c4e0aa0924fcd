// Package attend computes rows of attention weights from queries and keys, one
// head at a time: what the reader of dumps and the compressed decoder rebuild.
package attend

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
)

// Head says how the scores of a head are made.
type Head struct {
	Scale   float32
	SoftCap float32 // score = cap tanh(score/cap); 0: off
	Window  int     // a query at p sees keys from p-Window+1 on; 0: all
}

// Rows writes the weights of rows queries, the first at position pos0, over
// keys 0 to keys-1: w [rows, keys], zero where a key is not seen.
//
//	q  query r at q[r*ldq:][:dim]
//	k  key j at k[j*ldk:][:dim]
func (h Head) Rows(w []float32, rows, keys, pos0 int, q []float32, ldq int, k []float32, ldk, dim int) {
	panel := make([]float32, dim*simd.Width)
	for j := 0; j < keys; j += simd.Width {
		simd.PackPanel(panel, simd.Mat[float32]{Data: k, Rows: keys, Cols: dim, Stride: ldk}, j)
		scores := simd.Mat[float32]{Data: w[j:], Rows: rows, Cols: min(simd.Width, keys-j), Stride: keys}
		simd.MulPanel(scores, simd.Mat[float32]{Data: q, Rows: rows, Cols: dim, Stride: ldq}, panel, false)
	}
	for r := range rows {
		h.softmax(w[r*keys:(r+1)*keys], pos0+r)
	}
}

// Packed are the keys of one kv head laid out for products: worth it where rows are
// asked for more than once.
type Packed struct {
	keys, dim int
	panels    []float32 // [ceil(keys/Width)][dim][Width]
}

// panels are those of Packed that were given back.
var panels spare.Slices[float32]

// NewPacked makes room for keys, all zero: a damaged dump may leave out some.
func NewPacked(keys, dim int) *Packed {
	p := &Packed{keys, dim, panels.Take((keys + simd.Width - 1) / simd.Width * simd.Width * dim)}
	clear(p.panels)
	return p
}

// Release gives the memory to the next Packed: this one is not used any more.
func (p *Packed) Release() {
	panels.Give(p.panels)
	p.panels = nil
}

// Put writes keys at to at+n-1, key at+j from k[j*ldk:][:dim]. Ranges that do not
// overlap may be put at the same time.
func (p *Packed) Put(at, n int, k []float32, ldk int) {
	for j := 0; j < n; {
		if first := at + j; first%simd.Width == 0 && n-j >= simd.Width {
			panel := p.panels[first*p.dim : (first+simd.Width)*p.dim]
			simd.PackPanel(panel, simd.Mat[float32]{Data: k, Rows: n, Cols: p.dim, Stride: ldk}, j)
			j += simd.Width
			continue
		}
		for d, v := range k[j*ldk:][:p.dim] {
			p.panels[p.place(at+j, d)] = v
		}
		j++
	}
}

// Key writes key j to dst, [dim].
func (p *Packed) Key(dst []float32, j int) {
	for d := range p.dim {
		dst[d] = p.panels[p.place(j, d)]
	}
}

func (p *Packed) place(j, d int) int {
	return (j/simd.Width*p.dim+d)*simd.Width + j%simd.Width
}

// Keys is how many there are, Bytes the memory they take.
func (p *Packed) Keys() int  { return p.keys }
func (p *Packed) Bytes() int { return 4 * len(p.panels) }

// PackedRows is Rows over the first keys of k, to the same numbers, for queries at
// any positions: query r at pos[r].
func (h Head) PackedRows(w []float32, pos []int, keys int, q []float32, ldq int, k *Packed) {
	for j := 0; j < keys; j += simd.Width {
		scores := simd.Mat[float32]{Data: w[j:], Rows: len(pos), Cols: min(simd.Width, keys-j), Stride: keys}
		queries := simd.Mat[float32]{Data: q, Rows: len(pos), Cols: k.dim, Stride: ldq}
		simd.MulPanel(scores, queries, k.panels[j*k.dim:(j+simd.Width)*k.dim], false)
	}
	for r, at := range pos {
		h.softmax(w[r*keys:(r+1)*keys], at)
	}
}

// softmax turns the scores of the query at pos into weights.
func (h Head) softmax(row []float32, pos int) {
	lo, hi := 0, min(pos+1, len(row))
	if h.Window > 0 {
		lo = max(0, pos-h.Window+1)
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
	sum := simd.ExpSum(x, simd.Max(x))
	simd.Scale(x, 1/sum)
}
