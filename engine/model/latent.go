package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/tensor"
)

// Latent describes the multi-head latent attention of DeepSeek V2 (arXiv:2405.04434,
// section 2.1). The cache has one entry per position for all heads: a latent, from which
// every head's key and value follow, and a rotated key. Queries are multiplied by the
// heads' W_UK and outputs by their W_UV, so that attention is over the entries
// themselves.
type Latent struct {
	QueryRank int // channels of the latent that queries are made from; 0: they are made from the hidden state
	Rank      int // channels of the cached latent
	Plain     int // channels of a head's query that are not rotated
	Rotated   int // channels of a head's query, and of the key of all heads, that are rotated
	Value     int // channels of a head's value
}

// latentEps is the epsilon of the norms of the latents; other norms have their own.
const latentEps = 1e-6

// headSize returns the channels of a head's query before it is multiplied by W_UK.
func (m *Latent) headSize() int { return m.Plain + m.Rotated }

// entry returns the number of elements that the cache keeps per position.
func (m *Latent) entry() int { return m.Rank + m.Rotated }

// first returns the tensors of the product with the hidden state: queries or their
// latent, and the entry of the cache.
func (m *Latent) first(heads int) []part {
	entry := part{"kv_a", m.entry()}
	if m.QueryRank > 0 {
		return []part{{"q_a", m.QueryRank}, entry}
	}
	return []part{{"q", heads * m.headSize()}, entry}
}

// weights returns the number of weights of the projections of a layer.
func (m *Latent) weights(hidden, heads int) int {
	n := m.QueryRank * heads * m.headSize()
	for _, p := range m.first(heads) {
		n += hidden * p.out
	}
	return n + heads*m.Rank*(m.Plain+m.Value) + heads*m.Value*hidden
}

// headsWidth is the number of inputs of a layer's output projection: its attention's
// output or, with a latent, the heads' values that follow from it.
func (c *Config) headsWidth(layer int) int {
	s := &c.Shapes[layer]
	if s.Latent {
		return s.Heads * c.Latent.Value
	}
	return s.outputWidth()
}

// useLatent sets the shape of the attention to that of entries of the cache.
func (c *Config) useLatent(m Latent) {
	c.Latent = &m
	c.KVHeads = 1
	c.HeadDim = m.entry()
	c.ValueDim = m.Rank
	c.Scale = m.scale(1)
}

// scale returns the factor of the scores if queries and keys are multiplied by a factor.
func (m *Latent) scale(by float64) float32 {
	return float32(1 / math.Sqrt(float64(m.headSize())) * by * by)
}

// latentWeights holds the weights of a layer's latent attention, besides the first
// product and the output.
type latentWeights struct {
	queryNorm, entryNorm []float32
	queries              *cpu.Matrix     // [heads*headSize, QueryRank]; nil: queries are made from the hidden state
	keys, values         []*cpu.Matrix   // by head: W_UKᵀ [Rank, Plain] and W_UV [Value, Rank]
	stored               []tensor.Tensor // W_UV by head, as in the file
}

// matrices lists the packed matrices.
func (w *latentWeights) matrices() []*cpu.Matrix {
	var list []*cpu.Matrix
	if w.queries != nil {
		list = append(list, w.queries)
	}
	return append(append(list, w.keys...), w.values...)
}

// latent reads the weights of a layer's latent attention.
func (l *loader) latent(at int) (*latentWeights, error) {
	m := l.c.Latent
	w := &latentWeights{}
	var err error
	if w.entryNorm, err = l.vector("kv_a_norm", at, ".weight", m.Rank, 0); err != nil {
		return nil, err
	}
	if m.QueryRank > 0 {
		if w.queryNorm, err = l.vector("q_a_norm", at, ".weight", m.QueryRank, 0); err != nil {
			return nil, err
		}
		if w.queries, err = l.matrices(at, m.QueryRank, part{"q_b", l.c.Heads * m.headSize()}); err != nil {
			return nil, err
		}
	}
	return w, l.upProjections(at, w)
}

// upProjections reads W_UKᵀ [Rank, Plain] and W_UV [Value, Rank] of each head.
func (l *loader) upProjections(at int, w *latentWeights) error {
	keys, values, crossed, err := l.perHead(at)
	if err != nil {
		return err
	}
	exact := l.exactly() // another arithmetic would keep the copies that are transposed
	for h := range keys {
		pack := exact.packCrossed
		if !crossed {
			pack = func(t tensor.Tensor) (*cpu.Matrix, error) { return exact.pack(t) }
		}
		up, err := pack(keys[h])
		if err != nil {
			return err
		}
		w.keys = append(w.keys, up)
		if up, err = exact.pack(values[h]); err != nil {
			return err
		}
		w.values = append(w.values, up)
	}
	w.stored = values
	return nil
}

// packCrossed makes a matrix of the transpose of a tensor, which is made when the matrix
// is loaded.
func (l *loader) packCrossed(t tensor.Tensor) (*cpu.Matrix, error) {
	header, err := tensor.Tensor{Name: t.Name, DType: t.DType, Shape: t.Shape}.Transposed()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
	}
	read := func() ([]tensor.Tensor, error) {
		crossed, err := t.Transposed()
		return []tensor.Tensor{crossed}, err
	}
	return l.packLater(read, []tensor.Tensor{header})
}

// perHead returns W_UK and W_UV [Value, Rank] of each head. Hub checkpoints and older
// GGUF files hold one tensor, with W_UK [Plain, Rank], then W_UV of each head. Newer GGUF
// files hold two tensors: W_UKᵀ [Rank, Plain] and W_UV.
func (l *loader) perHead(at int) (keys, values []tensor.Tensor, crossed bool, err error) {
	m := l.c.Latent
	heads := l.c.Heads
	if _, apart := l.find(l.name("k_b", at, ".weight")); apart {
		k, err := l.tensor("k_b", at, ".weight", heads, m.Rank, m.Plain)
		if err != nil {
			return nil, nil, false, err
		}
		v, err := l.tensor("v_b", at, ".weight", heads, m.Value, m.Rank)
		if err != nil {
			return nil, nil, false, err
		}
		keys, err = l.pieces(k, 0, m.Rank, m.Rank)
		if err == nil {
			values, err = l.pieces(v, 0, m.Value, m.Value)
		}
		return keys, values, false, err
	}
	both := m.Plain + m.Value
	t, err := l.tensor("kv_b", at, ".weight", heads*both, m.Rank)
	if err != nil {
		return nil, nil, false, err
	}
	keys, err = l.pieces(t, 0, m.Plain, both)
	if err == nil {
		values, err = l.pieces(t, m.Plain, m.Value, both)
	}
	return keys, values, true, err
}

// pieces returns rows first to first+n of every step rows of a tensor.
func (l *loader) pieces(t tensor.Tensor, first, n, step int) ([]tensor.Tensor, error) {
	var list []tensor.Tensor
	for at := first; at < t.Rows(); at += step {
		piece, err := t.Slice(at, at+n)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.ck.Path(), err)
		}
		list = append(list, piece)
	}
	return list, nil
}

// latentOutput returns W_O W_UV of a layer, [hidden, heads*Rank].
func (c *Config) latentOutput(w *layer) ([]float32, error) {
	m := c.Latent
	output, err := w.output.Float32()
	if err != nil {
		return nil, err
	}
	pool := cpu.NewPool(0)
	defer pool.Close()
	all := cpu.Dense(make([]float32, c.Hidden*c.Heads*m.Rank), c.Hidden, c.Heads*m.Rank)
	for h, v := range w.latent.stored {
		t, err := v.Transposed()
		if err != nil {
			return nil, err
		}
		up, err := cpu.Pack(pool, cpu.F32, t) // [Rank, Value]
		if err != nil {
			return nil, err
		}
		x := cpu.Dense(output, c.Hidden, c.Heads*m.Value).Sub(0, h*m.Value, c.Hidden, m.Value)
		up.Mul(pool, all.Sub(0, h*m.Rank, c.Hidden, m.Rank), x)
	}
	return all.Data, nil
}

// projectLatent computes the queries of a chunk in layer l over the entries of the cache,
// and its entries as keys k and values v.
func (s *cpuSequence) projectLatent(l int, in *chunk, t turns) (q, k, v []float32) {
	c := s.config
	m := c.Latent
	shape := &c.Shapes[l]
	w := &s.layers[l]
	h := grow(&s.buf.h, in.n*c.Hidden)
	s.normed(h, in.x, w.attnNorm, w.attnNormBias, in.n)
	width := w.qkv.Out()
	first := width - m.entry()
	qkv := cpu.Dense(grow(&s.buf.qkv, in.n*width), in.n, width)
	s.multiply(w.qkv, qkv, cpu.Dense(h, in.n, c.Hidden), false)
	s.rows(in.n, func(i int, _ *cpu.Scratch) {
		row := qkv.Data[i*width : (i+1)*width]
		for j, b := range w.qkvBias {
			row[j] += b
		}
		if w.latent.queries != nil {
			cpu.RMSNorm(row[:first], row[:first], w.latent.queryNorm, latentEps)
		}
	})
	queries := qkv.Sub(0, 0, in.n, first)
	if w.latent.queries != nil {
		size := c.Heads * m.headSize()
		made := cpu.Dense(grow(&s.buf.heads, in.n*size), in.n, size)
		s.multiply(w.latent.queries, made, queries, false)
		queries = made
	}
	q = grow(&s.buf.q, in.n*shape.queryWidth())
	for head := range c.Heads {
		dst := cpu.Dense(q, in.n, shape.queryWidth()).Sub(0, head*c.HeadDim, in.n, m.Rank)
		s.multiply(w.latent.keys[head], dst, queries.Sub(0, head*m.headSize(), in.n, m.Plain), false)
	}
	k = grow(&s.buf.k, in.n*m.entry())
	v = grow(&s.buf.v, in.n*m.Rank)
	s.rows(in.n, func(i int, _ *cpu.Scratch) {
		entry := k[i*m.entry() : (i+1)*m.entry()]
		copy(entry, qkv.Data[i*width+first:])
		cpu.RMSNorm(entry[:m.Rank], entry[:m.Rank], w.latent.entryNorm, latentEps)
		copy(v[i*m.Rank:(i+1)*m.Rank], entry)
		t.rotate(entry[m.Rank:], i)
		for head := range c.Heads {
			rotated := q[i*shape.queryWidth()+head*c.HeadDim+m.Rank:][:m.Rotated]
			copy(rotated, queries.Data[i*queries.Stride+head*m.headSize()+m.Plain:])
			t.rotate(rotated, i)
		}
		if t.query != nil {
			for j := range shape.queryWidth() {
				q[i*shape.queryWidth()+j] *= t.query[i]
			}
		}
	})
	return q, k, v
}

// rotate rotates a vector at row i, all of whose channels are rotated.
func (t *turns) rotate(x []float32, i int) {
	cpu.Rope(x, t.cos[i*t.half:(i+1)*t.half], t.sin[i*t.half:(i+1)*t.half], t.pairing)
}

// headOutputs returns the outputs of the heads, [n, heads*Value], from their weighted
// sums of latents, [n, heads*Rank].
func (s *cpuSequence) headOutputs(w *layer, sums cpu.Mat) cpu.Mat {
	c := s.config
	m := c.Latent
	n := sums.Rows
	out := cpu.Dense(grow(&s.buf.heads, n*c.Heads*m.Value), n, c.Heads*m.Value)
	for head, up := range w.latent.values {
		s.multiply(up, out.Sub(0, head*m.Value, n, m.Value), sums.Sub(0, head*m.Rank, n, m.Rank), false)
	}
	return out
}

// packedBytes returns the memory of a tensor that holds W_UK or W_UV of all heads.
func (m *Latent) packedBytes(name string, d tensor.DType, heads int) int64 {
	transposed := d
	if d != tensor.BF16 && d != tensor.F16 {
		transposed = tensor.F32
	}
	keys := cpu.PackedBytes(cpu.F32, transposed, m.Rank, m.Plain)
	values := cpu.PackedBytes(cpu.F32, d, m.Value, m.Rank)
	switch {
	case strings.Contains(name, ".attn_k_b."):
		return int64(heads) * cpu.PackedBytes(cpu.F32, d, m.Rank, m.Plain)
	case strings.Contains(name, ".attn_v_b."):
		return int64(heads) * values
	}
	return int64(heads) * (keys + values)
}

// isUpProjection reports whether a tensor holds W_UK or W_UV.
func (c *Config) isUpProjection(name string) bool {
	return slices.ContainsFunc([]string{".kv_b_proj.", ".attn_kv_b.", ".attn_k_b.", ".attn_v_b."}, func(part string) bool {
		return strings.Contains(name, part)
	})
}
