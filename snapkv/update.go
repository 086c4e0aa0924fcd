package snapkv

import (
	"fmt"
	"math"
)

// States are one layer's queries and keys of a prompt, after the rotation.
// Their values are those of their dtype, widened; Round rounds to it.
type States struct {
	Heads, KVHeads int
	Len            int // positions of the prompt
	Rows           int // queries given: the last of the prompt
	Dim            int
	Queries        []float32 // [Heads, Rows, Dim]
	Keys           []float32 // [KVHeads, Len, Dim]
	Round          func(float32) float32
}

// Select does what the published update_kv does (arXiv 2404.14469, listing 1;
// repository, snapkv_utils.py), operation by operation, each result rounded to
// the states' dtype: scores of the window's queries over all keys, divided by
// √dim; causal mask inside the window; softmax in float32; sum of the window's
// rows over the prefix; pooling; the Capacity - Window largest. It returns
// prefix positions, ascending, by query head, or by kv head where Group says
// so. Of equal scores the lower position is kept, which the published code
// leaves open.
func (s *States) Select(c Config) ([][]int32, error) {
	scores, err := s.Scores(c)
	if err != nil {
		return nil, err
	}
	keep := make([][]int32, len(scores))
	for h := range keep {
		keep[h] = TopK(scores[h], c.Budget())
	}
	return keep, nil
}

// Scores are the pooled votes, [heads or kv heads][prefix], in the states' dtype.
func (s *States) Scores(c Config) ([][]float64, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	if c.Window > s.Rows {
		return nil, fmt.Errorf("window %d, but query_states hold the last %d rows", c.Window, s.Rows)
	}
	if s.Heads%s.KVHeads != 0 {
		return nil, fmt.Errorf("%d query heads on %d kv heads: want a multiple", s.Heads, s.KVHeads)
	}
	var err error
	pooled := make([][]float64, s.Heads)
	for h := range pooled {
		var vote []float64
		if vote, err = s.vote(h, c.Window); err != nil {
			return nil, err
		}
		if pooled[h], err = Pool(vote, c.Kernel, c.Pooling); err != nil {
			return nil, err
		}
		for j, v := range pooled[h] {
			pooled[h][j] = float64(s.Round(float32(v)))
		}
	}
	pooled = c.Group.merge(pooled, s.KVHeads)
	for _, scores := range pooled {
		for j, v := range scores {
			scores[j] = float64(s.Round(float32(v)))
		}
	}
	return pooled, nil
}

// vote sums the weights of the window's rows over the prefix.
func (s *States) vote(head, window int) ([]float64, error) {
	prefix := s.Len - window
	vote := make([]float32, prefix)
	row := make([]float32, s.Len)
	root := float32(math.Sqrt(float64(s.Dim)))
	keys := s.Keys[head/(s.Heads/s.KVHeads)*s.Len*s.Dim:]
	for i := range window {
		q := s.Queries[(head*s.Rows+s.Rows-window+i)*s.Dim:][:s.Dim]
		visible := prefix + i + 1
		top := math.Inf(-1)
		for j := range visible {
			sum := float32(0)
			for d, v := range keys[j*s.Dim : (j+1)*s.Dim] {
				sum += q[d] * v
			}
			row[j] = s.Round(s.Round(sum) / root)
			if v := float64(row[j]); v != v {
				return nil, fmt.Errorf("head %d: the score of window row %d and position %d is not a number: NaN or infinity in the states", head, i, j)
			}
			top = max(top, float64(row[j]))
		}
		total := 0.0
		for j := range visible {
			total += math.Exp(float64(row[j]) - top)
		}
		for j := range vote {
			vote[j] += s.Round(float32(math.Exp(float64(row[j])-top) / total))
		}
	}
	out := make([]float64, prefix)
	for j, v := range vote {
		out[j] = float64(s.Round(v))
	}
	return out, nil
}
