package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
)

// genBufferBytes bounds the generated rows that wait, over all layers, for
// enough company to be worth a block.
const genBufferBytes = 64 << 20

// genBuffer gathers the rows of generated tokens of one layer: decoding brings
// them one at a time, a followed reply many at once.
type genBuffer struct {
	r      *recorder
	layer  int
	room   int         // rows gathered before a block is written
	stride int         // keys of the longest row
	row0   int         // reply row of buffered row 0
	rows   int         // rows complete in the buffer
	coming int         // rows of the pass under way
	data   [][]float32 // rows form: per recorded head [room, stride], or
	halves [][]uint16  // the same, as a card rounds them
	lse    []float32   // factors form: [heads, room]
	q      []float32   // factors form: [room, heads*dim]
}

func newGenBuffer(r *recorder, layer, layers, reply int) *genBuffer {
	g := &genBuffer{r: r, layer: layer, stride: r.prompt + reply, room: max(1, min(reply, 64))}
	if r.store == dumps.StoreRows {
		row := int64(4*layers*max(1, len(r.plan.Heads))) * int64(max(1, g.stride))
		g.room = max(1, min(g.room, int(genBufferBytes/row)))
	}
	return g
}

// begin makes room for the n rows of the next pass.
func (g *genBuffer) begin(n int) error {
	direct := g.r.store == dumps.StoreRows && n > 1
	if g.rows+n > g.room || direct {
		if err := g.flush(); err != nil {
			return err
		}
	}
	g.coming = n
	if direct {
		return nil
	}
	if n > g.room {
		g.room, g.lse, g.q = n, nil, nil
	}
	if g.r.store == dumps.StoreRows && g.data == nil {
		g.data, g.halves = make([][]float32, len(g.r.plan.Heads)), make([][]uint16, len(g.r.plan.Heads))
	}
	if g.r.store == dumps.StoreFactors && g.lse == nil {
		g.lse = make([]float32, g.r.heads*g.room)
	}
	return nil
}

// end counts the rows of the pass that begin announced.
func (g *genBuffer) end() {
	if g.r.store == dumps.StoreRows && g.coming > 1 {
		g.row0 += g.coming
	} else {
		g.rows += g.coming
	}
}

// tile takes the rows of one head, its weights or halves; head is its index among
// the recorded.
func (g *genBuffer) tile(t *cpu.Tile, halves []uint16, head int) error {
	row := t.Pos0 - g.r.prompt
	switch {
	case g.r.store == dumps.StoreFactors:
		copy(g.lse[t.Head*g.room+row-g.row0:], t.LSE[:t.Rows])
	case g.coming > 1: // a followed reply comes in tiles worth a block each
		return g.r.pw.Rows(dumps.Rows{
			Layer: g.layer, Head: t.Head, Phase: dumps.Decode,
			Row0: row, Rows: t.Rows, Key0: t.Key0, Keys: t.Keys, Stride: t.Stride,
			Weights: t.Weights, Halves: halves,
		})
	case halves != nil:
		place(g, &g.halves[head], row, t.Key0, halves[:t.Keys])
	default:
		place(g, &g.data[head], row, t.Key0, t.Weights[:t.Keys])
	}
	return nil
}

// place copies a row that begins at key0 into a head's buffer, which it makes at
// the first.
func place[T float32 | uint16](g *genBuffer, buf *[]T, row, key0 int, x []T) {
	if *buf == nil {
		*buf = make([]T, g.room*g.stride)
	}
	dst := (*buf)[(row-g.row0)*g.stride:][:g.stride]
	clear(dst)
	copy(dst[key0:], x)
}

// states takes the queries of a pass, [n, heads*dim], factors form only.
func (g *genBuffer) states(pos0, n int, q []float32) {
	width := len(q) / n
	if g.q == nil {
		g.q = make([]float32, g.room*width)
	}
	copy(g.q[(pos0-g.r.prompt-g.row0)*width:], q)
}

// flush writes the complete rows as one block a head, or one of queries.
func (g *genBuffer) flush() error {
	rows, row0 := g.rows, g.row0
	g.row0, g.rows = row0+rows, 0
	if rows == 0 {
		return nil
	}
	if g.r.store == dumps.StoreFactors {
		lse := make([]float32, g.r.heads*rows)
		for h := range g.r.heads {
			copy(lse[h*rows:(h+1)*rows], g.lse[h*g.room:])
		}
		return g.r.pw.Queries(g.layer, dumps.Decode, row0, rows, g.q[:rows*len(g.q)/g.room], lse)
	}
	keys := g.r.prompt + row0 + rows
	for h, head := range g.r.plan.Heads {
		err := g.r.pw.Rows(dumps.Rows{
			Layer: g.layer, Head: head, Phase: dumps.Decode,
			Row0: row0, Rows: rows, Keys: keys, Stride: g.stride,
			Weights: g.data[h], Halves: g.halves[h],
		})
		if err != nil {
			return err
		}
	}
	return nil
}
