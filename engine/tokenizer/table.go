package tokenizer

import (
	"hash/maphash"
	"strings"
)

// mergeTable finds what becomes of two neighbouring pieces: an open hash table,
// half empty at least.
type mergeTable struct {
	slots []mergeSlot
	shift uint
	n     int
}

type mergeSlot struct {
	pair
	merge
	used bool
}

// hash spreads pairs by Fibonacci's multiplier.
func (t *mergeTable) hash(p pair) uint64 {
	return (uint64(uint32(p.a))<<32 | uint64(uint32(p.b))) * 0x9e3779b97f4a7c15 >> t.shift
}

func (t *mergeTable) get(p pair) (merge, bool) {
	if t.n == 0 {
		return merge{}, false
	}
	mask := uint64(len(t.slots) - 1)
	for i := t.hash(p); ; i++ {
		s := &t.slots[i&mask]
		if !s.used {
			return merge{}, false
		}
		if s.pair == p {
			return s.merge, true
		}
	}
}

// set adds a pair; of equal ones the last holds.
func (t *mergeTable) set(p pair, m merge) {
	if 2*t.n >= len(t.slots) {
		old := t.slots
		size := max(64, 2*len(old))
		t.slots, t.n, t.shift = make([]mergeSlot, size), 0, 64
		for s := size; s > 1; s /= 2 {
			t.shift--
		}
		for i := range old {
			if old[i].used {
				t.set(old[i].pair, old[i].merge)
			}
		}
	}
	mask := uint64(len(t.slots) - 1)
	for i := t.hash(p); ; i++ {
		s := &t.slots[i&mask]
		if s.used && s.pair != p {
			continue
		}
		if !s.used {
			t.n++
		}
		*s = mergeSlot{p, m, true}
		return
	}
}

// all calls f with every pair, in no order.
func (t *mergeTable) all(f func(p pair, m merge)) {
	for i := range t.slots {
		if t.slots[i].used {
			f(t.slots[i].pair, t.slots[i].merge)
		}
	}
}

// Words up to cacheWord bytes are remembered, in cacheSize places: a word drives
// out the one that had its place.
const (
	cacheWord = 128
	cacheSize = 1 << 15
)

// wordCache remembers the ids of words; one goroutine uses it at a time.
type wordCache struct {
	seed  maphash.Seed
	words []cachedWord
}

type cachedWord struct {
	word string
	ids  []int32
}

func newWordCache() *wordCache {
	return &wordCache{maphash.MakeSeed(), make([]cachedWord, cacheSize)}
}

// place is where a word is kept, whether it is there or not.
func (c *wordCache) place(word string) *cachedWord {
	return &c.words[maphash.String(c.seed, word)%cacheSize]
}

func (w *cachedWord) keep(word string, ids []int32) {
	if len(word) < cacheWord {
		w.word, w.ids = strings.Clone(word), ids
	}
}
