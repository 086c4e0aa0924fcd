package capture

import (
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
)

const (
	// replyBlockRows is the largest number of reply rows that are gathered for one
	// block.
	replyBlockRows = 64
	// replyBytes bounds the memory of gathered rows over all layers.
	replyBytes = 64 << 20
)

// replyBuffer gathers the rows of a reply in one layer, so that a block holds more
// than the single row that decoding brings. Rows of a followed reply arrive many at a
// time; in the rows form they are written at once.
type replyBuffer struct {
	r      *recorder
	of     *layerRecorder
	room   int         // rows that fit
	stride int         // keys of the longest row
	row0   int         // reply row of the first row in the buffer
	rows   int         // complete rows in the buffer
	coming int         // rows of the current pass
	data   [][]float32 // rows form: per recorded head [room, stride], or
	halves [][]uint16  // the same, as a card rounds them
	lse    []float32   // factors form: [heads, room]
	q      []float32   // factors form: [room, heads*dim]
}

func newReplyBuffer(l *layerRecorder, room int) *replyBuffer {
	r := l.r
	b := &replyBuffer{r: r, of: l, stride: r.prompt + room, room: max(1, min(room, replyBlockRows))}
	if r.store == dumps.StoreRows {
		row := int64(4*len(r.plan.Layers)*max(1, len(r.plan.Heads))) * int64(max(1, b.stride))
		b.room = max(1, min(b.room, int(replyBytes/row)))
	}
	return b
}

// begin makes room for the n rows of the next pass.
func (b *replyBuffer) begin(n int) error {
	direct := b.r.store == dumps.StoreRows && n > 1
	if b.rows+n > b.room || direct {
		if err := b.flush(); err != nil {
			return err
		}
	}
	b.coming = n
	if direct {
		return nil
	}
	if n > b.room {
		b.room = n
		b.lse = nil
		b.q = nil
	}
	if b.r.store == dumps.StoreRows && b.data == nil {
		b.data = make([][]float32, len(b.of.chosen))
		b.halves = make([][]uint16, len(b.of.chosen))
	}
	if b.r.store == dumps.StoreFactors && b.lse == nil {
		b.lse = make([]float32, b.of.heads*b.room)
	}
	return nil
}

// end counts the rows of the pass that begin prepared for.
func (b *replyBuffer) end() {
	if b.r.store == dumps.StoreRows && b.coming > 1 {
		b.row0 += b.coming
	} else {
		b.rows += b.coming
	}
}

// tile stores the rows of one head: weights or halves, or log-sum-exps in the factors
// form. head is its index among the recorded heads.
func (b *replyBuffer) tile(t *cpu.Tile, halves []uint16, head int) error {
	row := t.Pos0 - b.r.prompt
	switch {
	case b.r.store == dumps.StoreFactors:
		copy(b.lse[t.Head*b.room+row-b.row0:], t.LSE[:t.Rows])
	case b.coming > 1: // tiles of a followed reply are large enough for blocks of their own
		return b.r.pw.Rows(dumps.Rows{
			Layer: b.of.layer, Head: t.Head, Phase: dumps.Decode,
			Row0: row, Rows: t.Rows, Key0: t.Key0, Keys: t.Keys, Stride: t.Stride,
			Weights: t.Weights, Halves: halves,
		})
	case halves != nil:
		place(b, &b.halves[head], row, t.Key0, halves[:t.Keys])
	default:
		place(b, &b.data[head], row, t.Key0, t.Weights[:t.Keys])
	}
	return nil
}

// place copies a row that begins at key0 to a head's buffer. It allocates the buffer
// for the first row.
func place[T float32 | uint16](b *replyBuffer, buf *[]T, row, key0 int, x []T) {
	if *buf == nil {
		*buf = make([]T, b.room*b.stride)
	}
	dst := (*buf)[(row-b.row0)*b.stride:][:b.stride]
	clear(dst)
	copy(dst[key0:], x)
}

// states stores the queries of a pass, [n, heads*dim], in the factors form.
func (b *replyBuffer) states(pos0, n int, q []float32) {
	width := len(q) / n
	if b.q == nil {
		b.q = make([]float32, b.room*width)
	}
	copy(b.q[(pos0-b.r.prompt-b.row0)*width:], q)
}

// flush writes the complete rows: a block per head, or one block of queries.
func (b *replyBuffer) flush() error {
	rows, row0 := b.rows, b.row0
	b.row0 += rows
	b.rows = 0
	if rows == 0 {
		return nil
	}
	if b.r.store == dumps.StoreFactors {
		lse := make([]float32, b.of.heads*rows)
		for h := range b.of.heads {
			copy(lse[h*rows:(h+1)*rows], b.lse[h*b.room:])
		}
		return b.r.pw.Queries(b.of.layer, dumps.Decode, row0, rows, b.q[:rows*len(b.q)/b.room], lse)
	}
	keys := b.r.prompt + row0 + rows
	for i, head := range b.of.chosen {
		err := b.r.pw.Rows(dumps.Rows{
			Layer: b.of.layer, Head: head, Phase: dumps.Decode,
			Row0: row0, Rows: rows, Keys: keys, Stride: b.stride,
			Weights: b.data[i], Halves: b.halves[i],
		})
		if err != nil {
			return err
		}
	}
	return nil
}
