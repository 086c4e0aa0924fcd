package decode

import (
	"sync"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/capture"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/model"
	"github.com/attnscope/attnscope/internal/attend"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/snapkv"
)

// record holds the data that methods need but a cache does not hold: the last queries
// of the prompt, and the weights summed over all queries of the prompt and of the
// reply. Layers without attention have none of these.
type record struct {
	config    model.Config
	about     dumps.ModelInfo
	prompt    int                       // tokens
	rows      int                       // last queries that are kept
	queries   [][]float32               // [layer][row, heads*dim], rotated
	sinks     func(layer int) []float32 // scores of the sinks, by query head; nil: the layer has none
	sums      []*capture.Sums           // [layer], over the prompt's queries; nil if no method needs them
	generated []*capture.Sums           // [layer], over the reply's queries; nil if no method needs them
	parts     sync.Pool                 // *[]float32, sums of a tile
}

// newRecord returns an empty record for a prompt of prompt tokens, with the parts that
// the entries need.
func newRecord(m *model.Model, entries []snapkv.Entry, prompt int) *record {
	c := m.Config()
	r := &record{
		config: c, about: capture.ModelInfo("", &c), prompt: prompt,
		sinks: m.Sinks, queries: make([][]float32, c.Layers),
	}
	r.parts.New = func() any { return new([]float32) }
	var needs snapkv.Needs
	for _, e := range entries {
		r.rows = max(r.rows, min(e.Config.Window, prompt))
		needs = needs.Union(e.Method.Needs)
	}
	if needs.Sums {
		r.sums = make([]*capture.Sums, c.Layers)
	}
	if needs.Generated {
		r.generated = make([]*capture.Sums, c.Layers)
	}
	for _, l := range c.AttentionLayers() {
		s := &c.Shapes[l]
		r.queries[l] = make([]float32, r.rows*s.Heads*s.KeyDim)
		if needs.Sums {
			r.sums[l] = capture.NewSums(s.Heads, prompt)
		}
		if needs.Generated {
			r.generated[l] = capture.NewSums(s.Heads, prompt)
		}
	}
	return r
}

// recorder returns a recorder that keeps the last queries of a prompt and sums its
// rows.
func (r *record) recorder() *model.Recorder {
	rec := &model.Recorder{States: r.keepQueries, Wants: r.wants}
	if r.sums != nil {
		rec.Tile = func(layer int, t *cpu.Tile) { r.addTile(r.sums[layer], t) }
		rec.Sums = r.addFixed(r.sums)
	}
	return rec
}

// replyRecorder returns a recorder that sums the rows of a reply, for the oracle.
func (r *record) replyRecorder() *model.Recorder {
	return &model.Recorder{
		Tile: func(layer int, t *cpu.Tile) { r.addTile(r.generated[layer], t) },
		Wants: func(_, pos0, n int) model.Wants {
			return model.Wants{Rows: pos0 + n, LSE: pos0 + n, States: pos0 + n, Sums: true}
		},
		Sums: r.addFixed(r.generated),
	}
}

// addTile adds the rows of a tile to sums, for keys of the prompt.
func (r *record) addTile(s *capture.Sums, t *cpu.Tile) {
	keys := min(t.Keys, r.prompt-t.Key0)
	if keys <= 0 {
		return
	}
	part := r.parts.Get().(*[]float32)
	defer r.parts.Put(part)
	if cap(*part) < keys {
		*part = make([]float32, keys)
	}
	x := (*part)[:keys]
	simd.SumRows(x, t.Weights, t.Stride, t.Rows)
	s.Add(t.Head, t.Key0, x)
}

// wants tells a card to deliver the sums over the prompt's rows and the last queries.
func (r *record) wants(_, pos0, n int) model.Wants {
	end := pos0 + n
	return model.Wants{
		Rows: end, LSE: end, States: max(pos0, r.prompt-r.rows),
		Sums: r.sums != nil, Until: r.prompt,
	}
}

// addFixed returns a callback that adds a card's sums to the sums of each layer, for
// keys of the prompt.
func (r *record) addFixed(to []*capture.Sums) func(layer, head, window int, part []int64) {
	return func(layer, head, _ int, part []int64) {
		to[layer].AddFixed(head, part[:min(len(part), r.prompt)])
	}
}

// keepQueries copies the last queries of the prompt, as far as they are in a chunk.
func (r *record) keepQueries(layer, pos0, n int, q, _, _ []float32) {
	s := &r.config.Shapes[layer]
	width := s.Heads * s.KeyDim
	for i := range n {
		if row := pos0 + i - (r.prompt - r.rows); row >= 0 && row < r.rows {
			copy(r.queries[layer][row*width:], q[i*width:(i+1)*width])
		}
	}
}

// layer returns a layer of the full cache as the input of methods, together with all
// layers that read the same cache. The weights of the last queries are computed from
// queries and keys.
func (r *record) layer(s *model.Session, id int) (*snapkv.Layer, error) {
	readers := r.about.Readers(id)
	list := make([]*snapkv.Layer, len(readers))
	for i, reader := range readers {
		var err error
		if list[i], err = r.one(s, reader); err != nil {
			return nil, err
		}
	}
	if len(list) == 1 {
		return list[0], nil
	}
	return snapkv.JoinReaders(list), nil
}

// one returns a single layer.
func (r *record) one(s *model.Session, id int) (*snapkv.Layer, error) {
	keys, err := s.Keys(id, 0, r.prompt)
	if err != nil {
		return nil, err
	}
	values, err := s.Values(id, 0, r.prompt)
	if err != nil {
		return nil, err
	}
	l := r.empty(id, r.prompt)
	l.N = r.rows
	l.Queries = r.queries[id]
	l.Keys = keys
	l.Values = values
	if r.sums != nil {
		l.Sums = r.sums[id].Floats(r.prompt)
	}
	if r.generated != nil {
		l.Generated = make([]float64, l.Heads*r.prompt)
		for i, v := range r.generated[id].Floats(r.prompt) {
			l.Generated[i] = float64(v)
		}
	}
	r.weigh(l, id, r.prompt, func(int) []int32 { return nil })
	return l, nil
}

// empty describes a layer of a cache with a number of positions.
func (r *record) empty(id, positions int) *snapkv.Layer {
	l := analysis.EmptyLayer(&r.about, id, positions)
	return &l
}

// weigh sets the rows of a layer to the weights of its queries, the last of a sequence of
// length tokens, over its keys. positions returns those of the keys of a kv head of the
// layer; nil: key i is at position i.
func (r *record) weigh(l *snapkv.Layer, id, length int, positions func(kv int) []int32) {
	shape := &r.config.Shapes[id]
	head := attend.Head{Scale: shape.Scale, SoftCap: shape.SoftCap, Window: shape.Window, Chunk: shape.Chunk}
	l.Rows = make([]float32, l.Heads*l.N*l.Len)
	bias := r.config.KeyBias.Table(length)
	sinks := r.sinks(id)
	group := l.Heads / l.KVHeads
	parallel.For(l.Heads, func(h int) {
		head := head
		head.Positions = positions(h / group)
		if bias != nil {
			head.Bias = bias[h]
		}
		if sinks != nil {
			head.Sink = &sinks[h]
		}
		q := simd.Mat[float32]{Data: l.Queries[h*l.Dim:], Rows: l.N, Cols: l.Dim, Stride: l.Heads * l.Dim}
		k := simd.Mat[float32]{Data: l.Keys[h/group*l.Dim:], Rows: l.Len, Cols: l.Dim, Stride: l.KVHeads * l.Dim}
		head.Rows(l.Rows[h*l.N*l.Len:], length-l.N, q, k)
	})
}
