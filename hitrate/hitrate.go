// Package hitrate computes the hit rate of Li et al., "SnapKV", arXiv:2404.14469v1,
// section 3: of the prompt positions to which generated tokens attend, the share that
// an observation window had selected.
//
// The rate of one head is
//
//	H = Σ(1[A > θ] ∧ M) / Σ 1[A > θ]
//
// over the rows A of generated tokens, cut to the prefix, which is the prompt without
// the window. M marks the selected positions, those with the largest votes; a vote is
// the sum of the window's rows at a position. A position is significant in a row if its
// weight is strictly above theta.
//
// Weights are float32 in [0, 1], after the softmax over all keys; they are not
// normalized again after the cut. Positions are int32, counted from the start of the
// prompt and listed in ascending order. The package works on one head at a time;
// counts of heads, spans and prompts add up ([Counts.Add]). It opens no files and
// returns no errors: a rate without any significant position is NaN.
//
//	k := hitrate.Budget(hitrate.PaperTop, prefix)
//	keep := hitrate.Select(vote, k)
//	lists := hitrate.Significant(rows, n, keys, prefix, hitrate.PaperTheta)
//	rate := hitrate.Count(lists, keep, k, 0, prefix).Rate()
package hitrate

import (
	"math"

	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
	"github.com/attnscope/attnscope/internal/topk"
)

// Settings of the paper's experiments, v1 section 3.
const (
	PaperTop   = 0.05 // share of the prefix that is kept
	PaperTheta = 0.05 // a significant weight is above it
)

// Sinks is the number of first positions, the attention sinks, that the baseline of
// sinks and recent positions keeps.
const Sinks = 4

// Budget returns k = floor(p*n), the number of positions in a share p of n. It adds
// 1e-9 before rounding down, to offset the rounding error of p*n itself.
func Budget(p float64, n int) int { return int(math.Floor(p*float64(n) + 1e-9)) }

// Select returns the positions of the k largest votes in ascending order, or all
// positions if there are no more than k. Of equal votes the lower position is selected.
func Select(vote []float64, k int) []int32 { return topk.Select(vote, k) }

// Counts holds the counts of one head over some generated rows. Unlike rates, counts
// add up over heads, spans and prompts.
type Counts struct {
	Rows        int     // rows that were counted
	Skipped     int     // rows without a significant position
	Significant int     // significant prefix positions, summed over the rows
	Hits        int     // significant positions that the selection holds
	Recent      int     // significant positions among the last k
	SinksRecent int     // significant positions among the first min(4, k) and the last k-4
	Oracle      int     // significant positions among the k that are significant in most rows
	RowRates    float64 // sum of Hits/Significant of each row that is not skipped
}

// Add adds the counts of other rows, heads or prompts.
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

// Rate returns the pooled hit rate, Hits/Significant. It is NaN if nothing is
// significant.
func (c Counts) Rate() float64 { return c.RateOf(c.Hits) }

// RateOf returns the pooled hit rate of a baseline, of whose positions hits are
// significant: [Counts.Recent], [Counts.SinksRecent] or [Counts.Oracle]. It is NaN if
// nothing is significant.
func (c Counts) RateOf(hits int) float64 {
	if c.Significant == 0 {
		return math.NaN()
	}
	return float64(hits) / float64(c.Significant)
}

// RowMean returns the mean of the rows' hit rates, without the skipped rows. It is NaN
// if all rows are skipped.
func (c Counts) RowMean() float64 {
	n := c.Rows - c.Skipped
	if n <= 0 {
		return math.NaN()
	}
	return c.RowRates / float64(n)
}

// Significant lists, for each of n rows, the positions below limit whose weight is
// strictly above theta. Row r is rows[r*keys:][:keys]. The result is [row][n positions],
// ascending.
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

// Count counts how many significant positions a selection holds. rows are the lists of
// [Significant]; only positions in [skip, prefix) count. keep is ascending; all its
// positions are below prefix. k is the budget of the baselines in [Counts].
func Count(rows [][]int32, keep []int32, k, skip, prefix int) Counts {
	mask := make([]bool, prefix)
	for _, j := range keep {
		mask[j] = true
	}
	return CountKept(rows, func(j int32) bool { return mask[j] }, k, skip, prefix)
}

// CountKept is like Count for a selection given by the function kept.
func CountKept(rows [][]int32, kept func(j int32) bool, k, skip, prefix int) Counts {
	tally := tallies.Take(prefix) // in how many rows a position is significant
	var seen []int32              // positions with a tally
	c := Counts{Rows: len(rows)}
	first := min(Sinks, k)
	for _, row := range rows {
		significant := 0
		hits := 0
		for _, p := range row {
			j := int(p)
			if j < skip || j >= prefix {
				continue
			}
			significant++
			tally[j]++
			if tally[j] == 1 {
				seen = append(seen, p)
			}
			if kept(p) {
				hits++
			}
			if j >= prefix-k {
				c.Recent++
			}
			if j < skip+first || j >= prefix-(k-first) {
				c.SinksRecent++
			}
		}
		c.Significant += significant
		c.Hits += hits
		if significant == 0 {
			c.Skipped++
		} else {
			c.RowRates += float64(hits) / float64(significant)
		}
	}
	c.Oracle = largest(tally, seen, k)
	for _, j := range seen {
		tally[j] = 0
	}
	tallies.Give(tally)
	return c
}

// largest returns the sum of the k largest tallies of some positions.
func largest(tally []int32, positions []int32, k int) int {
	counts := make([]float64, len(positions))
	for i, j := range positions {
		counts[i] = float64(tally[j])
	}
	sum := 0
	for _, i := range topk.Select(counts, k) {
		sum += int(counts[i])
	}
	return sum
}

// tallies holds zeroed slices that CountKept reuses in its next call.
var tallies spare.Slices[int32]

// Overlap returns the number of positions that two ascending selections share.
func Overlap(a, b []int32) int {
	shared := 0
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] < b[0]:
			a = a[1:]
		case a[0] > b[0]:
			b = b[1:]
		default:
			shared++
			a = a[1:]
			b = b[1:]
		}
	}
	return shared
}
