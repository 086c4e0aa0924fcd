//go:build cuda

package cuda

import (
	"context"
	"errors"
	"fmt"

	"gorgonia.org/cu"
)

// inOrder takes steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// turnRows is the number of positions whose angles are made together, as the
// processor's backend does: a rotation may depend on the longest of them.
const turnRows = 512

// Forward appends tokens to the sequence, chunk by chunk.
func (s *sequence) Forward(ctx context.Context, tokens []int32, p Pass) error {
	if len(tokens) == 0 {
		return nil
	}
	return s.c.t.do(func() error { return s.forward(ctx, tokens, p) })
}

func (s *sequence) forward(ctx context.Context, tokens []int32, p Pass) (err error) {
	if err := s.reserve(s.len + len(tokens)); err != nil {
		return err
	}
	if err := s.freshCounts(); err != nil {
		return err
	}
	rec, err := s.record(&p, len(tokens))
	if err != nil {
		return err
	}
	for lo := 0; lo < len(tokens) && err == nil; {
		n := min(s.c.chunk, len(tokens)-lo)
		err = s.c.room(n, s.len+n)
		var small *MemoryError
		if errors.As(err, &small) && n > minChunk {
			s.c.chunk = max(minChunk, n/2)
			s.c.log(fmt.Sprintf("no room on the card for %d tokens at a time (%s of %s free): going on with %d", n, bytesText(small.Free), bytesText(small.Memory), s.c.chunk))
			err = nil
			continue
		}
		if errors.As(err, &small) {
			small.hint = cacheHint(s.c.dt.String())
		}
		if err == nil {
			err = s.chunkOf(ctx, tokens[lo:lo+n], lo, &p, rec)
		}
		lo += n
	}
	return rec.finish(err)
}

// room makes a workspace for chunks of n tokens that see up to keys keys.
func (c *card) room(n, keys int) error {
	if c.work.n < n {
		c.pool.put(c.workBlock)
		c.workBlock, c.work.n = block{}, 0
		a := c.work.plan(&c.d.Sizes, c.dt.bytes(), n, c.half)
		b, err := c.pool.get(a.total, fmt.Sprintf("the activations of %d tokens", n))
		if err != nil {
			return err
		}
		a.set(b.at)
		c.workBlock, c.work.n = b, n
	}
	if n > decodeRows {
		return nil
	}
	if want := c.d.Sizes.scoreBytes(keys); c.scores.bytes < want {
		c.pool.put(c.scores)
		c.scores = block{}
		b, err := c.pool.get(c.d.Sizes.scoreBytes(keys+keys/4), fmt.Sprintf("the scores of %d keys", keys))
		if err != nil {
			return err
		}
		c.scores = b
	}
	return nil
}

// freshCounts brings the slots of compressed layers to the card after some were
// dropped.
func (s *sequence) freshCounts() error {
	for i := range s.layers {
		l := &s.layers[i]
		if !l.stale {
			continue
		}
		counts := make([]int32, l.stores)
		for st, n := range l.slots {
			counts[st] = int32(n)
		}
		if err := s.c.in.copy(l.counts.at, bytesOf(counts)); err != nil {
			return err
		}
		l.stale = false
	}
	return nil
}

// chunkOf passes tokens, the row0-th and on of the pass, through all layers.
func (s *sequence) chunkOf(ctx context.Context, tokens []int32, row0 int, p *Pass, rec *recording) error {
	c, d, b, n := s.c, s.c.d, &s.c.work.buffers, len(tokens)
	err := inOrder(
		func() error { return c.in.copy(b.ids, bytesOf(tokens)) },
		func() error { return c.l.embed(b.x, c.embed, c.embedType, b.ids, d.EmbedScale, n, d.Hidden) },
		func() error { return s.angles(n) },
	)
	if err != nil {
		return err
	}
	for i := range c.layers {
		if err := ctx.Err(); err != nil {
			return err
		}
		if p.Hidden != nil {
			if err := s.hidden(i, b.x+address(4*(n-1)*d.Hidden), p); err != nil {
				return err
			}
		}
		if err := s.layer(i, n, rec); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	s.len += n
	if p.Logits != nil && row0+n > p.LogitsFrom {
		return s.logits(n, row0, p)
	}
	return nil
}

func (s *sequence) hidden(layer int, at address, p *Pass) error {
	x := make([]float32, s.c.d.Hidden)
	err := s.c.fetch(x, at)
	if err == nil {
		p.Hidden(layer, x)
	}
	return err
}

// angles brings the cosines and sines of the chunk's positions to the card.
func (s *sequence) angles(n int) error {
	c := s.c
	for kind, half := range c.halves {
		for lo := 0; half > 0 && lo < n; lo += turnRows {
			t := c.d.Turns(kind, s.len+lo, min(turnRows, n-lo))
			at := address(4 * lo * half)
			if err := c.in.copy(c.work.cos[kind]+at, bytesOf(t.Cos)); err != nil {
				return err
			}
			if err := c.in.copy(c.work.sin[kind]+at, bytesOf(t.Sin)); err != nil {
				return err
			}
		}
	}
	return nil
}

// normed writes norm(x), or x where the family has no norm there, as the
// compute type.
func (c *card) normed(dst, x, weight address, rows int) error {
	a := norm{Dst: dst, T: c.dt, LdDst: c.d.Hidden, X: x, LdX: c.d.Hidden, Weight: weight, Eps: c.d.NormEps, Rows: rows, Dim: c.d.Hidden}
	if weight == 0 {
		a.Eps = -1
	}
	return c.l.rmsNorm(a)
}

// layer passes the chunk's n rows through one layer.
func (s *sequence) layer(i, n int, rec *recording) error {
	c, d, b, w, l := s.c, s.c.d, &s.c.work.buffers, &s.c.layers[i], &s.layers[i]
	nq, nk := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	width := nq + nk + d.KVHeads*d.ValueDim
	c.times.mark("products")
	return inOrder(
		func() error { return c.normed(b.h, b.x, w.attnNorm, n) },
		func() error { return c.mul(b.qkv, width, b.h, d.Hidden, &w.qkv, n, false) },
		func() error { c.times.mark("attention"); return s.splitHeads(w, l, n) },
		func() error { return s.attend(i, n, rec) },
		func() error {
			c.times.mark("products")
			return c.added(b.attn, d.Heads*d.ValueDim, &w.out, w.outBias, w.attnPostNorm, n)
		},
		func() error { return c.feedForward(w, n) },
		func() error { c.times.mark(""); return nil },
	)
}

// splitHeads takes queries, keys and values out of the projection: queries to
// their buffer, keys and values to the cache.
func (s *sequence) splitHeads(w *layerWeights, l *kvLayer, n int) error {
	c, d, b := s.c, s.c.d, &s.c.work.buffers
	nq, nk := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	width := nq + nk + d.KVHeads*d.ValueDim
	bias, qNorm, kNorm := w.qkvBias, w.qNorm, w.kNorm
	if d.WideQKNorm && qNorm != 0 {
		if bias != 0 {
			if err := c.l.biasAdd(b.qkv, width, bias, n, width); err != nil {
				return err
			}
			bias = 0
		}
		wide := norm{T: f32, LdDst: width, LdX: width, Eps: d.NormEps, Rows: n}
		for _, part := range []struct {
			at     address
			weight address
			dim    int
		}{{b.qkv, qNorm, nq}, {b.qkv + address(4*nq), kNorm, nk}} {
			wide.Dst, wide.X, wide.Weight, wide.Dim = part.at, part.at, part.weight, part.dim
			if err := c.l.rmsNorm(wide); err != nil {
				return err
			}
		}
		qNorm, kNorm = 0, 0
	}
	behind := func(elements int) address {
		if bias == 0 {
			return 0
		}
		return bias + address(4*elements)
	}
	q := heads{Dst: b.q, T: c.dt, DstHead: d.HeadDim, DstRow: nq, Src: b.qkv, LdSrc: width, Bias: bias, Norm: qNorm, Eps: d.NormEps,
		Adjacent: d.AdjacentPairs, Heads: d.Heads, Dim: d.HeadDim, Rows: n}
	if half := c.halves[w.rope]; half > 0 {
		q.Cos, q.Sin, q.Half = b.cos[w.rope], b.sin[w.rope], half
	}
	k := q
	k.Dst, k.DstHead, k.DstRow, k.Base, k.Counts = l.k.at, l.room*d.HeadDim, d.HeadDim, l.keys, l.counts.at
	k.Src, k.Bias, k.Norm, k.Heads, k.Repeat = b.qkv+address(4*nq), behind(nq), kNorm, d.KVHeads, l.stores/d.KVHeads
	v := k
	v.Dst, v.DstHead, v.DstRow, v.Dim = l.v.at, l.room*d.ValueDim, d.ValueDim, d.ValueDim
	v.Src, v.Bias, v.Norm, v.Cos, v.Sin, v.Half = b.qkv+address(4*(nq+nk)), behind(nq+nk), 0, 0, 0, 0
	err := inOrder(
		func() error { return c.l.heads(q) },
		func() error { return c.l.heads(k) },
		func() error { return c.l.heads(v) },
	)
	if err == nil && l.compressed() {
		err = c.l.advance(l.pos.at, l.counts.at, l.stores, l.room, s.len, n)
		for st := range l.slots {
			l.slots[st] += n
		}
	}
	l.keys += n
	return err
}

// attend computes the attention of the chunk's queries and records of it what
// is wanted.
func (s *sequence) attend(i, n int, rec *recording) error {
	c, d, b, l := s.c, s.c.d, &s.c.work.buffers, &s.layers[i]
	a := attention{
		cache: cache{T: c.dt, K: l.k.at, V: l.v.at, Keys: l.keys, Room: l.room, Stores: l.stores, Heads: d.Heads,
			KeyDim: d.HeadDim, ValueDim: d.ValueDim, Scale: d.Scale, Cap: d.SoftCap, Window: c.layers[i].window},
		Q: b.q, Out: b.attn, N: n, Pos0: s.len,
	}
	if l.compressed() {
		a.Counts, a.Pos = l.counts.at, l.pos.at
	}
	want := rec.of(i, s.len, n)
	if want.lse {
		a.LSE = b.lse
	}
	if n <= decodeRows && !want.sums && (!want.rows || int64(4*d.Heads*n*l.keys) <= rec.ring.bytes) {
		few := decode{attention: a, Work: c.scores.at}
		var put func() error
		if want.rows {
			var err error
			if put, err = rec.decodedRows(i, &few); err != nil {
				return err
			}
		}
		if err := c.l.decode(few); err != nil {
			return err
		}
		if put != nil {
			if err := put(); err != nil {
				return err
			}
		}
	} else {
		if want.rows || want.sums {
			a.Stat = b.stat
		}
		if err := c.l.attend(a); err != nil {
			return err
		}
		if want.sums {
			c.times.mark("recording")
			if err := rec.sums(i, a); err != nil {
				return err
			}
		}
		if want.rows {
			c.times.mark("recording")
			if err := rec.rows(i, a); err != nil {
				return err
			}
		}
	}
	return rec.states(i, a, want)
}

// added adds norm(a·wᵀ + bias), or that without a norm, times the residual scale
// to x.
func (c *card) added(a address, lda int, w *matrix, bias, postNorm address, n int) error {
	d, b := c.d, &c.work.buffers
	if postNorm == 0 && d.ResidualScale == 1 {
		if err := c.mul(b.x, d.Hidden, a, lda, w, n, true); err != nil || bias == 0 {
			return err
		}
		return c.l.biasAdd(b.x, d.Hidden, bias, n, d.Hidden)
	}
	if err := c.mul(b.y, d.Hidden, a, lda, w, n, false); err != nil {
		return err
	}
	if bias != 0 {
		if err := c.l.biasAdd(b.y, d.Hidden, bias, n, d.Hidden); err != nil {
			return err
		}
	}
	return c.addNormed(b.y, postNorm, n)
}

// addNormed adds norm(y), or y, times the residual scale to x; y is spoilt.
func (c *card) addNormed(y, weight address, n int) error {
	d := c.d
	if weight != 0 {
		err := c.l.rmsNorm(norm{Dst: y, T: f32, LdDst: d.Hidden, X: y, LdX: d.Hidden, Weight: weight, Eps: d.NormEps, Rows: n, Dim: d.Hidden})
		if err != nil {
			return err
		}
	}
	return c.l.addScaled(c.work.x, y, d.ResidualScale, n*d.Hidden)
}

func (c *card) feedForward(w *layerWeights, n int) error {
	b := &c.work.buffers
	if err := c.normed(b.h, b.x, w.ffnNorm, n); err != nil {
		return err
	}
	if w.router.out > 0 {
		if err := c.mixture(w, n); err != nil {
			return err
		}
		return c.addNormed(b.mixed, w.ffnPostNorm, n)
	}
	if err := c.gated(&w.gateUp, b.h, n); err != nil {
		return err
	}
	return c.added(b.act, c.d.Intermediate, &w.down, 0, w.ffnPostNorm, n)
}

// gated writes act(gate·h) * (up·h) to the workspace's act, [n, intermediate].
func (c *card) gated(gateUp *matrix, h address, n int) error {
	d, b, act := c.d, &c.work.buffers, silu
	if d.GELU {
		act = geluTanh
	}
	ff := d.Intermediate
	if err := c.mul(b.gateUp, 2*ff, h, d.Hidden, gateUp, n, false); err != nil {
		return err
	}
	return c.l.gate(b.act, c.dt, b.gateUp, f32, 2*ff, act, n, ff)
}

// mixture writes the weighted sum of the experts that each row is sent to. The
// host picks them, as it does for the processor's backend.
func (c *card) mixture(w *layerWeights, n int) error {
	d, b, size := c.d, &c.work.buffers, int(c.dt.bytes())
	if err := c.mul(b.routed, d.Experts, b.h, d.Hidden, &w.router, n, false); err != nil {
		return err
	}
	logits := make([]float32, n*d.Experts)
	if err := c.fetch(logits, b.routed); err != nil {
		return err
	}
	rows, weights := make([][]int32, d.Experts), make([][]float32, d.Experts)
	for i := range n {
		d.Route(logits[i*d.Experts:(i+1)*d.Experts], func(e int, weight float32) {
			rows[e], weights[e] = append(rows[e], int32(i)), append(weights[e], weight)
		})
	}
	var index []int32
	var scale []float32
	for e := range rows {
		index, scale = append(index, rows[e]...), append(scale, weights[e]...)
	}
	err := inOrder(
		func() error { return c.in.copy(b.index, bytesOf(index)) },
		func() error { return c.in.copy(b.weight, bytesOf(scale)) },
		func() error {
			return call("cuMemsetD8Async", cu.MemsetD8Async(b.mixed, 0, int64(4*n*d.Hidden), c.t.compute))
		},
	)
	at := address(0)
	for e := range rows {
		m := len(rows[e])
		if m == 0 || err != nil {
			continue
		}
		x := &w.experts[e]
		err = inOrder(
			func() error { return c.l.gatherRows(b.gathered, b.h, b.index+at, d.Hidden*size, m) },
			func() error { return c.gated(&x.gateUp, b.gathered, m) },
			func() error { return c.mul(b.expertsGive, d.Hidden, b.act, d.Intermediate, &x.down, m, false) },
			func() error { return c.l.scatterAdd(b.mixed, b.expertsGive, b.index+at, b.weight+at, m, d.Hidden) },
		)
		at += address(4 * m)
	}
	return err
}

// logits hands out those of the chunk's rows that are wanted.
func (s *sequence) logits(n, row0 int, p *Pass) error {
	c, d, b := s.c, s.c.d, &s.c.work.buffers
	step := min(logitRows, c.work.n)
	host := make([]float32, step*d.Vocab)
	for lo := max(0, p.LogitsFrom-row0); lo < n; lo += step {
		rows := min(step, n-lo)
		out := host[:rows*d.Vocab]
		err := inOrder(
			func() error { return c.normed(b.last, b.x+address(4*lo*d.Hidden), c.norm, rows) },
			func() error {
				if p.Hidden == nil || lo+rows < n {
					return nil
				}
				x := b.y // as float32
				a := norm{Dst: x, T: f32, LdDst: d.Hidden, X: b.x + address(4*(n-1)*d.Hidden), LdX: d.Hidden, Weight: c.norm, Eps: d.NormEps, Rows: 1, Dim: d.Hidden}
				if err := c.l.rmsNorm(a); err != nil {
					return err
				}
				return s.hidden(d.Layers, x, p)
			},
			func() error { return c.mul(b.logits, d.Vocab, b.last, d.Hidden, &c.head, rows, false) },
			func() error {
				if d.LogitScale == 1 && d.LogitCap == 0 {
					return nil
				}
				return c.l.scaleCap(b.logits, rows*d.Vocab, d.LogitScale, d.LogitCap)
			},
			func() error { return c.fetch(out, b.logits) },
		)
		if err != nil {
			return err
		}
		for i := range rows {
			p.Logits(row0+lo+i, out[i*d.Vocab:(i+1)*d.Vocab])
		}
	}
	return nil
}
