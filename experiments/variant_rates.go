package experiments

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
	"github.com/attnscope/attnscope/snapkv"
)

// The observation window and the threshold of variant (b) in the authors' first
// scripts.
const (
	variantWindow = 128
	variantTheta  = 0.005
)

// variantRow holds variants (b) and (c) of the authors' first scripts, as means over
// prompts.
type variantRow struct {
	layer   int
	span    int // number of the range of reply rows, from 0
	prompts int
	overlap float64 // (b)
	typical float64 // (c); the same for all spans
}

func (r variantRow) cells() []any { return []any{r.layer, r.span, r.prompts, r.overlap, r.typical} }

func variantTable(rows []variantRow) *table.Table {
	return tableOf([]string{"layer", "span", "prompts", "b_overlap", "c_typical"}, rows)
}

// codeVariants computes, by layer and span of the reply:
//
//	(b)  of the positions whose mean weight in the span is above 0.005, the share
//	     whose mean weight in the window is too; mean over heads
//	(c)  the number of positions above 0.05 in any row of the window; maximum
//	     over heads
func codeVariants(path string, span int) ([]variantRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var list []variantRow
	for _, layer := range r.Header().Plan.Layers {
		var overlaps [][]float64 // [span][prompt]
		var typical []float64    // [prompt]
		for p := range r.Prompts() {
			if r.Prompts()[p].PromptTokens <= variantWindow {
				continue
			}
			rows, reply, err := recordedRows(r, p, layer)
			if err != nil {
				return nil, err
			}
			bySpan, count := variantsOf(rows, reply, span)
			typical = append(typical, count)
			for s, x := range bySpan {
				if s == len(overlaps) {
					overlaps = append(overlaps, nil)
				}
				overlaps[s] = append(overlaps[s], x)
			}
		}
		for s := range overlaps {
			list = append(list, variantRow{layer, s, len(typical), analysis.Mean(overlaps[s]), analysis.Mean(typical)})
		}
	}
	return list, nil
}

// variantsOf computes variant (b) of each span, and (c), of one layer of a
// prompt.
func variantsOf(rows, reply *dumps.Attention, span int) (overlaps []float64, typical float64) {
	prefix := rows.Keys - variantWindow
	counts := make([]float64, rows.Heads)
	shares := make([][]float64, rows.Heads) // [head][span]
	parallel.For(rows.Heads, func(h int) {
		counts[h] = everAbove(rows.Head(h), rows.Rows, rows.Keys, prefix)
		vote := snapkv.Vote(rows.Head(h), rows.Rows, rows.Keys, min(variantWindow, rows.Rows), prefix)
		for lo := 0; lo < reply.Rows; lo += span {
			n := min(reply.Rows, lo+span) - lo
			sums := snapkv.Vote(reply.Head(h)[lo*reply.Keys:], n, reply.Keys, n, prefix)
			shares[h] = append(shares[h], sharedAbove(vote, sums, n))
		}
	})
	overlaps = make([]float64, (reply.Rows+span-1)/span)
	for s := range overlaps {
		var defined []float64
		for h := range shares {
			if x := shares[h][s]; !math.IsNaN(x) {
				defined = append(defined, x)
			}
		}
		overlaps[s] = analysis.Mean(defined)
	}
	return overlaps, slices.Max(counts)
}

// sharedAbove returns the share of the positions with a mean weight above the
// threshold in the n summed reply rows that have one in the window too; NaN if there
// are no such positions.
func sharedAbove(vote, sums []float64, n int) float64 {
	both := 0.0
	all := 0.0
	for j, sum := range sums {
		if sum > variantTheta*float64(n) {
			all++
			if vote[j] > variantTheta*variantWindow {
				both++
			}
		}
	}
	return both / all
}

// everAbove returns the number of positions before prefix whose weight exceeds
// [hitrate.PaperTheta] in any of n rows, [n, keys].
func everAbove(rows []float32, n, keys, prefix int) float64 {
	count := 0.0
	above := make([]bool, prefix)
	for i := range n {
		for j, w := range rows[i*keys:][:prefix] {
			if w > hitrate.PaperTheta && !above[j] {
				above[j] = true
				count++
			}
		}
	}
	return count
}
