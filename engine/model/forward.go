package model

import (
	"context"
	"math"

	"github.com/attnscope/attnscope/engine/cpu"
	"github.com/attnscope/attnscope/internal/simd"
)

// chunk is a run of tokens that pass through the layers together.
type chunk struct {
	x    []float32 // hidden states, [n, hidden]
	n    int       // tokens
	pos0 int       // position of the first one
	row0 int       // its index in the pass
	p    *Pass

	own    []float32 // the inputs of all layers' own, [n, layers, LayerInput]
	states []float32 // the states of the tokens, [Streams][n, hidden]
	waits  bool      // other chunks pass through a layer before this one enters the next
}

// room returns memory for states of a chunk: a buffer that all chunks share, unless this
// chunk waits for others.
func (c *chunk) room(b *[]float32, n int) []float32 {
	if c.waits {
		return make([]float32, n)
	}
	return grow(b, n)
}

// from returns the rows of a chunk from row on.
func (c *chunk) from(row, hidden int) *chunk {
	return &chunk{x: c.x[row*hidden:], n: c.n - row, pos0: c.pos0 + row, row0: c.row0 + row, p: c.p}
}

// pass runs tokens through all layers. The first token is row row0 of the pass.
func (s *cpuSequence) pass(ctx context.Context, tokens []int32, row0 int, p *Pass) error {
	in := &chunk{n: len(tokens), pos0: s.length(), row0: row0, p: p}
	in.x = grow(&s.buf.x, in.n*s.config.Hidden)
	angles, err := s.enter(in, tokens)
	if err != nil {
		return err
	}
	err = s.eachLayer(ctx, in.n, func(l int) error {
		s.through(l, in, angles)
		return nil
	})
	if err != nil {
		return err
	}
	s.leave(in)
	return s.endPass()
}

// enter writes the embeddings of a chunk's tokens and returns their rotations.
func (s *cpuSequence) enter(in *chunk, tokens []int32) (rotations, error) {
	c := s.config
	for i, id := range tokens {
		if err := s.embedding(in.x[i*c.Hidden:(i+1)*c.Hidden], id, in.pos0+i); err != nil {
			return rotations{}, err
		}
	}
	return c.rotations(max(in.p.Length, in.pos0+in.n), in.pos0, in.n), s.begin(tokens, in)
}

// through runs a chunk through layer l.
func (s *cpuSequence) through(l int, in *chunk, angles rotations) {
	if in.p.Hidden != nil {
		in.p.Hidden(l, in.x[(in.n-1)*s.config.Hidden:])
	}
	s.layer(l, in, angles.layer(&s.config.Shapes[l]))
}

// leave computes the logits that are wanted of a chunk that has passed through all
// layers.
func (s *cpuSequence) leave(in *chunk) {
	s.seen = in.pos0 + in.n
	if in.p.Logits != nil && in.row0+in.n > in.p.LogitsFrom {
		s.logits(in)
	}
}

// begin computes what follows from the embeddings in in.x before the first layer.
func (s *cpuSequence) begin(tokens []int32, in *chunk) error {
	s.widen(in)
	return s.layerInputs(tokens, in)
}

// embedding writes the embedding of a token at a position to row.
func (s *cpuSequence) embedding(row []float32, id int32, pos int) error {
	c := s.config
	if err := s.embed.Row(row, int(id)); err != nil {
		return err
	}
	if c.EmbedScale != 1 {
		for j := range row {
			row[j] *= c.EmbedScale
		}
	}
	if s.places != nil {
		place := grow(&s.buf.h, c.Hidden)
		if err := s.places.Row(place, pos); err != nil {
			return err
		}
		for j, v := range place {
			row[j] += v
		}
	}
	if s.embedNorm != nil {
		c.norm(row, row, s.embedNorm, s.embedNormBias)
	}
	return nil
}

// rows calls f for each row of a chunk, in blocks on all threads.
func (s *cpuSequence) rows(n int, f func(i int, scratch *cpu.Scratch)) {
	const block = 8
	s.pool.Run((n+block-1)/block, func(task, worker int) {
		for i := task * block; i < min(n, (task+1)*block); i++ {
			f(i, s.pool.Scratch(worker))
		}
	})
}

// multiply computes dst = x·Wᵀ, or dst += x·Wᵀ with acc.
func (s *cpuSequence) multiply(w *cpu.Matrix, dst, x cpu.Mat, acc bool) {
	s.load(w)
	switch {
	case !w.Loaded(): // eachLayer returns the error
	case s.apart:
		w.MulEach(s.pool, dst, x, acc)
	case acc:
		w.MulAdd(s.pool, dst, x)
	default:
		w.Mul(s.pool, dst, x)
	}
}

// layer runs a chunk through layer l.
func (s *cpuSequence) layer(l int, in *chunk, t turns) {
	from := s.outputsFrom(l, in)
	if shape := &s.config.Shapes[l]; shape.HasAttention() {
		_, k, v := s.states(l, in, t)
		if shape.CacheOf == l {
			s.kv[l].Append(s.pool, k, v, in.n)
		}
		s.attend(l, in, from)
	} else if shape.Kind != None {
		s.normedInput(l, in)
	}
	if s.layers[l].mixer != nil {
		s.mix(l, in.n, from, s.mixerStates[l:l+1])
	}
	if from < in.n {
		s.finish(l, in, from)
	}
}

// outputsFrom returns the first row of a chunk whose output of layer l is needed. After
// the last layer, only the rows whose logits are wanted are needed.
func (s *cpuSequence) outputsFrom(l int, in *chunk) int {
	if l < s.config.Layers-1 || in.p.Hidden != nil {
		return 0
	}
	if in.p.Logits == nil {
		return in.n
	}
	return min(in.n, max(0, in.p.LogitsFrom-in.row0))
}

// states computes the queries, keys and values of a chunk in layer l.
func (s *cpuSequence) states(l int, in *chunk, t turns) (q, k, v []float32) {
	if s.config.Latent != nil {
		return s.projectLatent(l, in, t)
	}
	return s.project(l, in, t)
}

// project computes the rotated queries and keys and the values of a chunk in layer
// l. In parallel blocks it also leaves the input of the feed-forward in s.buf.h.
func (s *cpuSequence) project(l int, in *chunk, t turns) (q, k, v []float32) {
	c := s.config
	w := &s.layers[l]
	shape := &c.Shapes[l]
	nq := shape.queryWidth()
	nk, nv := c.newWidths(l)
	if w.altUp != nil {
		s.predict(w.altUp, in)
	}
	gates := 0
	if c.arch.OutputGate {
		gates = nq
	}
	width := nq + gates + nk + nv
	if c.keyValues(l) {
		width -= nv
	}
	h := s.normedInput(l, in)
	qkv := grow(&s.buf.qkv, in.n*width)
	s.multiply(w.qkv, cpu.Dense(qkv, in.n, width), cpu.Dense(h, in.n, c.Hidden), false)
	if w.altUp != nil {
		s.laurel(w.altUp, h, in.n)
	}
	if c.Parallel && w.ffnNorm != nil {
		s.normed(h, in.x, w.ffnNorm, w.ffnNormBias, in.n)
	}
	s.buf.gates = grow(&s.buf.gates, in.n*gates)
	q = grow(&s.buf.q, in.n*nq)
	k = grow(&s.buf.k, in.n*nk)
	v = grow(&s.buf.v, in.n*nv)
	s.rows(in.n, func(i int, _ *cpu.Scratch) {
		row := qkv[i*width : (i+1)*width]
		if c.Factors != nil {
			simd.Scale(row, c.Factors.AttentionIn)
		}
		for j, b := range w.qkvBias {
			row[j] += b
		}
		if c.Factors != nil {
			simd.Scale(row[nq:nq+nk], c.Factors.Key)
		}
		if c.ClipQKV > 0 {
			for j, x := range row {
				row[j] = min(max(x, -c.ClipQKV), c.ClipQKV)
			}
		}
		if gates > 0 {
			s.splitGates(q[i*nq:(i+1)*nq], i, row, shape)
			row = row[gates:]
		} else {
			copy(q[i*nq:(i+1)*nq], row)
		}
		copy(k[i*nk:(i+1)*nk], row[nq:])
		copy(v[i*nv:(i+1)*nv], row[len(row)-nv:])
		if c.ValueNorm {
			bareNorm(v[i*nv:(i+1)*nv], shape.ValueDim, c.NormEps)
		}
		s.rotate(q[i*nq:(i+1)*nq], w.qNorm, shape, t, i)
		if t.query != nil {
			for j := range nq {
				q[i*nq+j] *= t.query[i]
			}
		}
		s.rotate(k[i*nk:(i+1)*nk], w.kNorm, shape, t, i)
	})
	return q, k, v
}

// normedInput writes the input of a layer's attention or mixer to s.buf.h.
func (s *cpuSequence) normedInput(l int, in *chunk) []float32 {
	h := grow(&s.buf.h, in.n*s.config.Hidden)
	s.normed(h, in.x, s.layers[l].attnNorm, s.layers[l].attnNormBias, in.n)
	return h
}

// splitGates splits row i of a projection that has a query and a gate for each head.
func (s *cpuSequence) splitGates(q []float32, i int, row []float32, shape *LayerShape) {
	d := shape.KeyDim
	gates := s.buf.gates[i*len(q) : (i+1)*len(q)]
	for h := range shape.Heads {
		copy(q[h*d:(h+1)*d], row[2*h*d:])
		copy(gates[h*d:(h+1)*d], row[(2*h+1)*d:])
	}
}

// applyGates multiplies attention's outputs of the rows from row from on by the sigmoids
// of their gates.
func (s *cpuSequence) applyGates(attn cpu.Mat, from int) {
	s.rows(attn.Rows, func(i int, _ *cpu.Scratch) {
		row := attn.Data[i*attn.Stride:][:attn.Cols]
		for j, g := range s.buf.gates[(from+i)*attn.Cols:][:attn.Cols] {
			row[j] *= float32(1 / (1 + math.Exp(-float64(g))))
		}
	})
}

// rotate normalizes and rotates the queries or keys x of all heads at row i.
func (s *cpuSequence) rotate(x, norm []float32, shape *LayerShape, t turns, i int) {
	c := s.config
	if norm != nil && c.arch.WideQKNorm {
		cpu.RMSNorm(x, x, norm, c.NormEps)
	}
	for at := 0; at < len(x); at += shape.KeyDim {
		head := x[at : at+shape.KeyDim]
		if norm != nil && !c.arch.WideQKNorm && !c.arch.NormLast {
			cpu.RMSNorm(head, head, norm, c.NormEps)
		}
		if t.half > 0 {
			cpu.Rope(head[shape.RopeAt:], t.cos[i*t.half:(i+1)*t.half], t.sin[i*t.half:(i+1)*t.half], t.pairing)
		}
		if norm != nil && c.arch.NormLast {
			cpu.RMSNorm(head, head, norm, c.NormEps)
		}
		if c.BareQKNorm && shape.Rope != nil {
			bareNorm(head, len(head), c.NormEps)
		}
	}
}

// attention returns the shape of layer l's attention, for queries and keys at positions
// below end.
func (c *Config) attention(l, end int) cpu.Attention {
	shape := &c.Shapes[l]
	return cpu.Attention{
		Bias:     c.KeyBias.Table(end),
		Heads:    shape.Heads,
		KeyDim:   shape.KeyDim,
		ValueDim: shape.ValueDim,
		Scale:    shape.Scale,
		SoftCap:  shape.SoftCap,
		Window:   shape.Window,
		Chunk:    shape.Chunk,
	}
}

// attend computes the attention of a chunk's queries, whose keys and values are in
// the cache, and shows it to the recorder. Outputs before row outFrom are not
// computed.
func (s *cpuSequence) attend(l int, in *chunk, outFrom int) {
	shape := &s.config.Shapes[l]
	p := in.p
	a := s.config.attention(l, in.pos0+in.n)
	a.Sinks = s.layers[l].sinks
	s.buf.attn = grow(&s.buf.attn, in.n*shape.outputWidth())
	q := cpu.Queries{
		Q: s.buf.q[:in.n*shape.queryWidth()], Out: s.buf.attn, Rows: in.n, Pos0: in.pos0, OutFrom: outFrom,
	}
	if p.Recorder == nil || in.row0+in.n <= p.RecordFrom {
		a.Run(s.pool, s.cache(l), q)
		return
	}
	from := max(0, p.RecordFrom-in.row0)
	q.VisitFrom = from
	q.Visit = p.Recorder.visit(l, in.row0)
	a.Run(s.pool, s.cache(l), q)
	if p.Recorder.States == nil {
		return
	}
	nq := shape.queryWidth()
	nk, nv := s.config.newWidths(l)
	p.Recorder.States(l, in.pos0+from, in.n-from,
		s.buf.q[from*nq:in.n*nq], s.buf.k[from*nk:in.n*nk], s.buf.v[from*nv:in.n*nv])
}

// finish runs the rows of a chunk from row from on through the rest of a layer: the
// output projection, what the mixer adds, and the feed-forward.
func (s *cpuSequence) finish(l int, in *chunk, from int) {
	c := s.config
	w := &s.layers[l]
	h := grow(&s.buf.h, in.n*c.Hidden)[from*c.Hidden:]
	out := in.from(from, c.Hidden)
	if w.out != nil {
		s.addAttention(l, out, h, from)
	}
	if w.altUp != nil {
		s.addLaurel(out.x, from)
	}
	if w.mixer != nil {
		s.addNormed(out.x, s.buf.mixerOut[from*c.Hidden:], w.attnPostNorm, c.addFactors().MixerOut, out.n)
	}
	if w.down != nil || w.router != nil {
		s.feedForward(l, out.x, h, out.n)
	}
	s.complete(l, in, from)
}

// addAttention adds the projection of attention's outputs, of the rows of a chunk from
// row from on, to the hidden states of out. h is a buffer.
func (s *cpuSequence) addAttention(l int, out *chunk, h []float32, from int) {
	c := s.config
	w := &s.layers[l]
	width := c.Shapes[l].outputWidth()
	attn := cpu.Dense(s.buf.attn[from*width:], out.n, width)
	if w.latent != nil {
		attn = s.headOutputs(w, attn)
	}
	if c.arch.OutputGate {
		s.applyGates(attn, from)
	}
	by := c.addFactors().AttentionOut
	if w.attnPostNorm == nil && by == 1 {
		s.multiply(w.out, cpu.Dense(out.x, out.n, c.Hidden), attn, true)
		addBias(out.x, w.outBias, out.n)
		return
	}
	s.multiply(w.out, cpu.Dense(h, out.n, c.Hidden), attn, false)
	addBias(h, w.outBias, out.n)
	s.addNormed(out.x, h, w.attnPostNorm, by, out.n)
}

// complete computes the rest of the output of layer l for the rows of a chunk from row
// from on.
func (s *cpuSequence) complete(l int, in *chunk, from int) {
	w := &s.layers[l]
	out := in.from(from, s.config.Hidden)
	switch {
	case w.altUp != nil:
		s.correct(l, in, from)
	case w.own != nil:
		simd.AddScaled(out.x, s.ownInput(l, in, from, out.x), 1)
	}
	if s.config.LayerScale {
		simd.Scale(out.x, w.scale)
	}
}

// bareNorm normalizes each head of x, without weights.
func bareNorm(x []float32, dim int, eps float32) {
	for at := 0; at < len(x); at += dim {
		head := x[at : at+dim]
		simd.Scale(head, float32(1/math.Sqrt(simd.SumSquares(head)/float64(dim)+float64(eps))))
	}
}

// normed writes norm(x) to h, or x if the family has no norm there; [n, hidden].
func (s *cpuSequence) normed(h, x, norm, bias []float32, n int) {
	c := s.config
	d := c.Hidden
	s.rows(n, func(i int, _ *cpu.Scratch) {
		if c.arch.NoPreNorms {
			copy(h[i*d:(i+1)*d], x[i*d:(i+1)*d])
			return
		}
		c.norm(h[i*d:(i+1)*d], x[i*d:(i+1)*d], norm, bias)
	})
}

// norm writes the family's norm of one row to dst.
func (c *Config) norm(dst, x, weight, bias []float32) {
	if c.LayerNorm {
		cpu.LayerNorm(dst, x, weight, bias, c.NormEps)
		return
	}
	cpu.RMSNorm(dst, x, weight, c.NormEps)
}

// addBias adds a bias, which may be nil, to n rows.
func addBias(x, bias []float32, n int) {
	for i := range n {
		for j, v := range bias {
			x[i*len(bias)+j] += v
		}
	}
}

// addFactors returns the factors of what a layer adds to the hidden states.
func (c *Config) addFactors() Factors {
	by := c.ResidualScale
	if c.Factors == nil {
		return Factors{AttentionOut: by, MixerOut: by, Down: by}
	}
	return Factors{AttentionOut: by * c.Factors.AttentionOut, MixerOut: by * c.Factors.MixerOut, Down: by * c.Factors.Down}
}

// addNormed adds norm(h), or h if norm is nil, times a factor to x.
func (s *cpuSequence) addNormed(x, h, norm []float32, by float32, n int) {
	d := s.config.Hidden
	s.rows(n, func(i int, _ *cpu.Scratch) {
		row := h[i*d : (i+1)*d]
		if norm != nil {
			cpu.RMSNorm(row, row, norm, s.config.NormEps)
		}
		for j, v := range row {
			x[i*d+j] += float32(by * v)
		}
	})
}

// feedForward adds the feed-forward of n rows to x. In parallel blocks h is its input;
// otherwise h is a buffer for that input.
func (s *cpuSequence) feedForward(l int, x, h []float32, n int) {
	c := s.config
	w := &s.layers[l]
	if !c.Parallel {
		s.normed(h, x, w.ffnNorm, w.ffnNormBias, n)
	}
	by := c.addFactors().Down
	if w.router != nil && w.beside == nil {
		out := grow(&s.buf.mixed, n*c.Hidden)
		s.mixture(w, out, h, n)
		s.addNormed(x, out, w.ffnPostNorm, by, n)
		return
	}
	act := cpu.Dense(s.gated(w.gateUp, w.gateUpBias, h, n, c.trim(l)), n, c.intermediate(l))
	if w.ffnPostNorm == nil && by == 1 {
		s.multiply(w.down, cpu.Dense(x, n, c.Hidden), act, true)
		addBias(x, w.downBias, n)
		return
	}
	s.multiply(w.down, cpu.Dense(h, n, c.Hidden), act, false)
	addBias(h, w.downBias, n)
	if w.beside != nil {
		s.addMixture(w, x, h, n)
	}
	s.addNormed(x, h, w.ffnPostNorm, by, n)
}

// gated returns act(gate·h) * (up·h), or act(up·h) if there is no gate,
// [n, channels]. Gates are trimmed first.
func (s *cpuSequence) gated(gateUp *cpu.Matrix, bias, h []float32, n int, trim Trim) []float32 {
	c := s.config
	width := gateUp.Out()
	channels := width
	if !c.Plain {
		channels = width / 2
	}
	gu := grow(&s.buf.gateUp, n*width)
	act := grow(&s.buf.act, n*channels)
	s.multiply(gateUp, cpu.Dense(gu, n, width), cpu.Dense(h, n, gateUp.In()), false)
	s.rows(n, func(i int, scratch *cpu.Scratch) {
		row := gu[i*width : (i+1)*width]
		for j, v := range bias {
			row[j] += v
		}
		if c.Factors != nil {
			simd.Scale(row[:channels], c.Factors.Gate)
		}
		trim.apply(row[:channels])
		if g := c.ClampedGate; g != nil {
			cpu.ClampedSwiGLU(act[i*channels:(i+1)*channels], row[:channels], row[channels:], g.Alpha, g.Limit)
			return
		}
		cpu.Activate(c.Activation, act[i*channels:(i+1)*channels], row[:channels], row[channels:], scratch)
	})
	return act
}
