package model

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/engine/cuda"
)

// Session is a sequence under way: the keys and values of its tokens.
type Session struct {
	m    *Model
	kv   []*cpu.KV
	buf  buffers
	card cuda.Sequence // where the weights are on a card; the rest is unused then
}

// A Recorder holds the callbacks through which a pass shows what its attention
// computes. All of them are optional; the arguments of a callback are valid only
// during the call.
//
// On the processor a pass calls Tile and States. On a card a Recorder without
// Wants receives the same, but from one goroutine at a time. A Recorder with Wants
// is asked first what it needs of each layer, so that the card hands over sums
// and the rows that are recorded instead of every weight: it then calls Rows,
// Sums, Whole, Cells and Done in place of Tile, from several goroutines at once.
// A callback that Wants asks for must be set.
type Recorder struct {
	// Tile receives the normalized weights of a few queries of one head. Several
	// workers call it at once.
	Tile func(layer int, t *cpu.Tile)
	// States follows all tiles of a chunk of one layer. It receives the queries q
	// [n, heads*headDim] and keys k [n, kvHeads*headDim] after the rotation and the
	// values v [n, kvHeads*valueDim] of positions pos0 to pos0+n-1. On a card, k and
	// v are nil.
	States func(layer, pos0, n int, q, k, v []float32)

	// Wants is called once per layer and pass over positions pos0 to pos0+n-1.
	Wants func(layer, pos0, n int) Wants
	// Rows receives rows that were asked for. Its Weights are nil where halves or
	// only the log-sum-exps were.
	Rows func(layer int, r *Rows)
	// Sums receives weights added up over the queries of one window, or over all
	// queries of the pass (window -1), for keys 0 to len(part)-1, in units of 2^-40.
	// The sums of one window come in several parts, which must be added.
	Sums func(layer, head, window int, part []int64)
	// Whole receives the complete sums of a window whose queries the card has added
	// up in one piece, rounded to Wants.SumBits.
	Whole func(layer, head, window int, sums []float32)
	// Cells receives the largest weights of the pass, [Side, Side].
	Cells func(layer, head int, cells []float32)
	// Done says that the window sums of a layer's queries before position end have
	// been delivered; the States of those queries follow.
	Done func(layer, end int)
}

// Wants is what a Recorder needs of positions pos0 to pos0+n-1. A first position
// of pos0+n or later means none.
type Wants = cuda.Record

// Rows are rows that a card hands out, valid during the call that shows them.
type Rows = cuda.Rows

// Pass says what a Forward hands out.
type Pass struct {
	LogitsFrom int                               // first token whose logits are wanted; >= len(tokens): none
	Logits     func(row int, logits []float32)   // row is an index into tokens; logits are valid during the call
	Recorder   *Recorder                         // nil: nothing is recorded
	RecordFrom int                               // first token whose weights are shown
	Length     int                               // of the sequence that these tokens are a part of, for rotations that depend on it: its tokens, or 1 where each is decoded alone; 0: up to the last of these
	Hidden     func(layer int, hidden []float32) // tests: the last token's state after each layer; may be nil
}

// buffers of a chunk, [n, width] each.
type buffers struct {
	x, h, qkv, q, k, v, attn, gateUp, act []float32
	mixed, gathered, routed               []float32 // of mixtures of experts
	logits                                []float32
}

func grow(b *[]float32, n int) []float32 {
	if cap(*b) < n {
		*b = make([]float32, n)
	}
	return (*b)[:n]
}

// NewSession starts an empty sequence.
func (m *Model) NewSession() *Session {
	if m.card != nil {
		return &Session{m: m, card: m.card.NewSequence()}
	}
	c := &m.config
	s := &Session{m: m, kv: make([]*cpu.KV, c.Layers)}
	for i := range s.kv {
		s.kv[i] = cpu.NewKV(c.KVHeads, c.HeadDim, c.ValueDim)
	}
	return s
}

// Len is the number of tokens so far: the position of the next.
func (s *Session) Len() int {
	if s.card != nil {
		return s.card.Len()
	}
	return s.kv[0].Len()
}

// Keys returns the keys of n positions from pos on, [n, kvHeads*headDim], of a
// layer that is not compressed.
func (s *Session) Keys(layer, pos, n int) ([]float32, error) {
	if s.card != nil {
		return s.card.Keys(layer, pos, n)
	}
	return s.kv[layer].Keys(pos, n), nil
}

// Values returns the values, [n, kvHeads*valueDim], as Keys does the keys.
func (s *Session) Values(layer, pos, n int) ([]float32, error) {
	if s.card != nil {
		return s.card.Values(layer, pos, n)
	}
	return s.kv[layer].Values(pos, n), nil
}

// InMemory says that keys and values lie in the processor's memory: Keys and
// Values may then be called from several goroutines and do not fail.
func (s *Session) InMemory() bool { return s.card == nil }

// Close gives the memory back; the sequence must not be used afterwards.
func (s *Session) Close() {
	if s.card != nil {
		s.card.Close()
	}
	for _, kv := range s.kv {
		kv.Free()
	}
}

// CacheBytes is the memory of all keys and values held.
func (s *Session) CacheBytes() int64 {
	if s.card != nil {
		return s.card.CacheBytes()
	}
	var n int64
	for _, kv := range s.kv {
		n += int64(kv.Bytes())
	}
	return n
}

// Reserve makes room for n tokens in all, so that growing copies nothing and
// leaves nothing over. It fails where a card has no such room.
func (s *Session) Reserve(n int) error {
	if s.card != nil {
		return s.card.Reserve(n)
	}
	for _, kv := range s.kv {
		kv.Reserve(n)
	}
	return nil
}

// Truncate drops the tokens from n on; of a compressed sequence only those that
// followed the compression.
func (s *Session) Truncate(n int) {
	if s.card != nil {
		s.card.Truncate(n)
		return
	}
	for _, kv := range s.kv {
		kv.Truncate(n)
	}
}

// Pick is a selection of slots that a card can make by itself.
type Pick = cuda.Pick

// Select has the card choose slots of a layer by the votes of its last n queries,
// q [n, heads*headDim] as States has shown them: for each pick [query head or kv
// head], ascending, as Compress takes them. ok is false where the caller must
// choose: the layer is not on a card, or the card has no room for the weights.
func (s *Session) Select(layer int, q []float32, n int, picks []Pick) (keep [][][]int32, ok bool, err error) {
	if s.card == nil {
		return nil, false, nil
	}
	keep, err = s.card.Select(layer, q, n, picks)
	var small *cuda.MemoryError
	if errors.As(err, &small) {
		return nil, false, nil
	}
	return keep, err == nil, err
}

// Compress returns a sequence whose layers keep only some slots of their
// caches. keep gives, for a layer, the slots in ascending order by kv head or by
// query head. Tokens that follow keep their true positions.
func (s *Session) Compress(keep func(layer int) ([][]int32, error)) (*Session, error) {
	f := &Session{m: s.m, kv: make([]*cpu.KV, len(s.kv))}
	c := &s.m.config
	all := make([][][]int32, c.Layers)
	for l := range all {
		slots, err := keep(l)
		if err != nil {
			return nil, err
		}
		if len(slots) != c.Heads && len(slots) != c.KVHeads {
			return nil, fmt.Errorf("layer %d: slots for %d heads, want %d (query heads) or %d (kv heads)", l, len(slots), c.Heads, c.KVHeads)
		}
		for h, list := range slots {
			last := int32(-1)
			for _, at := range list {
				if at <= last || int(at) >= s.Len() {
					return nil, fmt.Errorf("layer %d, head %d: slot %d after %d: want ascending slots below %d", l, h, at, last, s.Len())
				}
				last = at
			}
		}
		all[l] = slots
	}
	if s.card != nil {
		var err error
		f.card, err = s.card.Compress(all)
		return f, err
	}
	for l, kv := range s.kv {
		f.kv[l] = kv.Compress(all[l])
	}
	return f, nil
}

// Forward appends tokens to the sequence, chunk by chunk.
func (s *Session) Forward(ctx context.Context, tokens []int32, p Pass) error {
	for at, id := range tokens {
		if id < 0 || int(id) >= s.m.config.Vocab {
			return fmt.Errorf("token %d is %d, the vocabulary has %d", at, id, s.m.config.Vocab)
		}
	}
	c, end := &s.m.config, s.Len()+len(tokens)
	if c.Learned && end > c.MaxPositions {
		return fmt.Errorf("%d tokens, the model has embeddings of %d positions", end, c.MaxPositions)
	}
	step := s.m.chunk
	if p.Length == 0 {
		p.Length = end
	} else if c.Rope.Varies(end) && end > p.Length {
		step = 1
	}
	if s.card != nil {
		return s.onCard(ctx, tokens, step, p)
	}
	for lo := 0; lo < len(tokens); lo += step {
		hi := min(lo+step, len(tokens))
		if err := s.chunk(ctx, tokens[lo:hi], lo, p); err != nil {
			return err
		}
	}
	return nil
}

// embed writes the embedding of a token at a position.
func (s *Session) embed(row []float32, id int32, pos int) error {
	m, c := s.m, &s.m.config
	if err := m.embed.Row(row, int(id)); err != nil {
		return err
	}
	if c.EmbedScale != 1 {
		for j := range row {
			row[j] *= c.EmbedScale
		}
	}
	if m.places != nil {
		place := grow(&s.buf.h, c.Hidden)
		if err := m.places.Row(place, pos); err != nil {
			return err
		}
		for j, v := range place {
			row[j] += v
		}
	}
	return nil
}

// chunk passes tokens, the row0-th and on of the pass, through all layers.
func (s *Session) chunk(ctx context.Context, tokens []int32, row0 int, p Pass) error {
	m, c, b, n := s.m, &s.m.config, &s.buf, len(tokens)
	pos0 := s.Len()
	x := grow(&b.x, n*c.Hidden)
	for i, id := range tokens {
		if err := s.embed(x[i*c.Hidden:(i+1)*c.Hidden], id, pos0+i); err != nil {
			return err
		}
	}
	global := c.Rope.at(max(p.Length, pos0+n)).turns(pos0, n)
	local := global
	if c.LocalRope != nil {
		local = c.LocalRope.turns(pos0, n)
	}
	for l := range m.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.Hidden != nil {
			p.Hidden(l, x[(n-1)*c.Hidden:])
		}
		t := global
		if c.LayerWindows[l] > 0 {
			t = local
		}
		if c.NoRope != nil && c.NoRope[l] {
			t = turns{}
		}
		s.layer(l, x, t, n, pos0, row0, p)
	}
	if p.Logits != nil && row0+n > p.LogitsFrom {
		s.logits(x, n, row0, p)
	}
	return nil
}

// rows runs f over blocks of a chunk's rows on all threads.
func (s *Session) rows(n int, f func(i int, scratch *cpu.Scratch)) {
	const block = 8
	s.m.pool.Run((n+block-1)/block, func(task, worker int) {
		for i := task * block; i < min(n, (task+1)*block); i++ {
			f(i, s.m.pool.Scratch(worker))
		}
	})
}

func (s *Session) layer(l int, x []float32, t turns, n, pos0, row0 int, p Pass) {
	_, k, v := s.project(l, x, t, n)
	s.kv[l].Append(s.m.pool, k, v, n)
	from := s.outputsFrom(l, n, row0, p)
	s.attend(l, n, pos0, row0, from, p)
	if from < n {
		s.finish(l, x, from, n)
	}
}

// project computes the queries, keys and values of a layer's rows, rotated.
func (s *Session) project(l int, x []float32, t turns, n int) (q, k, v []float32) {
	m, c, b, w := s.m, &s.m.config, &s.buf, &s.m.layers[l]
	nq, nk, nv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.KVHeads*c.ValueDim
	width := nq + nk + nv
	h, qkv := grow(&b.h, n*c.Hidden), grow(&b.qkv, n*width)
	s.normed(h, x, w.attnNorm, w.attnNormBias, n)
	w.qkv.Mul(m.pool, cpu.Dense(qkv, n, width), cpu.Dense(h, n, c.Hidden))
	if c.Parallel && w.ffnNorm != nil {
		s.normed(h, x, w.ffnNorm, w.ffnNormBias, n)
	}
	q, k, v = grow(&b.q, n*nq), grow(&b.k, n*nk), grow(&b.v, n*nv)
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := qkv[i*width : (i+1)*width]
		for j, v := range w.qkvBias {
			row[j] += v
		}
		if c.ClipQKV > 0 {
			for j, v := range row {
				row[j] = min(max(v, -c.ClipQKV), c.ClipQKV)
			}
		}
		copy(q[i*nq:(i+1)*nq], row)
		copy(k[i*nk:(i+1)*nk], row[nq:])
		copy(v[i*nv:(i+1)*nv], row[nq+nk:])
		s.turn(q[i*nq:(i+1)*nq], w.qNorm, t, i)
		s.turn(k[i*nk:(i+1)*nk], w.kNorm, t, i)
	})
	return q, k, v
}

// finish brings the rows from on through the rest of a layer.
func (s *Session) finish(l int, x []float32, from, n int) {
	m, c, b, w := s.m, &s.m.config, &s.buf, &s.m.layers[l]
	x, h, n := x[from*c.Hidden:], grow(&b.h, n*c.Hidden)[from*c.Hidden:], n-from
	attn := b.attn[from*c.Heads*c.ValueDim:]
	if w.attnPostNorm == nil && c.ResidualScale == 1 {
		w.out.MulAdd(m.pool, cpu.Dense(x, n, c.Hidden), cpu.Dense(attn, n, c.Heads*c.ValueDim))
		s.addBias(x, w.outBias, n)
	} else {
		w.out.Mul(m.pool, cpu.Dense(h, n, c.Hidden), cpu.Dense(attn, n, c.Heads*c.ValueDim))
		s.addBias(h, w.outBias, n)
		s.addNormed(x, h, w.attnPostNorm, n)
	}
	s.feedForward(w, x, h, n)
}

// outputsFrom is the first row of a chunk whose output of layer l is read by
// anything: of the last layer only the rows whose logits are wanted.
func (s *Session) outputsFrom(l, n, row0 int, p Pass) int {
	if l < s.m.config.Layers-1 || p.Hidden != nil {
		return 0
	}
	if p.Logits == nil {
		return n
	}
	return min(n, max(0, p.LogitsFrom-row0))
}

// normed writes norm(x), or x where the family has no norm there.
func (s *Session) normed(h, x, norm, bias []float32, n int) {
	c := &s.m.config
	d := c.Hidden
	s.rows(n, func(i int, _ *cpu.Scratch) {
		if c.arch.NoPreNorms {
			copy(h[i*d:(i+1)*d], x[i*d:(i+1)*d])
			return
		}
		c.norm(h[i*d:(i+1)*d], x[i*d:(i+1)*d], norm, bias)
	})
}

// norm is the family's norm of one row.
func (c *Config) norm(dst, x, weight, bias []float32) {
	if c.LayerNorm {
		cpu.LayerNorm(dst, x, weight, bias, c.NormEps)
		return
	}
	cpu.RMSNorm(dst, x, weight, c.NormEps)
}

// turn normalises and rotates the heads of row i's queries or keys.
func (s *Session) turn(x, norm []float32, t turns, i int) {
	c := &s.m.config
	if norm != nil && c.arch.WideQKNorm {
		cpu.RMSNorm(x, x, norm, c.NormEps)
	}
	for at := 0; at < len(x); at += c.HeadDim {
		head := x[at : at+c.HeadDim]
		if norm != nil && !c.arch.WideQKNorm {
			cpu.RMSNorm(head, head, norm, c.NormEps)
		}
		if t.half > 0 {
			cpu.Rope(head, t.cos[i*t.half:(i+1)*t.half], t.sin[i*t.half:(i+1)*t.half], c.Rope.Pairing)
		}
	}
}

func (s *Session) addBias(x, bias []float32, n int) {
	for i := range n {
		for j, v := range bias {
			x[i*len(bias)+j] += v
		}
	}
}

// addNormed adds norm(h), or h without a norm, times the residual scale to x.
func (s *Session) addNormed(x, h, norm []float32, n int) {
	d, by := s.m.config.Hidden, s.m.config.ResidualScale
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := h[i*d : (i+1)*d]
		if norm != nil {
			cpu.RMSNorm(row, row, norm, s.m.config.NormEps)
		}
		for j, v := range row {
			x[i*d+j] += by * v
		}
	})
}

func (s *Session) attend(l, n, pos0, row0, outFrom int, p Pass) {
	c, b := &s.m.config, &s.buf
	a := cpu.Attention{Heads: c.Heads, KeyDim: c.HeadDim, ValueDim: c.ValueDim, Scale: c.Scale, SoftCap: c.SoftCap, Window: c.LayerWindows[l]}
	out := grow(&b.attn, n*c.Heads*c.ValueDim)
	b.attn = out
	q := cpu.Queries{Q: b.q[:n*c.Heads*c.HeadDim], Out: out, Rows: n, Pos0: pos0, OutFrom: outFrom}
	if p.Recorder == nil || row0+n <= p.RecordFrom {
		a.Run(s.m.pool, s.kv[l], q)
		return
	}
	from := max(0, p.RecordFrom-row0)
	q.VisitFrom = from
	q.Visit = p.Recorder.visit(l, row0)
	a.Run(s.m.pool, s.kv[l], q)
	if p.Recorder.States == nil {
		return
	}
	nq, nk, nv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim, c.KVHeads*c.ValueDim
	p.Recorder.States(l, pos0+from, n-from, b.q[from*nq:n*nq], b.k[from*nk:n*nk], b.v[from*nv:n*nv])
}

// visit returns the function that shows a layer's tiles to the recorder, where row0
// is the row of the pass that the chunk begins with. It is nil without Tile.
func (r *Recorder) visit(layer, row0 int) func(worker int, t *cpu.Tile) {
	if r.Tile == nil {
		return nil
	}
	return func(_ int, t *cpu.Tile) {
		t.Row0 += row0
		r.Tile(layer, t)
	}
}

func (s *Session) feedForward(w *layer, x, h []float32, n int) {
	m, c, b := s.m, &s.m.config, &s.buf
	if !c.Parallel {
		s.normed(h, x, w.ffnNorm, w.ffnNormBias, n)
	}
	if w.router != nil {
		out := grow(&b.mixed, n*c.Hidden)
		s.mixture(w, out, h, n)
		s.addNormed(x, out, w.ffnPostNorm, n)
		return
	}
	act := s.gated(w.gateUp, w.gateUpBias, h, n)
	if w.ffnPostNorm == nil && c.ResidualScale == 1 {
		w.down.MulAdd(m.pool, cpu.Dense(x, n, c.Hidden), cpu.Dense(act, n, c.Intermediate))
		s.addBias(x, w.downBias, n)
		return
	}
	w.down.Mul(m.pool, cpu.Dense(h, n, c.Hidden), cpu.Dense(act, n, c.Intermediate))
	s.addBias(h, w.downBias, n)
	s.addNormed(x, h, w.ffnPostNorm, n)
}

// gated is act(gate·h) * (up·h), or act(up·h) where there is no gate, [n, ff].
func (s *Session) gated(gateUp *cpu.Matrix, bias, h []float32, n int) []float32 {
	m, c, b := s.m, &s.m.config, &s.buf
	width := gateUp.Out()
	ff := width
	if !c.Plain {
		ff = width / 2
	}
	gu, act := grow(&b.gateUp, n*width), grow(&b.act, n*ff)
	gateUp.Mul(m.pool, cpu.Dense(gu, n, width), cpu.Dense(h, n, c.Hidden))
	s.rows(n, func(i int, scratch *cpu.Scratch) {
		row := gu[i*width : (i+1)*width]
		for j, v := range bias {
			row[j] += v
		}
		cpu.Activate(c.Activation, act[i*ff:(i+1)*ff], row[:ff], row[ff:], scratch)
	})
	return act
}

// logitRows bounds the logits held at once.
const logitRows = 32

func (s *Session) logits(x []float32, n, row0 int, p Pass) {
	m, c, b := s.m, &s.m.config, &s.buf
	for lo := max(0, p.LogitsFrom-row0); lo < n; lo += logitRows {
		rows := min(logitRows, n-lo)
		h, out := grow(&b.h, rows*c.Hidden), grow(&b.logits, rows*c.Vocab)
		for i := range rows {
			c.norm(h[i*c.Hidden:(i+1)*c.Hidden], x[(lo+i)*c.Hidden:(lo+i+1)*c.Hidden], m.norm, m.normBias)
		}
		if p.Hidden != nil && lo+rows == n {
			p.Hidden(c.Layers, h[(rows-1)*c.Hidden:])
		}
		m.head.Mul(m.pool, cpu.Dense(out, rows, c.Vocab), cpu.Dense(h, rows, c.Hidden))
		s.addBias(out, m.headBias, rows)
		if c.LogitScale != 1 {
			for i := range out {
				out[i] /= c.LogitScale
			}
		}
		if c.LogitCap > 0 {
			for i, v := range out {
				out[i] = c.LogitCap * float32(math.Tanh(float64(v/c.LogitCap)))
			}
		}
		for i := range rows {
			p.Logits(row0+lo+i, out[i*c.Vocab:(i+1)*c.Vocab])
		}
	}
}
