package dumps

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"github.com/attnscope/attnscope/internal/attend"
)

// Attention holds weights [heads, rows, keys] of one layer and phase: heads in
// the order of Plan.Heads; row r is the query at position Pos0+r; a key it does
// not see is zero.
type Attention struct {
	Heads, Rows, Keys, Pos0 int
	Data                    []float32
}

// Head returns the rows of one head, [rows, keys].
func (a *Attention) Head(h int) []float32 {
	return a.Data[h*a.Rows*a.Keys : (h+1)*a.Rows*a.Keys]
}

// Weights returns the recorded rows of a layer, a true id: with Prefill
// [heads, min(R,P), P], with Decode [heads, G, P+G].
func (r *Reader) Weights(prompt, layer int, ph Phase) (*Attention, error) {
	return r.WeightsOf(prompt, layer, ph, 0, len(r.header.Plan.Heads))
}

// WeightsOf returns the rows of some of the recorded heads.
func (r *Reader) WeightsOf(prompt, layer int, ph Phase, head0, heads int) (*Attention, error) {
	if prompt < 0 || prompt >= len(r.prompts) {
		return nil, fmt.Errorf("%s: prompt %d of %d", r.path, prompt, len(r.prompts))
	}
	if !slices.Contains(r.header.Plan.Layers, layer) {
		return nil, fmt.Errorf("%s: layer %d: %w; layers %v are", r.path, layer, ErrAbsent, r.header.Plan.Layers)
	}
	p := &r.prompts[prompt]
	rows, keys, pos0 := p.Shape(ph)
	a := &Attention{Heads: heads, Rows: rows, Keys: keys, Pos0: pos0}
	if err := r.stored(prompt, layer, ph, a.Rows); err != nil {
		return nil, err
	}
	var err error
	if a.Data, err = r.room("weights", a.Heads, a.Rows, a.Keys); err != nil {
		return nil, err
	}
	if p.Store == StoreFactors {
		return a, r.rebuild(prompt, layer, ph, head0, a)
	}
	return a, r.gather(prompt, layer, ph, head0, a)
}

// stored checks that the blocks of a phase hold as many rows as the prompt says,
// before space is made for them.
func (r *Reader) stored(prompt, layer int, ph Phase, rows int) error {
	k, want := kindWeights, rows*len(r.header.Plan.Heads)
	if r.prompts[prompt].Store == StoreFactors {
		k, want = kindQueries, rows
	}
	list, err := r.find(prompt, layer, k, ph)
	if err != nil {
		return err
	}
	got := 0
	for i := range list {
		got += int(list[i].Rows)
	}
	if got != want {
		return fmt.Errorf("%s: prompt %q, layer %d: %s of %d rows, want %d: %w", r.path, r.prompts[prompt].ID, layer, k, got, want, ErrCorrupt)
	}
	return nil
}

// gather reads the rows form.
func (r *Reader) gather(prompt, layer int, ph Phase, head0 int, a *Attention) error {
	list, err := r.find(prompt, layer, kindWeights, ph)
	if err != nil {
		return err
	}
	seen := make([]int, a.Heads)
	var mu sync.Mutex
	err = parallel(len(list), func(i int) error {
		rec := &list[i]
		h := slices.Index(r.header.Plan.Heads, int(rec.Head0))
		if h < head0 || h >= head0+a.Heads {
			return nil
		}
		h -= head0
		if rec.NH != 1 || int(rec.Row0)+int(rec.Rows) > a.Rows || int(rec.Key0)+int(rec.Keys) > a.Keys {
			return r.misfit(rec)
		}
		x, err := r.floats(rec)
		if err != nil {
			return err
		}
		keys := int(rec.Keys)
		for row := range int(rec.Rows) {
			at := (h*a.Rows+int(rec.Row0)+row)*a.Keys + int(rec.Key0)
			copy(a.Data[at:at+keys], x[row*keys:(row+1)*keys])
		}
		mu.Lock()
		seen[h] += int(rec.Rows)
		mu.Unlock()
		return nil
	})
	for h, n := range seen {
		if err == nil && n != a.Rows {
			err = fmt.Errorf("%s: prompt %q, layer %d, head %d: %d rows, want %d: %w", r.path, r.prompts[prompt].ID, layer, r.header.Plan.Heads[head0+h], n, a.Rows, ErrCorrupt)
		}
	}
	return err
}

// parallel runs f for 0 to n-1 on all cores and returns the first error by
// index.
func parallel(n int, f func(i int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := range n {
		wg.Add(1)
		slots <- struct{}{}
		go func() {
			defer wg.Done()
			errs[i] = f(i)
			<-slots
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// States are the factors of one layer. Queries are [rows, model heads, dim] of
// the recorded prompt rows, Replies of the reply's; LSE and ReplyLSE their
// log-sum-exps [model heads, rows]; Keys and Values [P+G, kvHeads, dim]. What
// was not recorded is nil.
type States struct {
	Queries, Replies, LSE, ReplyLSE, Keys, Values []float32
}

// States reads the factors of a layer.
func (r *Reader) States(prompt, layer int) (*States, error) {
	if prompt < 0 || prompt >= len(r.prompts) || r.prompts[prompt].Store != StoreFactors {
		return nil, fmt.Errorf("%s: queries and keys: %w (capture with --store factors)", r.path, ErrAbsent)
	}
	p, m, s := &r.prompts[prompt], &r.header.Model, &States{}
	n := p.PromptTokens + p.ReplyTokens
	parts := []struct {
		dst   *[]float32
		k     kind
		ph    Phase
		rows  int
		heads int
		width int
	}{
		{&s.Queries, kindQueries, Prefill, p.WindowRows, m.Heads, m.HeadDim},
		{&s.Replies, kindQueries, Decode, p.ReplyTokens, m.Heads, m.HeadDim},
		{&s.LSE, kindLSE, Prefill, p.WindowRows, m.Heads, 1},
		{&s.ReplyLSE, kindLSE, Decode, p.ReplyTokens, m.Heads, 1},
		{&s.Keys, kindKeys, Prefill, n, m.KVHeads, m.HeadDim},
		{&s.Values, kindValues, Prefill, n, m.KVHeads, m.ValueDim},
	}
	for _, part := range parts {
		x, err := r.stack(prompt, layer, part.k, part.ph, part.rows, part.heads, part.width)
		if err != nil {
			return nil, err
		}
		*part.dst = x
	}
	return s, nil
}

// Values returns the values of all positions, [P+G, kvHeads, valueDim]; nil
// where they were not recorded.
func (r *Reader) Values(prompt, layer int) ([]float32, error) {
	if prompt < 0 || prompt >= len(r.prompts) {
		return nil, fmt.Errorf("%s: prompt %d of %d", r.path, prompt, len(r.prompts))
	}
	p, m := &r.prompts[prompt], &r.header.Model
	return r.stack(prompt, layer, kindValues, Prefill, p.PromptTokens+p.ReplyTokens, m.KVHeads, m.ValueDim)
}

// stack joins blocks of [rows, heads, width], or of log-sum-exps [heads, rows].
func (r *Reader) stack(prompt, layer int, k kind, ph Phase, rows, heads, width int) ([]float32, error) {
	list, err := r.rowsOf(prompt, layer, k, ph, rows)
	if err != nil || len(list) == 0 {
		return nil, err
	}
	out, err := r.room(k.String(), rows, heads, width)
	if err != nil {
		return nil, err
	}
	return out, r.eachBlock(list, rows, heads, width, func(rec *record, x []float32) {
		row0, n := int(rec.Row0), int(rec.Rows)
		if k != kindLSE {
			copy(out[row0*heads*width:], x)
			return
		}
		for h := range heads {
			copy(out[h*rows+row0:], x[h*n:(h+1)*n])
		}
	})
}

// rowsOf lists the blocks that hold rows of one kind; none, where they need not be
// there.
func (r *Reader) rowsOf(prompt, layer int, k kind, ph Phase, rows int) ([]record, error) {
	list, err := r.find(prompt, layer, k, ph)
	if err != nil || len(list) == 0 && (k == kindValues || rows == 0) {
		return nil, err
	}
	got := 0
	for i := range list {
		got += int(list[i].Rows)
	}
	if got != rows {
		return nil, fmt.Errorf("%s: prompt %q, layer %d: %s of %d rows, want %d: %w", r.path, r.prompts[prompt].ID, layer, k, got, rows, ErrCorrupt)
	}
	return list, nil
}

// eachBlock decodes blocks of [rows, heads, width] on all cores and hands their
// values out; they are gone when f returns.
func (r *Reader) eachBlock(list []record, rows, heads, width int, f func(rec *record, x []float32)) error {
	return parallel(len(list), func(i int) error {
		rec := &list[i]
		if int(rec.NH) != heads || int(rec.Keys) != width || int(rec.Row0)+int(rec.Rows) > rows {
			return r.misfit(rec)
		}
		s := buffers.Get().(*buffer)
		defer buffers.Put(s)
		x, err := r.decode(rec, s)
		if err == nil {
			f(rec, x)
		}
		return err
	})
}

// rebuild computes weights from queries and keys: softmax over the visible
// keys of scale·q·k.
func (r *Reader) rebuild(prompt, layer int, ph Phase, head0 int, a *Attention) error {
	m := &r.header.Model
	queries, err := r.stack(prompt, layer, kindQueries, ph, a.Rows, m.Heads, m.HeadDim)
	if err != nil || a.Rows == 0 {
		return err
	}
	p := &r.prompts[prompt]
	keys, err := r.stack(prompt, layer, kindKeys, Prefill, p.PromptTokens+p.ReplyTokens, m.KVHeads, m.HeadDim)
	if err != nil {
		return err
	}
	window := 0
	if layer < len(m.LayerWindows) {
		window = m.LayerWindows[layer]
	}
	group := m.Heads / m.KVHeads
	how := attend.Head{Scale: float32(m.Scale), SoftCap: float32(m.SoftCap), Window: window}
	return parallel(a.Heads, func(h int) error {
		head := r.header.Plan.Heads[head0+h]
		how.Rows(a.Head(h), a.Rows, a.Keys, a.Pos0, queries[head*m.HeadDim:], m.Heads*m.HeadDim,
			keys[head/group*m.HeadDim:], m.KVHeads*m.HeadDim, m.HeadDim)
		return nil
	})
}
