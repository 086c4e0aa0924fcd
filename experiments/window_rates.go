package experiments

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/parallel"
)

// windowKeys are the sets of keys over which prompt windows vote: with common
// keys, the positions before the first window; with causal keys, the positions
// before the window itself.
var windowKeys = []string{"common", "causal"}

// windowRow is the hit rate of one prompt window's vote, over prompts.
type windowRow struct {
	keys                  string // of windowKeys
	skip                  int    // first positions that were left out
	layer                 int
	index                 int // of the window; the highest is the prompt's end
	prompts               int
	rate                  estimate
	recent, sinks, oracle float64
	significant           int
}

func (r windowRow) cells() []any {
	return slices.Concat(
		[]any{r.keys, r.skip, r.layer, r.index, r.prompts}, r.rate.cells(),
		[]any{r.recent, r.sinks, r.oracle, r.significant},
	)
}

// Rate is the hit rate with its interval, as text.
func (r windowRow) Rate() string {
	return fmt.Sprintf("%s [%s, %s]", short(r.rate.mean), short(r.rate.low), short(r.rate.high))
}

// Sinks is the hit rate of the first four and the last positions, as text.
func (r windowRow) Sinks() string { return short(r.sinks) }

func windowTable(rows []windowRow) *table.Table {
	return tableOf([]string{
		"keys", "skip_first", "layer", "window_index", "prompts", "hit_rate", "ci_low", "ci_high",
		"recent", "sinks_recent", "oracle", "significant",
	}, rows)
}

// windowKey identifies a window that is rated on a layer.
type windowKey struct {
	keys    int // index into windowKeys
	skip    int
	layer   int
	fromEnd int // windows after this one
}

// windowCounts are the counts of one window.
type windowCounts struct {
	windowKey
	hitrate.Counts
}

// windowRates rates the recorded prompt windows by layer, and for all layers
// together, with both sets of keys, with and without the first four positions.
func windowRates(path string, seed uint64) ([]windowRow, error) {
	r, err := dumps.Open(path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	layers := r.Header().Plan.Layers
	byPrompt := map[windowKey][]hitrate.Counts{}
	most := 0 // windows of a prompt
	for p := range r.Prompts() {
		total := map[windowKey]hitrate.Counts{}
		for _, layer := range layers {
			counts, windows, err := promptWindowCounts(r, p, layer)
			if err != nil {
				return nil, err
			}
			most = max(most, windows)
			for _, c := range counts {
				for _, at := range []int{layer, allLayers} {
					key := c.windowKey
					key.layer = at
					sum := total[key]
					sum.Add(c.Counts)
					total[key] = sum
				}
			}
		}
		for key, c := range total {
			byPrompt[key] = append(byPrompt[key], c)
		}
	}
	var rows []windowRow
	for keys := range windowKeys {
		for _, skip := range sinkSkips {
			for _, layer := range append([]int{allLayers}, layers...) {
				for index := range most {
					key := windowKey{keys, skip, layer, most - 1 - index}
					rows = append(rows, windowRowOf(key, index, byPrompt[key], seed))
				}
			}
		}
	}
	return rows, nil
}

// promptWindowCounts counts the hits of the votes of a prompt's windows in one layer,
// head by head, and returns the number of windows. Windows with too few keys to keep
// a position are left out.
func promptWindowCounts(r *dumps.Reader, prompt, layer int) (list []windowCounts, windows int, err error) {
	sums, windows, err := r.Windows(prompt, layer)
	if err != nil {
		return nil, 0, err
	}
	reply, err := r.Weights(prompt, layer, dumps.Decode)
	if err != nil {
		return nil, 0, err
	}
	size := r.Header().Plan.PromptWindowSize
	n := r.Prompts()[prompt].PromptTokens
	byHead := make([][]windowCounts, reply.Heads)
	parallel.For(reply.Heads, func(h int) {
		significant := hitrate.Significant(reply.Head(h), reply.Rows, reply.Keys, n, hitrate.PaperTheta)
		for w := range windows {
			row := sums[(h*windows+w)*n:]
			vote := make([]float64, n-(windows-w)*size)
			for j := range vote {
				vote[j] = float64(row[j])
			}
			for keys, prefix := range [...]int{n - windows*size, len(vote)} { // common, causal
				if hitrate.Budget(hitrate.PaperTop, prefix) == 0 {
					continue
				}
				for _, skip := range sinkSkips {
					byHead[h] = append(byHead[h], windowCounts{
						windowKey{keys, skip, layer, windows - 1 - w},
						countVote(vote[:prefix], significant, skip, prefix),
					})
				}
			}
		}
	})
	return slices.Concat(byHead...), windows, nil
}

// windowRowOf summarizes the counts of each prompt.
func windowRowOf(key windowKey, index int, prompts []hitrate.Counts, seed uint64) windowRow {
	row := windowRow{
		keys:    windowKeys[key.keys],
		skip:    key.skip,
		layer:   key.layer,
		index:   index,
		prompts: len(prompts),
	}
	var rate, recent, sinks, oracle []float64
	for _, c := range prompts {
		n := float64(c.Significant)
		if n == 0 {
			n = math.NaN()
		}
		rate = append(rate, float64(c.Hits)/n)
		recent = append(recent, float64(c.Recent)/n)
		sinks = append(sinks, float64(c.SinksRecent)/n)
		oracle = append(oracle, float64(c.Oracle)/n)
		row.significant += c.Significant
	}
	row.rate = estimateOf(rate, seed)
	row.recent = analysis.Mean(recent)
	row.sinks = analysis.Mean(sinks)
	row.oracle = analysis.Mean(oracle)
	return row
}
