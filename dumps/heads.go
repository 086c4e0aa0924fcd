package dumps

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/internal/attend"
)

// LayerReader hands out rows of one layer a head at a time: what long prompts
// need, where all heads together do not fit in memory. Its methods may be called
// from several goroutines.
type LayerReader struct {
	r             *Reader
	prompt, layer int
	queries       [2][]float32     // by phase, [rows, model heads, dim]; factors only
	keys          []*attend.Packed // P+G of each kv head; factors only
}

// LayerOf opens a layer, a true id. Of factors it reads the queries and keys
// once; of rows nothing yet.
func (r *Reader) LayerOf(prompt, layer int) (*LayerReader, error) {
	if prompt < 0 || prompt >= len(r.prompts) {
		return nil, fmt.Errorf("%s: prompt %d of %d", r.path, prompt, len(r.prompts))
	}
	if !slices.Contains(r.header.Plan.Layers, layer) {
		return nil, fmt.Errorf("%s: layer %d: %w; layers %v are", r.path, layer, ErrAbsent, r.header.Plan.Layers)
	}
	l := &LayerReader{r: r, prompt: prompt, layer: layer}
	p, m := &r.prompts[prompt], &r.header.Model
	if p.Store != StoreFactors {
		return l, nil
	}
	var err error
	for ph, rows := range []int{p.WindowRows, p.ReplyTokens} {
		if l.queries[ph], err = r.stack(prompt, layer, kindQueries, Phase(ph), rows, m.Heads, m.HeadDim); err != nil {
			return nil, err
		}
	}
	l.keys, err = r.packedKeys(prompt, layer, p.PromptTokens+p.ReplyTokens)
	return l, err
}

// packedKeys reads n keys of each kv head of a layer.
func (r *Reader) packedKeys(prompt, layer, n int) ([]*attend.Packed, error) {
	m := &r.header.Model
	list, err := r.rowsOf(prompt, layer, kindKeys, Prefill, n)
	if err != nil {
		return nil, err
	}
	if _, err := r.fits("keys", n, m.KVHeads, m.HeadDim); err != nil {
		return nil, err
	}
	out := make([]*attend.Packed, m.KVHeads)
	for kv := range out {
		out[kv] = attend.NewPacked(n, m.HeadDim)
	}
	return out, r.eachBlock(list, n, m.KVHeads, m.HeadDim, func(rec *record, x []float32) {
		for kv, k := range out {
			k.Put(int(rec.Row0), int(rec.Rows), x[kv*m.HeadDim:], m.KVHeads*m.HeadDim)
		}
	})
}

// Bytes is the memory that the layer holds.
func (l *LayerReader) Bytes() int {
	n := 4 * (len(l.queries[0]) + len(l.queries[1]))
	for _, k := range l.keys {
		n += k.Bytes()
	}
	return n
}

// Release gives the layer's memory to the next: the reader is not used any more.
func (l *LayerReader) Release() {
	for _, k := range l.keys {
		k.Release()
	}
	l.keys = nil
}

// States are the queries of the recorded prompt rows [rows, model heads, dim],
// shared, not to be changed, and a copy of the keys [P+G, kv heads, dim]; nil where
// weights were stored.
func (l *LayerReader) States() (queries, keys []float32) {
	if l.keys == nil {
		return nil, nil
	}
	m := &l.r.header.Model
	n := l.keys[0].Keys()
	keys = make([]float32, n*m.KVHeads*m.HeadDim)
	for kv, k := range l.keys {
		for j := range n {
			k.Key(keys[(j*m.KVHeads+kv)*m.HeadDim:][:m.HeadDim], j)
		}
	}
	return l.queries[Prefill], keys
}

// Rows writes rows [row0, row0+rows) of the recorded head at index head of
// Plan.Heads into dst, [rows, keys]: with Prefill keys = P, with Decode P+G. The
// numbers are those of [Reader.Weights].
func (l *LayerReader) Rows(dst []float32, ph Phase, head, row0, rows int) error {
	p, heads := &l.r.prompts[l.prompt], l.r.header.Plan.Heads
	n, keys, _ := p.Shape(ph)
	switch {
	case head < 0 || head >= len(heads):
		return fmt.Errorf("%s: head %d of %d recorded", l.r.path, head, len(heads))
	case row0 < 0 || rows < 0 || row0+rows > n:
		return fmt.Errorf("%s: rows %d to %d of %d", l.r.path, row0, row0+rows, n)
	case len(dst) < rows*keys:
		return fmt.Errorf("%s: room for %d weights, want %d", l.r.path, len(dst), rows*keys)
	}
	if p.Store == StoreFactors {
		if ph == Decode {
			row0 += p.WindowRows
		}
		l.product(dst[:rows*keys], head, span(row0, rows), keys)
		return nil
	}
	return l.gather(dst[:rows*keys], ph, head, row0, rows, keys)
}

// Span writes rows [row0, row0+n) of one list, the recorded prompt rows and then
// the reply's, into dst, [n, P+G]: of factors the keys are gone through once for
// both. The numbers are those of Rows.
func (l *LayerReader) Span(dst []float32, head, row0, n int) error {
	if n < 0 {
		return fmt.Errorf("%s: %d rows", l.r.path, n)
	}
	return l.Pick(dst, head, span(row0, n))
}

// Pick is Span for any rows of the list, ascending.
func (l *LayerReader) Pick(dst []float32, head int, rows []int) error {
	p := &l.r.prompts[l.prompt]
	keys := p.PromptTokens + p.ReplyTokens
	switch {
	case head < 0 || head >= len(l.r.header.Plan.Heads):
		return fmt.Errorf("%s: head %d of %d recorded", l.r.path, head, len(l.r.header.Plan.Heads))
	case len(dst) < len(rows)*keys:
		return fmt.Errorf("%s: room for %d weights, want %d", l.r.path, len(dst), len(rows)*keys)
	}
	for i, row := range rows {
		if row < 0 || row >= p.WindowRows+p.ReplyTokens || i > 0 && row <= rows[i-1] {
			return fmt.Errorf("%s: row %d of %d", l.r.path, row, p.WindowRows+p.ReplyTokens)
		}
	}
	if p.Store == StoreFactors {
		l.product(dst[:len(rows)*keys], head, rows, keys)
		return nil
	}
	for len(rows) > 0 { // a run at a time
		n := 1
		for n < len(rows) && rows[n] == rows[0]+n && rows[n] != p.WindowRows {
			n++
		}
		ph, row0, wide := Prefill, rows[0], p.PromptTokens
		if row0 >= p.WindowRows {
			ph, row0, wide = Decode, row0-p.WindowRows, keys
		}
		if err := l.Rows(dst, ph, head, row0, n); err != nil {
			return err
		}
		for i := n - 1; i >= 0 && wide < keys; i-- { // [n, P] to [n, P+G], in place from the end
			row := dst[i*keys : (i+1)*keys]
			copy(row, dst[i*wide:(i+1)*wide])
			clear(row[wide:])
		}
		dst, rows = dst[n*keys:], rows[n:]
	}
	return nil
}

// span lists n rows from row0 on.
func span(row0, n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = row0 + i
	}
	return rows
}

// product makes rows of the list out of factors: dst is [rows, keys].
func (l *LayerReader) product(dst []float32, head int, rows []int, keys int) {
	if len(rows) == 0 {
		return
	}
	p, m := &l.r.prompts[l.prompt], &l.r.header.Model
	h, dim := l.r.header.Plan.Heads[head], m.HeadDim
	q, pos := make([]float32, len(rows)*dim), make([]int, len(rows))
	for i, row := range rows {
		pos[i] = p.PromptTokens - p.WindowRows + row
		from := l.queries[Prefill]
		if row >= p.WindowRows {
			from, row = l.queries[Decode], row-p.WindowRows
		}
		copy(q[i*dim:(i+1)*dim], from[(row*m.Heads+h)*dim:])
	}
	how := attend.Head{Scale: float32(m.Scale), SoftCap: float32(m.SoftCap)}
	if l.layer < len(m.LayerWindows) {
		how.Window = m.LayerWindows[l.layer]
	}
	how.PackedRows(dst, pos, keys, q, dim, l.keys[h*m.KVHeads/m.Heads])
}

// gather copies rows out of the blocks that hold them.
func (l *LayerReader) gather(dst []float32, ph Phase, head, row0, rows, keys int) error {
	list, err := l.r.find(l.prompt, l.layer, kindWeights, ph)
	if err != nil {
		return err
	}
	clear(dst)
	got, id := 0, l.r.header.Plan.Heads[head]
	for i := range list {
		rec := &list[i]
		lo, hi := max(row0, int(rec.Row0)), min(row0+rows, int(rec.Row0)+int(rec.Rows))
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
		for row := lo; row < hi; row++ {
			from := (row - int(rec.Row0)) * int(rec.Keys)
			copy(dst[(row-row0)*keys+int(rec.Key0):], x[from:from+int(rec.Keys)])
		}
		got += hi - lo
	}
	if got != rows {
		return fmt.Errorf("%s: prompt %q, layer %d, head %d: %d rows, want %d: %w", l.r.path, l.r.prompts[l.prompt].ID, l.layer, id, got, rows, ErrCorrupt)
	}
	return nil
}
