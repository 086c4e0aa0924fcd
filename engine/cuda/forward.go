//go:build cuda

package cuda

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/cu"

	"github.com/attnscope/attnscope/internal/sizes"
)

// inOrder runs steps until one fails.
func inOrder(steps ...func() error) error {
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// chunk holds the rows that pass through the layers together: some tokens of a sequence, or
// one token of each of several sequences.
type chunk []rows

// rows are the rows of the workspace that belong to one sequence.
type rows struct {
	s    *sequence
	at   int // the first row
	n    int
	p    *Pass
	done int        // tokens of the pass before these
	rec  *recording // nil: nothing is recorded
}

// wanted returns the first of the rows whose logits are wanted; n: none.
func (r *rows) wanted() int {
	if r.p.Logits == nil {
		return r.n
	}
	return min(r.n, max(0, r.p.LogitsFrom-r.done))
}

// Forward appends tokens to the sequence, chunk by chunk.
func (s *sequence) Forward(ctx context.Context, tokens []int32, p Pass) error {
	if len(tokens) == 0 {
		return nil
	}
	return s.c.t.do(func() error { return s.forward(ctx, tokens, p) })
}

func (s *sequence) forward(ctx context.Context, tokens []int32, p Pass) (err error) {
	if p.Length == 0 {
		p.Length = s.len + len(tokens)
	}
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
		if p.Step > 0 {
			n = min(n, p.Step)
		}
		err = s.c.room(n, s.len+n)
		var small *MemoryError
		if errors.As(err, &small) && n > minChunk {
			s.c.chunk = max(minChunk, n/2)
			s.c.log(fmt.Sprintf("no room on the card for %d tokens at a time (%s of %s free): continuing with %d", n, sizes.Text(small.Free), sizes.Text(small.Memory), s.c.chunk))
			err = nil
			continue
		}
		if errors.As(err, &small) {
			small.hint = cacheHint(s.c.dt.String())
		}
		if err == nil {
			err = s.c.pass(ctx, tokens[lo:lo+n], chunk{{s: s, n: n, p: &p, done: lo, rec: rec}})
		}
		lo += n
	}
	return rec.finish(err)
}

// room allocates a workspace for chunks of n tokens that see up to keys keys.
func (c *card) room(n, keys int) error {
	if c.work.n < n {
		c.pool.put(c.workBlock)
		c.workBlock, c.work.n = block{}, 0
		a := c.work.plan(&c.d.Sizes, c.dt.bytes(), n, c.half, c.mixes)
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

// freshCounts copies the slot counts of compressed layers to the card after Truncate
// has changed them.
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

// pass runs tokens through all layers, a row for each.
func (c *card) pass(ctx context.Context, tokens []int32, ch chunk) error {
	d, b, n := c.d, &c.work.buffers, len(tokens)
	err := inOrder(
		func() error { return c.in.copy(b.ids, bytesOf(tokens)) },
		func() error { return c.l.embed(b.x, c.embed, c.embedType, b.ids, d.EmbedScale, n, d.Hidden) },
		func() error { return c.placed(ch, n) },
		func() error { return c.angles(ch) },
	)
	if err != nil {
		return err
	}
	if per, ok := ch.onlyKernels(c); ok {
		err = c.inGraphs(ctx, ch, per)
	} else {
		err = c.throughLayers(ctx, ch, 0, d.Layers)
	}
	if err != nil {
		return err
	}
	for i := range ch {
		ch[i].s.len += ch[i].n
	}
	return c.logits(ch)
}

// throughLayers runs the rows in the workspace through layers from to to-1.
func (c *card) throughLayers(ctx context.Context, ch chunk, from, to int) error {
	d, b := c.d, &c.work.buffers
	r := &ch[0]
	for i := from; i < to; i++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		if r.p.Hidden != nil { // then there is only one sequence
			if err := r.s.hidden(i, b.x+address(4*(r.n-1)*d.Hidden), r.p); err != nil {
				return err
			}
		}
		if err := c.layer(i, ch); err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

// needed returns the number of the chunk's rows, and the first one whose output of a layer is
// needed: after the last layer, only the rows whose logits are wanted are.
func (c *card) needed(layer int, ch chunk) (n, first int) {
	last := &ch[len(ch)-1]
	n = last.at + last.n
	if layer < c.d.Layers-1 || ch[0].p.Hidden != nil {
		return n, 0
	}
	for i := range ch {
		if from := ch[i].wanted(); from < ch[i].n {
			return n, ch[i].at + from
		}
	}
	return n, n
}

func (s *sequence) hidden(layer int, at address, p *Pass) error {
	x := make([]float32, s.c.d.Hidden)
	err := fetch(s.c, x, at)
	if err == nil {
		p.Hidden(layer, x)
	}
	return err
}

// angles copies the cosines and sines of the rows' positions to the card.
func (c *card) angles(ch chunk) error {
	for kind, half := range c.halves {
		if half == 0 {
			continue
		}
		var cos, sin []float32
		for i := range ch {
			r := &ch[i]
			t := c.d.Turns(kind, r.p.Length, r.s.len, r.n)
			cos = append(cos, t.Cos...)
			sin = append(sin, t.Sin...)
		}
		if err := c.in.copy(c.work.cos[kind], bytesOf(cos)); err != nil {
			return err
		}
		if err := c.in.copy(c.work.sin[kind], bytesOf(sin)); err != nil {
			return err
		}
	}
	return nil
}

// placed adds the embeddings of the rows' positions.
func (c *card) placed(ch chunk, n int) error {
	d, b := c.d, &c.work.buffers
	if c.places == 0 {
		return nil
	}
	var places []int32
	for i := range ch {
		for j := range ch[i].n {
			places = append(places, int32(ch[i].s.len+j))
		}
	}
	return inOrder(
		func() error { return c.in.copy(b.ids, bytesOf(places)) },
		func() error { return c.l.embed(b.y, c.places, c.placesType, b.ids, 1, n, d.Hidden) },
		func() error { return c.l.addScaled(b.x, b.y, 1, n*d.Hidden) },
	)
}

// normed writes norm(x), or x if the family has no norm there, as type t.
func (c *card) normed(dst address, t dtype, x, weight, bias address, rows int) error {
	a := norm{Dst: dst, T: t, LdDst: c.d.Hidden, X: x, LdX: c.d.Hidden, Weight: weight, Bias: bias, Eps: c.d.NormEps, Rows: rows, Dim: c.d.Hidden}
	switch {
	case c.d.NoPreNorms:
		a.Weight, a.Eps = 0, -1
	case c.d.LayerNorm:
		if weight == 0 {
			a.Weight = c.ones
		}
		return c.l.layerNorm(a)
	}
	return c.l.rmsNorm(a)
}

// layer runs the chunk's rows through one layer.
func (c *card) layer(i int, ch chunk) error {
	d, b, w := c.d, &c.work.buffers, &c.layers[i]
	n, out := c.needed(i, ch)
	nq, nk := d.Heads*d.HeadDim, d.KVHeads*d.HeadDim
	width := nq + nk + d.KVHeads*d.ValueDim
	c.times.mark("products")
	err := inOrder(
		func() error { return c.normed(b.h, c.dt, b.x, w.attnNorm, w.attnNormBias, n) },
		func() error { return c.mul(b.qkv, width, b.h, d.Hidden, &w.qkv, n, false) },
		func() error {
			if !d.Parallel || w.ffnNorm == 0 {
				return nil
			}
			return c.normed(b.h, c.dt, b.x, w.ffnNorm, w.ffnNormBias, n)
		},
	)
	for k := range ch {
		r := &ch[k]
		err = inOrder(
			func() error { return err },
			func() error { c.times.mark("attention"); return r.splitHeads(w, &r.s.layers[i]) },
			func() error { return r.attend(i) },
		)
	}
	if rows := n - out; rows > 0 && err == nil {
		c.times.mark("products")
		size := int(c.dt.bytes())
		x, h, attn := b.x+address(4*out*d.Hidden), b.h+address(size*out*d.Hidden), b.attn+address(size*out*d.Heads*d.ValueDim)
		err = inOrder(
			func() error { return c.added(x, attn, d.Heads*d.ValueDim, &w.out, w.outBias, w.attnPostNorm, rows) },
			func() error { return c.feedForward(w, x, h, rows) },
		)
	}
	c.times.mark("")
	return err
}

// buffers returns the workspace's buffers from the first of the rows on.
func (r *rows) buffers() buffers {
	c, d, b := r.s.c, r.s.c.d, r.s.c.work.buffers
	size, nq := int(c.dt.bytes()), d.Heads*d.HeadDim
	width := nq + d.KVHeads*(d.HeadDim+d.ValueDim)
	b.qkv += address(4 * r.at * width)
	b.q += address(size * r.at * nq)
	b.attn += address(size * r.at * d.Heads * d.ValueDim)
	b.lse += address(4 * r.at * d.Heads)
	b.stat += address(8 * r.at * d.Heads)
	for kind, half := range c.halves {
		b.cos[kind] += address(4 * r.at * half)
		b.sin[kind] += address(4 * r.at * half)
	}
	return b
}

// splitHeads splits the projection into queries, keys and values. It writes the queries
// to their buffer, and the keys and values to the cache.
func (r *rows) splitHeads(w *layerWeights, l *kvLayer) error {
	c, d, b, n := r.s.c, r.s.c.d, r.buffers(), r.n
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
	q := heads{
		Dst: b.q, T: c.dt, DstHead: d.HeadDim, DstRow: nq, Src: b.qkv, LdSrc: width, Bias: bias, Clip: d.ClipQKV, Norm: qNorm, Eps: d.NormEps,
		Adjacent: d.AdjacentPairs, Heads: d.Heads, Dim: d.HeadDim, Rows: n,
	}
	if half := c.halves[w.rope]; half > 0 {
		q.Cos, q.Sin, q.Half = b.cos[w.rope], b.sin[w.rope], half
	}
	k := q
	k.Dst = l.k.at
	k.DstHead = l.room * d.HeadDim
	k.DstRow = d.HeadDim
	k.Base = l.keys
	k.Counts = l.counts.at
	k.Src = b.qkv + address(4*nq)
	k.Bias = behind(nq)
	k.Norm = kNorm
	k.Heads = d.KVHeads
	k.Repeat = l.stores / d.KVHeads
	v := k
	v.Dst = l.v.at
	v.DstHead = l.room * d.ValueDim
	v.DstRow = d.ValueDim
	v.Dim = d.ValueDim
	v.Src = b.qkv + address(4*(nq+nk))
	v.Bias = behind(nq + nk)
	v.Norm = 0
	v.Cos = 0
	v.Sin = 0
	v.Half = 0
	err := inOrder(
		func() error { return c.l.heads(q) },
		func() error { return c.l.heads(k) },
		func() error { return c.l.heads(v) },
	)
	if err == nil && l.compressed() {
		err = c.l.advance(l.pos.at, l.counts.at, l.stores, l.room, r.s.len, n)
		for st := range l.slots {
			l.slots[st] += n
		}
	}
	l.keys += n
	return err
}

// attention describes the attention of the n queries in the workspace, at positions from
// pos0 on.
func (s *sequence) attention(i, n, pos0 int) attention {
	c := s.c
	d := c.d
	l := &s.layers[i]
	b := &c.work.buffers
	a := attention{
		cache: cache{
			T: c.dt, K: l.k.at, V: l.v.at, Keys: l.keys, Room: l.room, Stores: l.stores, Heads: d.Heads,
			KeyDim: d.HeadDim, ValueDim: d.ValueDim, Scale: d.Scale, Cap: d.SoftCap, Window: c.layers[i].window,
		},
		Q: b.q, Out: b.attn, N: n, Pos0: pos0,
	}
	if l.compressed() {
		a.Counts, a.Pos = l.counts.at, l.pos.at
	}
	return a
}

// attend computes the attention of the rows' queries and records the requested parts of it.
func (r *rows) attend(i int) error {
	c, b, rec := r.s.c, r.buffers(), r.rec
	a := r.s.attention(i, r.n, r.s.len)
	a.Q, a.Out = b.q, b.attn
	want := rec.of(i, r.s.len, r.n)
	if r.n <= decodeRows && !want.sums && (!want.rows || rec.fits(i, r.n, a.Keys)) {
		few := decode{attention: a, Work: c.scores.at}
		var err error
		if want.rows || want.lse {
			err = rec.decode(i, few, want)
		} else {
			err = c.l.decode(few)
		}
		if err != nil {
			return err
		}
		return rec.queries(i, a)
	}
	if want.lse {
		a.LSE = b.lse
	}
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
	} else if want.lse {
		if err := rec.lse(i, a); err != nil {
			return err
		}
	}
	return rec.queries(i, a)
}

// added adds norm(a·wᵀ + bias), or a·wᵀ + bias if there is no norm, times the residual
// scale to x.
func (c *card) added(x, a address, lda int, w *matrix, bias, postNorm address, n int) error {
	d, b := c.d, &c.work.buffers
	if postNorm == 0 && d.ResidualScale == 1 {
		if err := c.mul(x, d.Hidden, a, lda, w, n, true); err != nil || bias == 0 {
			return err
		}
		return c.l.biasAdd(x, d.Hidden, bias, n, d.Hidden)
	}
	if err := c.mul(b.y, d.Hidden, a, lda, w, n, false); err != nil {
		return err
	}
	if bias != 0 {
		if err := c.l.biasAdd(b.y, d.Hidden, bias, n, d.Hidden); err != nil {
			return err
		}
	}
	return c.addNormed(x, b.y, postNorm, n)
}

// addNormed adds norm(y), or y if there is no norm, times the residual scale to x. It
// overwrites y.
func (c *card) addNormed(x, y, weight address, n int) error {
	d := c.d
	if weight != 0 {
		err := c.l.rmsNorm(norm{Dst: y, T: f32, LdDst: d.Hidden, X: y, LdX: d.Hidden, Weight: weight, Eps: d.NormEps, Rows: n, Dim: d.Hidden})
		if err != nil {
			return err
		}
	}
	return c.l.addScaled(x, y, d.ResidualScale, n*d.Hidden)
}

// feedForward adds the output of the layer's second block to x. In parallel blocks h
// already holds its input.
func (c *card) feedForward(w *layerWeights, x, h address, n int) error {
	b := &c.work.buffers
	if !c.d.Parallel {
		if err := c.normed(h, c.dt, x, w.ffnNorm, w.ffnNormBias, n); err != nil {
			return err
		}
	}
	if w.router.out > 0 {
		if err := c.mixture(w, h, n); err != nil {
			return err
		}
		return c.addNormed(x, b.mixed, w.ffnPostNorm, n)
	}
	if err := c.gated(&w.gateUp, w.gateUpBias, h, n); err != nil {
		return err
	}
	return c.added(x, b.act, w.down.in, &w.down, w.downBias, w.ffnPostNorm, n)
}

// gated writes act(gate·h) * (up·h), or act(up·h) if there is no gate, to the workspace's
// act, [n, channels].
func (c *card) gated(gateUp *matrix, bias, h address, n int) error {
	d := c.d
	b := &c.work.buffers
	ld := gateUp.out
	if err := c.mul(b.gateUp, ld, h, d.Hidden, gateUp, n, false); err != nil {
		return err
	}
	if bias != 0 {
		if err := c.l.biasAdd(b.gateUp, ld, bias, n, gateUp.out); err != nil {
			return err
		}
	}
	channels := ld / 2
	if d.Plain {
		channels = ld
	}
	return c.l.activate(activated{
		Dst: b.act, T: c.dt, X: b.gateUp, From: f32, LdX: ld,
		Act: activations[d.Activation], Plain: d.Plain, Rows: n, Channels: channels,
	})
}

// mixture writes, for each row, the weighted sum of the outputs of its experts and of
// the shared expert. The host picks the experts with the code of the processor's
// backend.
func (c *card) mixture(w *layerWeights, h address, n int) error {
	d, b, size := c.d, &c.work.buffers, int(c.dt.bytes())
	if err := c.mul(b.routed, d.Experts, h, d.Hidden, &w.router, n, false); err != nil {
		return err
	}
	logits := make([]float32, n*d.Experts)
	if err := fetch(c, logits, b.routed); err != nil {
		return err
	}
	type use struct {
		expert *expertWeights
		rows   []int32
		shares []float32
	}
	uses := make([]use, d.Experts, d.Experts+1)
	for e := range uses {
		uses[e].expert = &w.experts[e]
	}
	for i := range n {
		d.Route(logits[i*d.Experts:(i+1)*d.Experts], func(e int, share float32) {
			uses[e].rows, uses[e].shares = append(uses[e].rows, int32(i)), append(uses[e].shares, share)
		})
	}
	if w.shared != nil {
		gate := make([]float32, n)
		if err := c.mul(b.routed, 1, h, d.Hidden, &w.sharedGate, n, false); err != nil {
			return err
		}
		if err := fetch(c, gate, b.routed); err != nil {
			return err
		}
		all := use{expert: w.shared}
		for i, v := range gate {
			all.rows, all.shares = append(all.rows, int32(i)), append(all.shares, float32(1/(1+math.Exp(-float64(v)))))
		}
		uses = append(uses, all)
	}
	var index []int32
	var shares []float32
	for _, u := range uses {
		index, shares = append(index, u.rows...), append(shares, u.shares...)
	}
	err := inOrder(
		func() error { return c.in.copy(b.index, bytesOf(index)) },
		func() error { return c.in.copy(b.weight, bytesOf(shares)) },
		func() error {
			return call("cuMemsetD8Async", cu.MemsetD8Async(b.mixed, 0, int64(4*n*d.Hidden), c.t.compute))
		},
	)
	at := address(0)
	for _, u := range uses {
		m := len(u.rows)
		if m == 0 || err != nil {
			continue
		}
		err = inOrder(
			func() error { return c.l.gatherRows(b.gathered, h, b.index+at, d.Hidden*size, m) },
			func() error { return c.gated(&u.expert.gateUp, 0, b.gathered, m) },
			func() error { return c.mul(b.expertsGive, d.Hidden, b.act, u.expert.down.in, &u.expert.down, m, false) },
			func() error { return c.l.scatterAdd(b.mixed, b.expertsGive, b.index+at, b.weight+at, m, d.Hidden) },
		)
		at += address(4 * m)
	}
	return err
}

// lastNorm applies the norm before the head, which every family has.
func (c *card) lastNorm(dst address, t dtype, x address, rows int) error {
	a := norm{Dst: dst, T: t, LdDst: c.d.Hidden, X: x, LdX: c.d.Hidden, Weight: c.norm, Bias: c.normBias, Eps: c.d.NormEps, Rows: rows, Dim: c.d.Hidden}
	if !c.d.LayerNorm {
		return c.l.rmsNorm(a)
	}
	if a.Weight == 0 {
		a.Weight = c.ones
	}
	return c.l.layerNorm(a)
}

// logits hands over the logits of the chunk's rows that are wanted.
func (c *card) logits(ch chunk) error {
	d, b := c.d, &c.work.buffers
	n, first := c.needed(d.Layers-1, ch)
	if p := ch[0].p; p.Hidden != nil { // then there is only one sequence
		first = ch[0].wanted()
	}
	step := min(logitRows, c.work.n)
	host := make([]float32, min(step, n-first)*d.Vocab)
	for lo := first; lo < n; lo += step {
		rows := min(step, n-lo)
		out := host[:rows*d.Vocab]
		err := inOrder(
			func() error { return c.lastNorm(b.last, c.dt, b.x+address(4*lo*d.Hidden), rows) },
			func() error {
				r := &ch[0]
				if r.p.Hidden == nil || lo+rows < n {
					return nil
				}
				x := b.y // as float32
				if err := c.lastNorm(x, f32, b.x+address(4*(n-1)*d.Hidden), 1); err != nil {
					return err
				}
				return r.s.hidden(d.Layers, x, r.p)
			},
			func() error { return c.mul(b.logits, d.Vocab, b.last, d.Hidden, &c.head, rows, false) },
			func() error {
				if c.headBias == 0 {
					return nil
				}
				return c.l.biasAdd(b.logits, d.Vocab, c.headBias, rows, d.Vocab)
			},
			func() error {
				if d.LogitScale == 1 && d.LogitCap == 0 {
					return nil
				}
				return c.l.scaleCap(b.logits, rows*d.Vocab, d.LogitScale, d.LogitCap)
			},
			func() error { return fetch(c, out, b.logits) },
		)
		if err != nil {
			return err
		}
		for i := range rows {
			ch.show(lo+i, out[i*d.Vocab:(i+1)*d.Vocab])
		}
	}
	return nil
}

// show hands over the logits of a row, if its sequence wants them.
func (ch chunk) show(row int, logits []float32) {
	for i := range ch {
		if r := &ch[i]; row >= r.at+r.wanted() && row < r.at+r.n {
			r.p.Logits(r.done+row-r.at, logits)
		}
	}
}
