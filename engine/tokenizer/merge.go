package tokenizer

// pair is two neighboring pieces; merge is the rank of the pair and the piece that it
// becomes.
type (
	pair  struct{ a, b int32 }
	merge struct{ rank, id int32 }
)

// mergeSmall merges the pieces of a word of at most 48 bytes: it repeatedly merges the
// pair with the lowest rank, the leftmost of equal ones, until there is none.
func (t *Tokenizer) mergeSmall(ids []int32) []int32 {
	var ranks [64]merge // of the pairs that begin at each piece
	none := merge{1 << 30, 0}
	get := func(i int) merge {
		if m, ok := t.merges.get(pair{ids[i], ids[i+1]}); ok {
			return m
		}
		return none
	}
	for i := 0; i+1 < len(ids); i++ {
		ranks[i] = get(i)
	}
	for len(ids) > 1 {
		best := -1
		rank := none.rank
		for i := 0; i+1 < len(ids); i++ {
			if ranks[i].rank < rank {
				best = i
				rank = ranks[i].rank
			}
		}
		if best < 0 {
			break
		}
		ids[best] = ranks[best].id
		copy(ids[best+1:], ids[best+2:])
		copy(ranks[best+1:len(ids)-1], ranks[best+2:len(ids)])
		ids = ids[:len(ids)-1]
		if best+1 < len(ids) {
			ranks[best] = get(best)
		}
		if best > 0 {
			ranks[best-1] = get(best - 1)
		}
	}
	return ids
}

// candidate is a pair in the heap of mergeHeap: pieces a and b, the first at pos, become
// id.
type candidate struct {
	rank, pos, id, a, b int32
}

func less(x, y candidate) bool { return x.rank < y.rank || x.rank == y.rank && x.pos < y.pos }

// mergeHeap is mergeSmall for longer words, with a heap of candidates. A candidate
// whose pieces have since changed is skipped.
func (t *Tokenizer) mergeHeap(ids []int32) []int32 {
	n := len(ids)
	next := make([]int32, n)
	prev := make([]int32, n)
	for i := range ids {
		next[i] = int32(i + 1)
		prev[i] = int32(i - 1)
	}
	h := make([]candidate, 0, n)
	push := func(e candidate) {
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
	pop := func() candidate {
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
			push(candidate{m.rank, i, m.id, a, b})
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
