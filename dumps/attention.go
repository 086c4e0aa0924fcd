package dumps

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/attnscope/attnscope/internal/attend"
	"github.com/attnscope/attnscope/internal/parallel"
)

// Attention holds the weights of one layer and phase, [heads, rows, keys]. Heads are
// in the order of [Header.HeadsOf]. Row r is the query at position Pos0+r. Keys that the
// query does not see have weight zero.
type Attention struct {
	Heads, Rows, Keys, Pos0 int
	Data                    []float32
}

// Head returns the rows of one head, [rows, keys]; h is an index into Header.HeadsOf.
func (a *Attention) Head(h int) []float32 {
	return a.Data[h*a.Rows*a.Keys : (h+1)*a.Rows*a.Keys]
}

// Weights returns the recorded rows of a layer: with Prefill [heads, R, P], with
// Decode [heads, G, P+G]. P and G count the tokens of prompt and reply, R the recorded
// rows of the prompt. layer is a true id; for a layer that was not recorded, the error
// is [ErrAbsent]. In the factors form, weights are rebuilt from queries and keys.
func (r *Reader) Weights(prompt, layer int, ph Phase) (*Attention, error) {
	p, err := r.promptAt(prompt)
	if err != nil {
		return nil, err
	}
	if err := r.checkLayer(layer); err != nil {
		return nil, err
	}
	rows, keys, pos0 := p.Shape(ph)
	if err := r.checkStored(prompt, layer, ph); err != nil {
		return nil, err
	}
	a := &Attention{Heads: len(r.header.HeadsOf(layer)), Rows: rows, Keys: keys, Pos0: pos0}
	if a.Data, err = r.allocate("weights", a.Heads, a.Rows, a.Keys); err != nil {
		return nil, err
	}
	if p.Store == StoreFactors {
		return a, r.rebuild(prompt, layer, ph, a)
	}
	return a, r.gather(prompt, layer, ph, a)
}

// checkStored checks that the blocks of a phase hold as many rows as the prompt says,
// before memory is allocated for them.
func (r *Reader) checkStored(prompt, layer int, ph Phase) error {
	p := &r.prompts[prompt]
	want, _, _ := p.Shape(ph)
	k := kindQueries
	if p.Store != StoreFactors {
		k = kindWeights
		want *= len(r.header.HeadsOf(layer))
	}
	return r.checkRows(prompt, layer, k, r.find(prompt, layer, k, ph), want)
}

// gather fills a with weights of the rows form.
func (r *Reader) gather(prompt, layer int, ph Phase, a *Attention) error {
	list := r.find(prompt, layer, kindWeights, ph)
	heads := r.header.HeadsOf(layer)
	rows := make([]atomic.Int64, a.Heads) // read so far
	err := parallel.Try(context.Background(), len(list), func(i int) error {
		rec := &list[i]
		h := slices.Index(heads, int(rec.Head0))
		if h < 0 {
			return nil
		}
		if rec.NH != 1 || int(rec.Row0)+int(rec.Rows) > a.Rows || int(rec.Key0)+int(rec.Keys) > a.Keys {
			return r.misfit(rec)
		}
		x, err := r.floats(rec)
		if err != nil {
			return err
		}
		keys := int(rec.Keys)
		if err := r.checkBlock(rec, x, prompt, ph); err != nil {
			return err
		}
		for row := range int(rec.Rows) {
			at := (h*a.Rows+int(rec.Row0)+row)*a.Keys + int(rec.Key0)
			copy(a.Data[at:at+keys], x[row*keys:(row+1)*keys])
		}
		rows[h].Add(int64(rec.Rows))
		return nil
	})
	if err != nil {
		return err
	}
	for h := range rows {
		if n := int(rows[h].Load()); n != a.Rows {
			return r.missingRows(prompt, layer, heads[h], n, a.Rows)
		}
	}
	return nil
}

func (r *Reader) missingRows(prompt, layer, head, got, want int) error {
	return fmt.Errorf("%s: prompt %q, layer %d, head %d: %d rows, want %d: %w",
		r.path, r.prompts[prompt].ID, layer, head, got, want, ErrCorrupt)
}

// rebuild fills a with weights that it computes from queries and keys: the softmax of
// scale·q·k over the keys that a query sees.
func (r *Reader) rebuild(prompt, layer int, ph Phase, a *Attention) error {
	if a.Rows == 0 {
		return nil
	}
	m := &r.header.Model
	of := stackOf(m, layer, kindQueries, ph, a.Rows)
	queries, err := r.stack(prompt, of)
	if err != nil {
		return err
	}
	p := &r.prompts[prompt]
	from := stackOf(m, layer, kindKeys, Prefill, p.PromptTokens+p.ReplyTokens)
	keys, err := r.stack(prompt, from)
	if err != nil {
		return err
	}
	s := m.Layer(layer)
	how := s.attention()
	heads := r.header.HeadsOf(layer)
	sinks, err := r.Sinks(prompt, layer, ph)
	if err != nil {
		return err
	}
	return parallel.Try(context.Background(), a.Heads, func(h int) error {
		head := heads[h]
		q := headRows(queries, head, a.Rows, of)
		k := headRows(keys, s.KVHead(head), a.Keys, from)
		how.Rows(a.Head(h), a.Pos0, q, k)
		if sinks != nil {
			leaveToSinks(a.Head(h), a.Keys, sinks[h*a.Rows:][:a.Rows])
		}
		return r.badWeight(a.Head(h), a.Keys, weightPlace{prompt, layer, head, func(i int) string { return phaseRow(ph, i) }})
	})
}

// attention returns how the layer turns queries and keys into weights.
func (s *LayerShape) attention() attend.Head {
	return attend.Head{Scale: float32(s.Scale), SoftCap: float32(s.SoftCap), Window: s.Window, Chunk: s.Chunk}
}
