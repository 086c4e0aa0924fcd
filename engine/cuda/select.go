//go:build cuda

package cuda

import "fmt"

// selectBytes bounds the memory of the rows of weights that a selection holds at once,
// unless the rows of one kv head need more.
const selectBytes = 64 << 20

// Select chooses slots by the votes of the last queries.
func (s *sequence) Select(layer int, q []float32, n int, picks []Pick) ([][][]int32, error) {
	l := &s.layers[layer]
	d := s.c.d
	if l.compressed() || n < 1 || n > l.keys || len(q) < n*d.Heads*d.HeadDim {
		return nil, fmt.Errorf("layer %d: a selection by %d queries (%d numbers) of %d positions, want the queries of a layer that is not compressed",
			layer, n, len(q), l.keys)
	}
	for _, p := range picks {
		if p.Window < 1 || p.Window > n || p.Budget < 0 {
			return nil, fmt.Errorf("layer %d: window %d, budget %d: want a window of 1 to %d, the number of queries",
				layer, p.Window, p.Budget, n)
		}
	}
	var keep [][][]int32
	err := s.c.t.do(func() error {
		var err error
		keep, err = s.choose(layer, q, n, picks)
		return err
	})
	return keep, err
}

// selection is the working memory of a selection.
type selection struct {
	rows   block // float32 [heads, n, ld]
	vote   block // float64 [heads, keys]
	pooled block // float64 [heads, keys]
	kept   block // int32 [heads, slots]
}

// newSelection allocates memory for the heads' n rows of ld elements each and for up to
// most kept slots per head.
func (c *card) newSelection(heads, n, ld, keys, most int) (*selection, error) {
	w := &selection{}
	for _, b := range []struct {
		at    *block
		bytes int
	}{
		{&w.rows, 4 * heads * n * ld},
		{&w.vote, 8 * heads * keys},
		{&w.pooled, 8 * heads * keys},
		{&w.kept, 4 * heads * most},
	} {
		var err error
		if *b.at, err = c.pool.get(int64(b.bytes), "the choice of slots"); err != nil {
			w.giveBack(c)
			return nil, err
		}
	}
	return w, nil
}

func (w *selection) giveBack(c *card) {
	for _, b := range []block{w.rows, w.vote, w.pooled, w.kept} {
		c.pool.put(b)
	}
}

// choose computes the weights of the queries, for as many kv heads at a time as
// selectBytes allows, and makes every pick from them.
func (s *sequence) choose(layer int, q []float32, n int, picks []Pick) ([][][]int32, error) {
	c := s.c
	d := c.d
	a, err := s.lastQueries(layer, q, n)
	if err != nil {
		return nil, err
	}
	group := d.Heads / d.KVHeads
	ld := (a.Keys + 3) / 4 * 4
	most := 0
	for _, p := range picks {
		most = max(most, min(p.Budget, a.Keys-p.Window)+p.Window)
	}
	heads := min(d.Heads, group*max(1, selectBytes/(4*group*n*ld)))
	w, err := c.newSelection(heads, n, ld, a.Keys, most)
	if err != nil {
		return nil, err
	}
	defer w.giveBack(c)
	keep := make([][][]int32, len(picks))
	for h0 := 0; h0 < d.Heads; h0 += heads {
		m := min(heads, d.Heads-h0)
		out := attentionRowsOut{
			W: w.rows.at, LdHead: n, Ld: ld, List: c.allHeads + address(4*h0), Listed: m, Rows: n, Width: a.Keys,
		}
		if err := c.l.attendRows(a, out); err != nil {
			return nil, err
		}
		votes := voting{Rows: w.rows.at, LdHead: n, Ld: ld, N: n, Heads: m}
		for i, p := range picks {
			votes.Window = p.Window
			votes.Prefix = a.Keys - p.Window
			lists, err := c.pick(w, votes, p, group)
			if err != nil {
				return nil, err
			}
			for _, list := range lists {
				if list[0] < 0 {
					return nil, fmt.Errorf("layer %d, head %d: a vote is not a number: the weights are damaged or overflow", layer, len(keep[i]))
				}
				keep[i] = append(keep[i], list)
			}
		}
	}
	return keep, nil
}

// pick makes one pick from the rows of some heads. It returns the kept slots of each of
// their query heads or kv heads.
func (c *card) pick(w *selection, v voting, p Pick, group int) ([][]int32, error) {
	lists := v.Heads
	score := w.pooled.at
	k := min(p.Budget, v.Prefix)
	ld := k + p.Window
	err := inOrder(
		func() error { return c.l.snapVote(w.vote.at, v) },
		func() error { return c.l.snapPool(w.pooled.at, w.vote.at, p.Kernel, p.Pooling, v.Prefix, v.Heads) },
		func() error {
			if !p.Group.Merges() {
				return nil
			}
			lists = v.Heads / group
			score = w.vote.at
			return c.l.snapMerge(w.vote.at, w.pooled.at, group, p.Group, v.Prefix, lists)
		},
		func() error { return c.l.snapTopK(w.kept.at, ld, score, v.Prefix, k, p.Window, lists) },
	)
	if err != nil {
		return nil, err
	}
	host := make([]int32, lists*ld)
	if err := fetch(c, host, w.kept.at); err != nil {
		return nil, err
	}
	keep := make([][]int32, lists)
	for j := range keep {
		keep[j] = host[j*ld : (j+1)*ld]
	}
	return keep, nil
}

// lastQueries runs the attention of a layer's last n queries once more, to leave the
// maxima and sums of their scores in the workspace.
func (s *sequence) lastQueries(layer int, q []float32, n int) (attention, error) {
	c := s.c
	keys := s.layers[layer].keys
	if err := c.room(n, keys); err != nil {
		return attention{}, err
	}
	b := &c.work.buffers
	count := n * c.d.Heads * c.d.HeadDim
	a := s.attention(layer, n, keys-n)
	a.Stat = b.stat
	return a, inOrder(
		func() error { return c.in.copy(b.qkv, bytesOf(q[:count])) },
		func() error { return c.l.dequant(b.q, c.dt, b.qkv, ownType[f32], int64(count)) },
		func() error { return c.l.attend(a) },
	)
}
