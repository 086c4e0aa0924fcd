package answers

// similarity is the ratio of SequenceMatcher in Python's difflib, which fuzzywuzzy takes in
// the installation that LongBench describes: twice the number of matching characters over
// the number of all.
func similarity(a, b []rune) float64 {
	m := newMatcher(a, b)
	return 2 * float64(m.matches(0, len(a), 0, len(b))) / float64(len(a)+len(b))
}

// matcher finds the blocks that two texts have in common.
type matcher struct {
	a, b []rune
	at   map[rune][]int // the places of each character in b
}

// newMatcher indexes b. In a text of 200 characters or more, difflib leaves out the
// characters that make up more than one percent of it.
func newMatcher(a, b []rune) *matcher {
	m := &matcher{a: a, b: b, at: map[rune][]int{}}
	for j, r := range b {
		m.at[r] = append(m.at[r], j)
	}
	if n := len(b); n >= 200 {
		for r, places := range m.at {
			if len(places) > n/100+1 {
				delete(m.at, r)
			}
		}
	}
	return m
}

// matches returns the length of all matching blocks of a[alo:ahi] and b[blo:bhi]: the
// longest one, and those on both sides of it.
func (m *matcher) matches(alo, ahi, blo, bhi int) int {
	i, j, size := m.longest(alo, ahi, blo, bhi)
	if size == 0 {
		return 0
	}
	return m.matches(alo, i, blo, j) + size + m.matches(i+size, ahi, j+size, bhi)
}

// longest returns the longest block, of several ones the first in a, then in b. Characters
// that the index leaves out only make a block longer.
func (m *matcher) longest(alo, ahi, blo, bhi int) (bestI, bestJ, size int) {
	bestI = alo
	bestJ = blo
	lengths := map[int]int{} // by end in b, of blocks that end at the previous character of a
	for i := alo; i < ahi; i++ {
		next := map[int]int{}
		for _, j := range m.at[m.a[i]] {
			if j < blo || j >= bhi {
				continue
			}
			k := lengths[j-1] + 1
			next[j] = k
			if k > size {
				bestI = i - k + 1
				bestJ = j - k + 1
				size = k
			}
		}
		lengths = next
	}
	for bestI > alo && bestJ > blo && m.a[bestI-1] == m.b[bestJ-1] {
		bestI--
		bestJ--
		size++
	}
	for bestI+size < ahi && bestJ+size < bhi && m.a[bestI+size] == m.b[bestJ+size] {
		size++
	}
	return bestI, bestJ, size
}
