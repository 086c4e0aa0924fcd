package capture

import (
	"sync"

	"github.com/attnscope/attnscope/internal/simd"
)

// Sums adds up the weights of one layer over queries, [head][key], in fixed point. The
// sum of integers does not depend on the order in which threads deliver tiles, so a
// run gives the same bytes on any number of threads.
type Sums struct {
	locks []sync.Mutex
	total [][]int64 // in units of 1/simd.FixedOne
}

// NewSums returns sums of zero.
func NewSums(heads, keys int) *Sums {
	s := &Sums{locks: make([]sync.Mutex, heads), total: make([][]int64, heads)}
	for h := range s.total {
		s.total[h] = make([]int64, keys)
	}
	return s
}

// Add adds a head's sums over some queries; part[j] belongs to key key0+j. It may be
// called from several goroutines.
func (s *Sums) Add(head, key0 int, part []float32) {
	s.locks[head].Lock()
	defer s.locks[head].Unlock()
	simd.AddFixed(s.total[head][key0:key0+len(part)], part)
}

// AddFixed adds a head's sums for the keys from 0 on, in units of 2^-40, as cards
// deliver them. It may be called from several goroutines.
func (s *Sums) AddFixed(head int, part []int64) {
	s.locks[head].Lock()
	defer s.locks[head].Unlock()
	dst := s.total[head][:len(part)]
	for j, v := range part {
		dst[j] += v
	}
}

// Floats returns the sums of the first keys keys, [heads, keys].
func (s *Sums) Floats(keys int) []float32 {
	out := make([]float32, len(s.total)*keys)
	for h, row := range s.total {
		for j, v := range row[:keys] {
			out[h*keys+j] = float32(float64(v) / simd.FixedOne)
		}
	}
	return out
}

// Pick returns the sums of some keys only: of head h, those of the list keep[h], or of the
// list of its kv head if there are fewer lists than heads.
func (s *Sums) Pick(keep [][]int32) *Sums {
	out := NewSums(len(s.total), 0)
	for h, row := range s.total {
		list := keep[h*len(keep)/len(s.total)]
		out.total[h] = make([]int64, len(list))
		for i, key := range list {
			out.total[h][i] = row[key]
		}
	}
	return out
}

// Grow adds n keys, whose sums are zero.
func (s *Sums) Grow(n int) {
	for h := range s.total {
		s.total[h] = append(s.total[h], make([]int64, n)...)
	}
}

// Clone returns a copy.
func (s *Sums) Clone() *Sums { return s.clone(len(s.total[0])) }

// clone returns a copy with room for more keys.
func (s *Sums) clone(keys int) *Sums {
	c := NewSums(len(s.total), keys)
	for h, row := range s.total {
		copy(c.total[h], row)
	}
	return c
}
