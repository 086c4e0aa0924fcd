package snapkv

import (
	"fmt"
	"math"
)

// States holds the rotated queries and keys of one layer of a prompt, as tensors.
// Elements are stored as float32; Round rounds to the dtype of the tensors.
type States struct {
	Heads   int       // query heads
	KVHeads int       // kv heads, a divisor of Heads
	Len     int       // positions of the prompt
	Rows    int       // queries given, the last of the prompt
	Dim     int       // elements of a query or key
	Scale   float32   // factor of the scores; 0: 1/√Dim
	Queries []float32 // [Heads, Rows, Dim]
	Keys    []float32 // [KVHeads, Len, Dim]
	// Sinks are the scores of learned sinks, [Heads], which join the softmax of each row;
	// nil: there are none, as in the published code.
	Sinks []float32
	Round func(float32) float32

	// What the published code does not know. 0: as there.
	SoftCap float64 // score = cap tanh(score/cap)
	Window  int     // a query at position p sees the keys from p-Window+1 on
	Chunk   int     // a query at position p sees the keys from p/Chunk*Chunk on
}

// Select repeats the published update_kv (arXiv:2404.14469, listing 1; snapkv_utils.py
// in the authors' repository), operation by operation, and rounds each result to the
// dtype of the states:
//
//   - products of the window's queries and all keys, divided by √dim or, if Scale is
//     set, multiplied by it, as the published code is adapted to models with a scale of
//     their own,
//   - causal mask within the window, softmax in float32, with the sinks if there are any,
//   - sum over the window's rows, for each position of the prefix,
//   - pooling, then the Capacity - Window largest.
//
// It returns prefix positions, ascending, by query head, or by kv head if the group
// merges heads. Of equal scores, the lower position is kept; the published code leaves
// the choice open.
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

// Scores returns the pooled votes, [head or kv head][prefix], rounded to the dtype of
// the states. It returns an error if the window is longer than the queries given, or
// if a score is not finite, because it is too large for the dtype.
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

// scaled returns the score of a product of a query and a key.
func (s *States) scaled(product float32) float32 {
	if s.Scale != 0 {
		return product * s.Scale
	}
	return product / float32(math.Sqrt(float64(s.Dim)))
}

// vote returns the weights of a head summed over the rows of the window, [prefix].
func (s *States) vote(head, window int) ([]float64, error) {
	prefix := s.Len - window
	vote := make([]float32, prefix)
	row := make([]float32, s.Len)
	keys := s.Keys[head/(s.Heads/s.KVHeads)*s.Len*s.Dim:]
	for i := range window {
		q := s.Queries[(head*s.Rows+s.Rows-window+i)*s.Dim:][:s.Dim]
		visible := prefix + i + 1
		first := s.first(visible - 1)
		top := math.Inf(-1)
		for j := first; j < visible; j++ {
			sum := float32(0)
			for d, v := range keys[j*s.Dim : (j+1)*s.Dim] {
				sum += float32(q[d] * v)
			}
			row[j] = s.capped(s.Round(s.scaled(s.Round(sum))))
			if v := row[j]; v-v != 0 {
				return nil, s.overflow(head, i, j, sum)
			}
			top = max(top, float64(row[j]))
		}
		total := 0.0
		if s.Sinks != nil {
			sink := float64(s.Sinks[head])
			top = max(top, sink)
			total = math.Exp(sink - top)
		}
		for j := first; j < visible; j++ {
			total += math.Exp(float64(row[j]) - top)
		}
		for j := first; j < prefix; j++ {
			vote[j] += s.Round(float32(math.Exp(float64(row[j])-top) / total))
		}
	}
	out := make([]float64, prefix)
	for j, v := range vote {
		out[j] = float64(s.Round(v))
	}
	return out, nil
}

// first returns the first key that a query at a position sees.
func (s *States) first(pos int) int {
	first := 0
	if s.Window > 0 {
		first = max(0, pos-s.Window+1)
	}
	if s.Chunk > 0 {
		first = max(first, pos/s.Chunk*s.Chunk)
	}
	return first
}

// capped applies the soft cap to a score.
func (s *States) capped(score float32) float32 {
	if s.SoftCap == 0 {
		return score
	}
	return s.Round(float32(s.SoftCap * math.Tanh(float64(score)/s.SoftCap)))
}

// overflow describes a score that is not finite: of a head, a row of the window and a
// position. sum is the product of query and key before it is rounded.
func (s *States) overflow(head, row, position int, sum float32) error {
	why := "the product of query and key overflows float32: are the states right?"
	if sum-sum == 0 {
		why = fmt.Sprintf("the product %g of query and key is too large for the dtype of the states: convert them to F32",
			sum)
	}
	return fmt.Errorf("head %d: the score of window row %d and position %d is not finite: %s", head, row, position, why)
}
