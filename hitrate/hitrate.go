// Package hitrate counts how much of what a generated token attends to an
// observation window had selected: the hit rate of Li et al., "SnapKV",
// arXiv:2404.14469v1, section 3. It works on the weights of one head, opens no
// file and holds no state.
//
//	keep := topk.Select(vote, hitrate.Budget(0.05, prefix))
//	counts := hitrate.Count(hitrate.Significant(rows, n, keys, prefix, 0.05), keep, k, 0, prefix)
package hitrate

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
	"github.com/attnscope/attnscope/internal/topk"
)

// The settings of the paper's experiments, v1 section 3: the share of prefix
// positions kept, the threshold of a significant weight, the window.
const (
	PaperTop    = 0.05
	PaperTheta  = 0.05
	PaperWindow = 32
)

// Budget is k = floor(p*n), with 1e-9 added against the rounding of p*n.
func Budget(p float64, n int) int { return int(math.Floor(p*float64(n) + 1e-9)) }

// Counts of one head over some generated rows. They add up over heads, spans
// and prompts.
type Counts struct {
	Rows        int     // rows looked at
	Skipped     int     // of them without any significant position
	Significant int     // significant prefix positions, over the rows
	Hits        int     // of them those selected by the vote
	Recent      int     // by the last k positions
	SinksRecent int     // by the first min(4, k) and the last k-4
	Oracle      int     // by the k positions significant in most rows
	RowRates    float64 // sum over the rows with any of Hits/Significant
}

// Add adds the counts of other rows or heads.
func (c *Counts) Add(o Counts) {
	c.Rows += o.Rows
	c.Skipped += o.Skipped
	c.Significant += o.Significant
	c.Hits += o.Hits
	c.Recent += o.Recent
	c.SinksRecent += o.SinksRecent
	c.Oracle += o.Oracle
	c.RowRates += o.RowRates
}

// Rate is Hits/Significant, NaN of none: there is no hit rate then.
func (c Counts) Rate() float64 { return ratio(c.Hits, c.Significant) }

// RowMean is the mean over rows of a row's rate, rows without any left out.
func (c Counts) RowMean() float64 {
	if n := c.Rows - c.Skipped; n > 0 {
		return c.RowRates / float64(n)
	}
	return math.NaN()
}

func ratio(a, b int) float64 {
	if b == 0 {
		return math.NaN()
	}
	return float64(a) / float64(b)
}

// Significant lists, for each of n rows, the positions below limit whose weight
// is strictly above theta. row r is rows[r*keys:].
func Significant(rows []float32, n, keys, limit int, theta float32) [][]int32 {
	const step = 128 // few parts of a row hold such a weight
	out := make([][]int32, n)
	for r := range n {
		row := rows[r*keys : r*keys+limit]
		for from := 0; from < limit; from += step {
			part := row[from:min(from+step, limit)]
			if simd.Max(part) <= theta {
				continue
			}
			for j, w := range part {
				if w > theta {
					out[r] = append(out[r], int32(from+j))
				}
			}
		}
	}
	return out
}

// Count rates a selection on rows of significant positions: only positions in
// [skip, prefix) count. keep is ascending; k is the budget of the baselines.
func Count(rows [][]int32, keep []int32, k, skip, prefix int) Counts {
	mask := make([]bool, prefix)
	for _, j := range keep {
		mask[j] = true
	}
	return CountKept(rows, func(j int32) bool { return mask[j] }, k, skip, prefix)
}

// CountKept is Count of a selection that says whether it keeps a position.
func CountKept(rows [][]int32, kept func(j int32) bool, k, skip, prefix int) Counts {
	often, seen := tallies.Take(prefix), []int32(nil) // in how many rows; where
	c := Counts{Rows: len(rows)}
	sinks := min(4, k)
	for _, row := range rows {
		found, hits := 0, 0
		for _, p := range row {
			j := int(p)
			if j < skip || j >= prefix {
				continue
			}
			found++
			if often[j]++; often[j] == 1 {
				seen = append(seen, p)
			}
			if kept(p) {
				hits++
			}
			if j >= prefix-k {
				c.Recent++
			}
			if j < skip+sinks || j >= prefix-(k-sinks) {
				c.SinksRecent++
			}
		}
		c.Significant += found
		c.Hits += hits
		if found == 0 {
			c.Skipped++
		} else {
			c.RowRates += float64(hits) / float64(found)
		}
	}
	counts := make([]float64, len(seen))
	for i, j := range seen {
		counts[i] = float64(often[j])
	}
	for _, i := range topk.Select(counts, k) {
		c.Oracle += int(counts[i])
	}
	for _, j := range seen {
		often[j] = 0
	}
	tallies.Give(often)
	return c
}

// tallies are what CountKept counts in by position, all zero when they are given back.
var tallies spare.Slices[int32]

// Overlap is the number of positions two ascending selections share.
func Overlap(a, b []int32) int {
	n := 0
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] < b[j]:
			i++
		case a[i] > b[j]:
			j++
		default:
			n, i, j = n+1, i+1, j+1
		}
	}
	return n
}
