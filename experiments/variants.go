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

// codeVariants are variants (b) and (c) of the authors' first scripts, with
// their window of 128, by layer and span; means over prompts.
func codeVariants(path string, span int) (*table.Table, error) {
	const window, theta = 128, 0.005
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	t := table.New("layer", "span", "prompts", "b_overlap", "c_typical")
	for _, layer := range r.Header().Plan.Layers {
		var overlap [][]float64
		var typical []float64
		for p := range r.Prompts() {
			if r.Prompts()[p].PromptTokens <= window {
				continue
			}
			rows, reply, err := recordedRows(r, p, layer)
			if err != nil {
				return nil, err
			}
			prefix := rows.Keys - window
			counts, shares := make([]float64, rows.Heads), make([][]float64, rows.Heads) // [head][span]
			parallel.For(rows.Heads, func(h int) {
				counts[h] = everAbove(rows.Head(h), rows.Rows, rows.Keys, prefix)
				vote := snapkv.Vote(rows.Head(h), rows.Rows, rows.Keys, min(window, rows.Rows), prefix)
				for lo := 0; lo < reply.Rows; lo += span {
					n := min(reply.Rows, lo+span) - lo
					sums := snapkv.Vote(reply.Head(h)[lo*reply.Keys:], n, reply.Keys, n, prefix)
					hits, all := 0.0, 0.0
					for j, sum := range sums {
						if sum > theta*float64(n) {
							all++
							if vote[j] > theta*window {
								hits++
							}
						}
					}
					shares[h] = append(shares[h], hits/all)
				}
			})
			per := make([][]float64, (reply.Rows+span-1)/span)
			for h := range shares {
				for s, x := range shares[h] {
					if !math.IsNaN(x) { // none above theta in that span
						per[s] = append(per[s], x)
					}
				}
			}
			typical = append(typical, slices.Max(counts))
			for s := range per {
				if s == len(overlap) {
					overlap = append(overlap, nil)
				}
				overlap[s] = append(overlap[s], analysis.Mean(per[s]))
			}
		}
		for s := range overlap {
			t.Add(layer, s, len(typical), analysis.Mean(overlap[s]), analysis.Mean(typical))
		}
	}
	return t, nil
}

// everAbove is the number of positions before prefix that pass [hitrate.PaperTheta]
// in any of n rows.
func everAbove(rows []float32, n, keys, prefix int) float64 {
	count, above := 0.0, make([]bool, prefix)
	for i := range n {
		for j, w := range rows[i*keys:][:prefix] {
			if w > hitrate.PaperTheta && !above[j] {
				count, above[j] = count+1, true
			}
		}
	}
	return count
}
