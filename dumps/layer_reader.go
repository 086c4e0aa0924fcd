package dumps

import (
	"context"
	"fmt"

	"github.com/attnscope/attnscope/internal/attend"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
)

// LayerReader reads rows of one layer head by head. Use it for long prompts, where the
// weights of all heads together do not fit in memory. Its methods may be called from
// several goroutines.
type LayerReader struct {
	r             *Reader
	prompt, layer int
	shape         LayerShape
	queries       [2][]float32     // by phase, [rows, heads of the layer, dim]; factors only
	keys          []*attend.Packed // P+G of each kv head; factors only
	sinks         [2][]float32     // by phase, [recorded heads, rows]; factors only, nil without sinks
}

// LayerOf opens a layer; layer is a true id. In the factors form it reads all queries
// and keys of the layer; in the rows form it reads nothing yet. For a layer that was
// not recorded, the error is [ErrAbsent].
func (r *Reader) LayerOf(prompt, layer int) (*LayerReader, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, err
	}
	l := &LayerReader{r: r, prompt: prompt, layer: layer, shape: r.header.Model.Layer(layer)}
	if p.Store != StoreFactors {
		return l, nil
	}
	for _, ph := range Phases {
		rows, _, _ := p.Shape(ph)
		if l.queries[ph], err = r.stack(prompt, stackOf(&r.header.Model, layer, kindQueries, ph, rows)); err != nil {
			return nil, err
		}
		if l.sinks[ph], err = r.Sinks(prompt, layer, ph); err != nil {
			return nil, err
		}
	}
	l.keys, err = r.packedKeys(prompt, layer, p.PromptTokens+p.ReplyTokens)
	return l, err
}

// packedKeys reads n keys of each kv head of a layer.
func (r *Reader) packedKeys(prompt, layer, n int) ([]*attend.Packed, error) {
	shape := stackOf(&r.header.Model, layer, kindKeys, Prefill, n)
	list, err := r.blocksOf(prompt, shape)
	if err != nil {
		return nil, err
	}
	heads, dim := shape.heads, shape.width
	if _, err := r.checkShape("keys", n, heads, dim); err != nil {
		return nil, err
	}
	out := make([]*attend.Packed, heads)
	for kv := range out {
		out[kv] = attend.NewPacked(n, dim)
	}
	return out, r.eachBlock(list, shape, func(rec *record, x []float32) {
		for kv, packed := range out {
			packed.Put(int(rec.Row0), headRows(x, kv, int(rec.Rows), shape))
		}
	})
}

// headRows returns the view of one head in x, rows of a stack.
func headRows(x []float32, head, rows int, s stackShape) simd.Mat[float32] {
	return simd.Mat[float32]{Data: x[head*s.width:], Rows: rows, Cols: s.width, Stride: s.heads * s.width}
}

// Bytes returns the bytes of memory that the layer holds.
func (l *LayerReader) Bytes() int {
	n := 4 * (len(l.queries[Prefill]) + len(l.queries[Decode]))
	for _, k := range l.keys {
		n += k.Bytes()
	}
	return n
}

// Release gives the memory of the keys back for the next layer. The LayerReader must
// not be used afterwards.
func (l *LayerReader) Release() {
	for _, k := range l.keys {
		k.Release()
	}
	l.keys = nil
}

// States returns the queries of the recorded prompt rows, [R, heads of the layer, dim],
// which are shared and must not be changed, and a copy of the keys, [P+G, kv heads, dim].
// In the rows form both are nil.
func (l *LayerReader) States() (queries, keys []float32) {
	if l.keys == nil {
		return nil, nil
	}
	s := &l.shape
	n := l.keys[0].Keys()
	keys = make([]float32, n*s.KVHeads*s.KeyDim)
	for kv, k := range l.keys {
		for j := range n {
			k.Key(keys[(j*s.KVHeads+kv)*s.KeyDim:][:s.KeyDim], j)
		}
	}
	return l.queries[Prefill], keys
}

// Rows writes rows [row0, row0+rows) of a phase into dst, [rows, keys], where keys is
// P with Prefill and P+G with Decode. head is an index into Header.HeadsOf. The numbers
// are the same as those of [Reader.Weights].
func (l *LayerReader) Rows(dst []float32, ph Phase, head, row0, rows int) error {
	p := &l.r.prompts[l.prompt]
	all, keys, _ := p.Shape(ph)
	if row0 < 0 || rows < 0 || row0+rows > all {
		return fmt.Errorf("%s: rows %d to %d of %d", l.r.path, row0, row0+rows, all)
	}
	if err := l.checkHead(dst, head, rows*keys); err != nil {
		return err
	}
	if p.Store != StoreFactors {
		return l.gather(dst[:rows*keys], ph, head, row0, rows)
	}
	if ph == Decode {
		row0 += p.WindowRows
	}
	return l.rebuild(dst[:rows*keys], head, rowRange(row0, rows), keys)
}

// Weights returns rows [row0, row0+n) of a phase of all recorded heads, [heads, n, keys],
// as [Reader.Weights] returns all rows. It reads several heads at once.
func (l *LayerReader) Weights(ph Phase, row0, n int) (*Attention, error) {
	p := &l.r.prompts[l.prompt]
	rows, keys, pos0 := p.Shape(ph)
	if row0 < 0 || n < 0 || row0+n > rows {
		return nil, fmt.Errorf("%s: rows %d to %d of %d", l.r.path, row0, row0+n, rows)
	}
	if p.Store != StoreFactors && n == rows {
		return l.r.Weights(l.prompt, l.layer, ph)
	}
	a := &Attention{Heads: len(l.heads()), Rows: n, Keys: keys, Pos0: pos0 + row0}
	var err error
	if a.Data, err = l.r.allocate("weights", a.Heads, a.Rows, a.Keys); err != nil {
		return nil, err
	}
	return a, parallel.Try(context.Background(), a.Heads, func(head int) error {
		return l.Rows(a.Head(head), ph, head, row0, n)
	})
}

// JoinedRows writes rows [row0, row0+n) of both phases into dst, [n, P+G]: the rows of
// the prompt and those of the reply are numbered as one list. In the factors form,
// this passes over the keys once instead of twice. The numbers are the same as those
// of Rows.
func (l *LayerReader) JoinedRows(dst []float32, head, row0, n int) error {
	if n < 0 {
		return fmt.Errorf("%s: %d rows", l.r.path, n)
	}
	return l.PickRows(dst, head, rowRange(row0, n))
}

// PickRows is like JoinedRows but writes any rows of the joined list, given in
// ascending order.
func (l *LayerReader) PickRows(dst []float32, head int, rows []int) error {
	p := &l.r.prompts[l.prompt]
	keys := p.PromptTokens + p.ReplyTokens
	if err := l.checkHead(dst, head, len(rows)*keys); err != nil {
		return err
	}
	for i, row := range rows {
		if row < 0 || row >= p.WindowRows+p.ReplyTokens || i > 0 && row <= rows[i-1] {
			return fmt.Errorf("%s: row %d of %d", l.r.path, row, p.WindowRows+p.ReplyTokens)
		}
	}
	if p.Store == StoreFactors {
		return l.rebuild(dst[:len(rows)*keys], head, rows, keys)
	}
	for len(rows) > 0 {
		n := consecutive(rows, p.WindowRows)
		if err := l.joinedRun(dst[:n*keys], head, rows[0], n); err != nil {
			return err
		}
		dst = dst[n*keys:]
		rows = rows[n:]
	}
	return nil
}

// consecutive returns how many rows at the start of a list follow each other without
// a gap and belong to one phase; replies is the first row of the reply.
func consecutive(rows []int, replies int) int {
	n := 1
	for n < len(rows) && rows[n] == rows[0]+n && rows[n] != replies {
		n++
	}
	return n
}

// joinedRun writes n consecutive rows of one phase into dst, [n, P+G].
func (l *LayerReader) joinedRun(dst []float32, head, row0, n int) error {
	p := &l.r.prompts[l.prompt]
	ph := Prefill
	if row0 >= p.WindowRows {
		ph = Decode
		row0 -= p.WindowRows
	}
	if err := l.Rows(dst, ph, head, row0, n); err != nil {
		return err
	}
	_, have, _ := p.Shape(ph)
	want := p.PromptTokens + p.ReplyTokens
	if have == want {
		return nil
	}
	for i := n - 1; i >= 0; i-- { // [n, P] becomes [n, P+G], in place from the end
		row := dst[i*want : (i+1)*want]
		copy(row, dst[i*have:(i+1)*have])
		clear(row[have:])
	}
	return nil
}

// heads lists the recorded heads of the layer.
func (l *LayerReader) heads() []int { return l.r.header.HeadsOf(l.layer) }

// checkHead checks that head is an index into the recorded heads and that dst has room
// for its weights.
func (l *LayerReader) checkHead(dst []float32, head, weights int) error {
	if heads := len(l.heads()); head < 0 || head >= heads {
		return fmt.Errorf("%s: head %d of %d recorded", l.r.path, head, heads)
	}
	if len(dst) < weights {
		return fmt.Errorf("%s: room for %d weights, want %d", l.r.path, len(dst), weights)
	}
	return nil
}

// rowRange lists n rows from row0 on.
func rowRange(row0, n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = row0 + i
	}
	return rows
}

// rebuild computes joined rows from queries and keys; dst is [rows, keys].
func (l *LayerReader) rebuild(dst []float32, head int, rows []int, keys int) error {
	if len(rows) == 0 {
		return nil
	}
	p := &l.r.prompts[l.prompt]
	h := l.heads()[head]
	dim := l.shape.KeyDim
	queries := make([]float32, len(rows)*dim)
	pos := make([]int, len(rows))
	shares := make([]float32, len(rows))
	for i, row := range rows {
		pos[i] = p.PromptTokens - p.WindowRows + row
		ph := Prefill
		if row >= p.WindowRows {
			ph = Decode
			row -= p.WindowRows
		}
		if l.shape.Sink {
			all, _, _ := p.Shape(ph)
			shares[i] = l.sinks[ph][head*all+row]
		}
		from := l.queries[ph]
		copy(queries[i*dim:(i+1)*dim], from[(row*l.shape.Heads+h)*dim:])
	}
	l.shape.attention().PackedRows(dst, pos, keys, simd.Dense(queries, len(rows), dim), l.keys[l.shape.KVHead(h)])
	if l.shape.Sink {
		leaveToSinks(dst, keys, shares)
	}
	return l.r.badWeight(dst, keys, weightPlace{l.prompt, l.layer, h, func(i int) string {
		if row := rows[i] - p.WindowRows; row >= 0 {
			return phaseRow(Decode, row)
		}
		return phaseRow(Prefill, rows[i])
	}})
}

// gather copies rows of a phase out of the blocks that hold them.
func (l *LayerReader) gather(dst []float32, ph Phase, head, row0, rows int) error {
	clear(dst)
	_, keys, _ := l.r.prompts[l.prompt].Shape(ph)
	id := l.heads()[head]
	got := 0
	list := l.r.find(l.prompt, l.layer, kindWeights, ph)
	for i := range list {
		rec := &list[i]
		first := int(rec.Row0)
		lo, hi := max(row0, first), min(row0+rows, first+int(rec.Rows))
		if int(rec.Head0) != id || lo >= hi {
			continue
		}
		if rec.NH != 1 || int(rec.Key0)+int(rec.Keys) > keys {
			return l.r.misfit(rec)
		}
		x, err := l.r.floats(rec)
		if err != nil {
			return err
		}
		if err := l.r.checkBlock(rec, x, l.prompt, ph); err != nil {
			return err
		}
		for row := lo; row < hi; row++ {
			from := (row - first) * int(rec.Keys)
			copy(dst[(row-row0)*keys+int(rec.Key0):], x[from:from+int(rec.Keys)])
		}
		got += hi - lo
	}
	if got != rows {
		return l.r.missingRows(l.prompt, l.layer, id, got, rows)
	}
	return nil
}
