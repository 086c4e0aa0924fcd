package tokenizer

// pair is two neighbouring pieces; merge what becomes of them.
type (
	pair  struct{ a, b int32 }
	merge struct{ rank, id int32 }
)

// mergeSmall merges a short word: the pair of lowest rank, the leftmost first,
// until none is left.
func (t *Tokenizer) mergeSmall(ids []int32) []int32 {
	var rk [64]merge
	none := merge{1 << 30, 0}
	get := func(i int) merge {
		if m, ok := t.merges.get(pair{ids[i], ids[i+1]}); ok {
			return m
		}
		return none
	}
	for i := 0; i+1 < len(ids); i++ {
		rk[i] = get(i)
	}
	for len(ids) > 1 {
		bi, br := -1, none.rank
		for i := 0; i+1 < len(ids); i++ {
			if rk[i].rank < br {
				bi, br = i, rk[i].rank
			}
		}
		if bi < 0 {
			break
		}
		ids[bi] = rk[bi].id
		copy(ids[bi+1:], ids[bi+2:])
		copy(rk[bi+1:len(ids)-1], rk[bi+2:len(ids)])
		ids = ids[:len(ids)-1]
		if bi+1 < len(ids) {
			rk[bi] = get(bi)
		}
		if bi > 0 {
			rk[bi-1] = get(bi - 1)
		}
	}
	return ids
}

// hent is a candidate in the heap.
type hent struct {
	rank, pos, id, a, b int32
}

func less(x, y hent) bool { return x.rank < y.rank || x.rank == y.rank && x.pos < y.pos }

// mergeHeap does the same for long words, with a heap of candidates.
func (t *Tokenizer) mergeHeap(ids []int32) []int32 {
	n := len(ids)
	next, prev := make([]int32, n), make([]int32, n)
	for i := range ids {
		next[i], prev[i] = int32(i+1), int32(i-1)
	}
	h := make([]hent, 0, n)
	push := func(e hent) {
		h = append(h, e)
		i := len(h) - 1
		for i > 0 {
			p := (i - 1) / 2
			if !less(h[i], h[p]) {
				break
			}
			h[i], h[p] = h[p], h[i]
			i = p
		}
	}
	pop := func() hent {
		e := h[0]
		l := len(h) - 1
		h[0] = h[l]
		h = h[:l]
		i := 0
		for {
			c := 2*i + 1
			if c >= l {
				break
			}
			if c+1 < l && less(h[c+1], h[c]) {
				c++
			}
			if !less(h[c], h[i]) {
				break
			}
			h[i], h[c] = h[c], h[i]
			i = c
		}
		return e
	}
	try := func(i int32) {
		if i < 0 || next[i] >= int32(n) {
			return
		}
		a, b := ids[i], ids[next[i]]
		if m, ok := t.merges.get(pair{a, b}); ok {
			push(hent{m.rank, i, m.id, a, b})
		}
	}
	for i := 0; i+1 < n; i++ {
		try(int32(i))
	}
	for len(h) > 0 {
		e := pop()
		i := e.pos
		if ids[i] != e.a || next[i] >= int32(n) || ids[next[i]] != e.b {
			continue
		}
		j := next[i]
		ids[i] = e.id
		ids[j] = -1
		next[i] = next[j]
		if next[i] < int32(n) {
			prev[next[i]] = i
		}
		try(prev[i])
		try(i)
	}
	out := ids[:0:0]
	for i := int32(0); i < int32(n); i = next[i] {
		out = append(out, ids[i])
	}
	return out
}
