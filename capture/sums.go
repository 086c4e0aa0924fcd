package capture

import (
	"sync"

	"github.com/attnscope/attnscope/internal/simd"
)

// Sums accumulates weights over queries, [head][key], for one layer, in fixed
// point: integer addition gives the same total in whatever order threads deliver
// tiles, which floats do not.
type Sums struct {
	locks []sync.Mutex
	total [][]int64
}

// NewSums makes sums of zero over keys, for heads.
func NewSums(heads, keys int) *Sums {
	s := &Sums{locks: make([]sync.Mutex, heads), total: make([][]int64, heads)}
	for h := range s.total {
		s.total[h] = make([]int64, keys)
	}
	return s
}

// Add adds a partial sum over some queries of one head: part[j] belongs to key
// key0+j.
func (s *Sums) Add(head, key0 int, part []float32) {
	s.locks[head].Lock()
	defer s.locks[head].Unlock()
	simd.AddFixed(s.total[head][key0:key0+len(part)], part)
}

// AddFixed adds a partial sum for keys from 0 on, in units of 1/fixedOne.
func (s *Sums) AddFixed(head int, part []int64) {
	s.locks[head].Lock()
	defer s.locks[head].Unlock()
	dst := s.total[head][:len(part)]
	for j, v := range part {
		dst[j] += v
	}
}

// Floats returns the sums over the first keys, [heads, keys].
func (s *Sums) Floats(keys int) []float32 {
	out := make([]float32, len(s.total)*keys)
	for h, row := range s.total {
		for j, v := range row[:keys] {
			out[h*keys+j] = float32(float64(v) / simd.FixedOne)
		}
	}
	return out
}

// clone copies the sums over the first keys into room for more, so that
// several prompts can go on from one document.
func (s *Sums) clone(keys int) *Sums {
	c := NewSums(len(s.total), keys)
	for h, row := range s.total {
		copy(c.total[h], row)
	}
	return c
}

// ColumnSums adds up the rows [lo, hi) of a tile, [row, stride], into dst.
func ColumnSums(dst, weights []float32, stride, lo, hi int) {
	simd.SumRows(dst, weights[lo*stride:], stride, hi-lo)
}
