package tokenizer

import (
	"hash/maphash"
	"strings"
)

// mergeTable maps pairs to merges. It is a hash table with open addressing, at least
// half empty.
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

// hash returns the multiplicative hash of a pair, by the golden ratio.
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

// set adds a pair, or replaces the merge of a pair that is already in the table.
func (t *mergeTable) set(p pair, m merge) {
	if 2*t.n >= len(t.slots) {
		old := t.slots
		size := max(64, 2*len(old))
		t.slots = make([]mergeSlot, size)
		t.n = 0
		t.shift = 64
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

// all calls f for every pair, in no particular order.
func (t *mergeTable) all(f func(p pair, m merge)) {
	for i := range t.slots {
		if t.slots[i].used {
			f(t.slots[i].pair, t.slots[i].merge)
		}
	}
}

// Words of fewer than cacheWord bytes are cached, in cacheSize places. A word evicts
// the previous word in its place.
const (
	cacheWord = 128
	cacheSize = 1 << 15
)

// wordCache caches the ids of words. Only one goroutine may use it at a time.
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

// place returns the place of a word, which may hold another word.
func (c *wordCache) place(word string) *cachedWord {
	return &c.words[maphash.String(c.seed, word)%cacheSize]
}

// keep stores a word in its place.
func (w *cachedWord) keep(word string, ids []int32) {
	if len(word) < cacheWord {
		w.word = strings.Clone(word)
		w.ids = ids
	}
}
