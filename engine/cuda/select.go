//go:build cuda

package cuda

import "fmt"

// selectBytes bounds the rows of weights that a selection works in at once, where
// one kv head's do not take more.
const selectBytes = 64 << 20

// Select chooses slots by the votes of the last queries.
func (s *sequence) Select(layer int, q []float32, n int, picks []Pick) (keep [][][]int32, err error) {
	l, d := &s.layers[layer], s.c.d
	if l.compressed() || n < 1 || n > l.keys || len(q) < n*d.Heads*d.HeadDim {
		return nil, fmt.Errorf("layer %d: a selection by %d queries (%d numbers) of %d positions, want those of a layer that is not compressed", layer, n, len(q), l.keys)
	}
	for _, p := range picks {
		if p.Window < 1 || p.Window > n || p.Budget < 0 {
			return nil, fmt.Errorf("layer %d: window %d, budget %d: want a window of 1 to %d, the queries at hand", layer, p.Window, p.Budget, n)
		}
	}
	err = s.c.t.do(func() error { keep, err = s.choose(layer, q, n, picks); return err })
	return keep, err
}

// choose makes the weights of some kv heads' queries and then every pick's choice,
// until all heads have been through.
func (s *sequence) choose(layer int, q []float32, n int, picks []Pick) ([][][]int32, error) {
	c, d, l := s.c, s.c.d, &s.layers[layer]
	a, err := s.lastQueries(layer, q, n)
	if err != nil {
		return nil, err
	}
	group, ld, most := d.Heads/d.KVHeads, (a.Keys+3)/4*4, 0
	for _, p := range picks {
		most = max(most, min(p.Budget, l.keys-p.Window)+p.Window)
	}
	heads := min(d.Heads, group*max(1, selectBytes/(4*group*n*ld)))
	var rows, vote, pooled, kept block
	for _, b := range []struct {
		at    *block
		bytes int
	}{{&rows, 4 * heads * n * ld}, {&vote, 8 * heads * a.Keys}, {&pooled, 8 * heads * a.Keys}, {&kept, 4 * heads * most}} {
		if *b.at, err = c.pool.get(int64(b.bytes), "the choice of slots"); err != nil {
			return nil, err
		}
		defer c.pool.put(*b.at)
	}
	keep := make([][][]int32, len(picks))
	for h0 := 0; h0 < d.Heads; h0 += heads {
		m := min(heads, d.Heads-h0)
		out := attentionRowsOut{W: rows.at, LdHead: n, Ld: ld, List: c.allHeads + address(4*h0), Listed: m, Rows: n, Width: a.Keys}
		if err := c.l.attendRows(a, out); err != nil {
			return nil, err
		}
		for i, p := range picks {
			prefix, lists, score := a.Keys-p.Window, m, pooled.at
			k := min(p.Budget, prefix)
			err := inOrder(
				func() error { return c.l.snapVote(vote.at, rows.at, n, ld, n, p.Window, prefix, m) },
				func() error { return c.l.snapPool(pooled.at, vote.at, p.Kernel, p.Pooling, prefix, m) },
				func() error {
					if p.Group == "head" {
						return nil
					}
					lists, score = m/group, vote.at
					return c.l.snapMerge(vote.at, pooled.at, group, p.Group, prefix, lists)
				},
				func() error { return c.l.snapTopK(kept.at, k+p.Window, score, prefix, k, p.Window, lists) },
			)
			if err != nil {
				return nil, err
			}
			host := make([]int32, lists*(k+p.Window))
			if err := fetch(c, host, kept.at); err != nil {
				return nil, err
			}
			for j := range lists {
				list := host[j*(k+p.Window) : (j+1)*(k+p.Window)]
				if list[0] < 0 {
					return nil, fmt.Errorf("layer %d, head %d: a vote is not a number: the weights are damaged or overflow", layer, len(keep[i]))
				}
				keep[i] = append(keep[i], list)
			}
		}
	}
	return keep, nil
}

// lastQueries runs the layer's last n queries once more, of which the maxima and
// sums of their scores stay in the workspace.
func (s *sequence) lastQueries(layer int, q []float32, n int) (attention, error) {
	c, d, l := s.c, s.c.d, &s.layers[layer]
	if err := c.room(n, l.keys); err != nil {
		return attention{}, err
	}
	b, count := &c.work.buffers, n*d.Heads*d.HeadDim
	a := s.attention(layer, n, l.keys-n)
	a.Stat = b.stat
	return a, inOrder(
		func() error { return c.in.copy(b.qkv, bytesOf(q[:count])) },
		func() error { return c.l.dequant(b.q, c.dt, b.qkv, ownType[f32], int64(count)) },
		func() error { return c.l.attend(a) },
	)
}
