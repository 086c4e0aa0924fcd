package dumps

import (
	"fmt"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/internal/attend"
)

// LayerReader hands out rows of one layer a head at a time: what long prompts
// need, where all heads together do not fit in memory. Its methods may be called
// from several goroutines.
type LayerReader struct {
	r             *Reader
	prompt, layer int
	queries       [2][]float32 // by phase, [rows, model heads, dim]; factors only
	keys          []float32    // [P+G, kv heads, dim]; factors only
	mu            sync.Mutex
	packed        []packedKeys // of the kv heads that were read last
}

// packedKeys are those of one kv head, laid out by who needs them first.
type packedKeys struct {
	kv   int
	keys func() *attend.Packed
}

// packedHeads is how many kv heads are kept packed: heads are gone through in
// order, by several goroutines.
const packedHeads = 2

// pack gives the keys of a kv head.
func (l *LayerReader) pack(kv int) *attend.Packed {
	l.mu.Lock()
	at := slices.IndexFunc(l.packed, func(p packedKeys) bool { return p.kv == kv })
	if at < 0 {
		if len(l.packed) == packedHeads {
			l.packed = slices.Delete(l.packed, 0, 1)
		}
		m := &l.r.header.Model
		at, l.packed = len(l.packed), append(l.packed, packedKeys{kv, sync.OnceValue(func() *attend.Packed {
			return attend.Pack(l.keys[kv*m.HeadDim:], m.KVHeads*m.HeadDim, len(l.keys)/(m.KVHeads*m.HeadDim), m.HeadDim)
		})})
	}
	keys := l.packed[at].keys
	l.mu.Unlock()
	return keys()
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
	if p.Store != "factors" {
		return l, nil
	}
	var err error
	for ph, rows := range []int{p.WindowRows, p.ReplyTokens} {
		if l.queries[ph], err = r.stack(prompt, layer, kindQueries, Phase(ph), rows, m.Heads, m.HeadDim); err != nil {
			return nil, err
		}
	}
	l.keys, err = r.stack(prompt, layer, kindKeys, Prefill, p.PromptTokens+p.ReplyTokens, m.KVHeads, m.HeadDim)
	return l, err
}

// Bytes is the memory that the layer holds, or may hold once heads were read.
func (l *LayerReader) Bytes() int {
	n := len(l.queries[0]) + len(l.queries[1]) + len(l.keys)
	if kv := l.r.header.Model.KVHeads; kv > 0 {
		n += min(kv, packedHeads) * (len(l.keys) / kv)
	}
	return 4 * n
}

// States are the queries of the recorded prompt rows [rows, model heads, dim] and
// the keys [P+G, kv heads, dim]; nil where weights were stored. They are shared:
// do not change them.
func (l *LayerReader) States() (queries, keys []float32) { return l.queries[Prefill], l.keys }

// Rows writes rows [row0, row0+rows) of the recorded head at index head of
// Plan.Heads into dst, [rows, keys]: with Prefill keys = P, with Decode P+G. The
// numbers are those of [Reader.Weights].
func (l *LayerReader) Rows(dst []float32, ph Phase, head, row0, rows int) error {
	p, m, heads := &l.r.prompts[l.prompt], &l.r.header.Model, l.r.header.Plan.Heads
	n, keys, pos0 := p.WindowRows, p.PromptTokens, p.PromptTokens-p.WindowRows
	if ph == Decode {
		n, keys, pos0 = p.ReplyTokens, p.PromptTokens+p.ReplyTokens, p.PromptTokens
	}
	switch {
	case head < 0 || head >= len(heads):
		return fmt.Errorf("%s: head %d of %d recorded", l.r.path, head, len(heads))
	case row0 < 0 || rows < 0 || row0+rows > n:
		return fmt.Errorf("%s: rows %d to %d of %d", l.r.path, row0, row0+rows, n)
	case len(dst) < rows*keys:
		return fmt.Errorf("%s: room for %d weights, want %d", l.r.path, len(dst), rows*keys)
	}
	if p.Store == "factors" {
		if rows == 0 {
			return nil
		}
		how := attend.Head{Scale: float32(m.Scale), SoftCap: float32(m.SoftCap)}
		if l.layer < len(m.LayerWindows) {
			how.Window = m.LayerWindows[l.layer]
		}
		h := heads[head]
		q := l.queries[ph][(row0*m.Heads+h)*m.HeadDim:]
		how.PackedRows(dst[:rows*keys], rows, keys, pos0+row0, q, m.Heads*m.HeadDim, l.pack(h*m.KVHeads/m.Heads))
		return nil
	}
	return l.gather(dst[:rows*keys], ph, head, row0, rows, keys)
}

// Span writes rows [row0, row0+n) of one list, the recorded prompt rows and then
// the reply's, into dst, [n, P+G]: of factors the keys are gone through once for
// both. The numbers are those of Rows.
func (l *LayerReader) Span(dst []float32, head, row0, n int) error {
	p, m, heads := &l.r.prompts[l.prompt], &l.r.header.Model, l.r.header.Plan.Heads
	keys := p.PromptTokens + p.ReplyTokens
	a := min(n, max(0, p.WindowRows-row0)) // rows of the prompt among them
	switch {
	case head < 0 || head >= len(heads):
		return fmt.Errorf("%s: head %d of %d recorded", l.r.path, head, len(heads))
	case row0 < 0 || n < 0 || row0+n > p.WindowRows+p.ReplyTokens:
		return fmt.Errorf("%s: rows %d to %d of %d", l.r.path, row0, row0+n, p.WindowRows+p.ReplyTokens)
	case len(dst) < n*keys:
		return fmt.Errorf("%s: room for %d weights, want %d", l.r.path, len(dst), n*keys)
	case p.Store != "factors":
		if a > 0 {
			if err := l.Rows(dst, Prefill, head, row0, a); err != nil {
				return err
			}
			for i := a - 1; i >= 0; i-- { // [a, P] to [a, P+G], in place from the end
				row := dst[i*keys : (i+1)*keys]
				copy(row, dst[i*p.PromptTokens:(i+1)*p.PromptTokens])
				clear(row[p.PromptTokens:])
			}
		}
		if n > a {
			return l.Rows(dst[a*keys:], Decode, head, row0+a-p.WindowRows, n-a)
		}
		return nil
	}
	h, dim := heads[head], m.HeadDim
	q := make([]float32, n*dim)
	for i := range n {
		from, row := l.queries[Prefill], row0+i
		if i >= a {
			from, row = l.queries[Decode], row0+i-p.WindowRows
		}
		copy(q[i*dim:(i+1)*dim], from[(row*m.Heads+h)*dim:])
	}
	how := attend.Head{Scale: float32(m.Scale), SoftCap: float32(m.SoftCap)}
	if l.layer < len(m.LayerWindows) {
		how.Window = m.LayerWindows[l.layer]
	}
	how.PackedRows(dst[:n*keys], n, keys, p.PromptTokens-p.WindowRows+row0, q, dim, l.pack(h*m.KVHeads/m.Heads))
	return nil
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
