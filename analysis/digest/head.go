package digest

import (
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/simd"
)

// head is the digest of one head of one layer of a prompt: the votes of some windows,
// the mean reply row, and the larger weights of the reply. Hit rates under other
// budgets, thetas and pooling kernels follow from it without reading the weights
// again.
type head struct {
	length  int // tokens of the prompt
	rows    int // reply rows added
	windows []int
	votes   []column // of each window, [prefix], before pooling
	mean    column   // [prompt]
	least   float64  // smallest theta that can be answered
	short   bool     // columns are kept in float32

	// The prompt positions whose weight is above least, row by row.
	keys    []int32
	weights []float32
	ends    []int32 // of each reply row, where its positions end in keys
}

// newHead begins the digest of a head of prompt p. The caller then adds the rows in
// order, the prompt's with [head.addPrompt] and the reply's with [head.addReply], and
// calls [head.finish]. Windows that leave no prefix, or that have more rows than were
// recorded, are left out. Only reply weights above least are kept, so rates for a
// smaller theta are errors.
//
// With short, votes and the mean row are kept in float32; see [Spec].
func newHead(p *dumps.Prompt, windows []int, least float64, short bool) *head {
	unfit := func(w int) bool { return w >= p.PromptTokens || w > p.WindowRows }
	d := &head{
		length:  p.PromptTokens,
		windows: slices.DeleteFunc(slices.Compact(slices.Sorted(slices.Values(windows))), unfit),
		mean:    newColumn(p.PromptTokens, short),
		least:   least,
		short:   short,
	}
	d.votes = make([]column, len(d.windows))
	for i, w := range d.windows {
		d.votes[i] = newColumn(d.length-w, short)
	}
	return d
}

// addPrompt adds a row of the prompt, [prompt] or longer. back is its distance from
// the prompt's end; the last row has 1.
func (d *head) addPrompt(back int, row []float32) {
	for i, w := range d.windows {
		if w < back {
			continue
		}
		simd.AddWide(d.votes[i].exact, row)
		if d.short { // finish adds the row to the longer windows
			return
		}
	}
}

// addReply adds a row of the reply, [prompt] or longer.
func (d *head) addReply(row []float32) {
	row = row[:d.length]
	simd.AddWide(d.mean.exact, row)
	for _, j := range hitrate.Significant(row, 1, d.length, d.length, float32(d.least))[0] {
		d.keys = append(d.keys, j)
		d.weights = append(d.weights, row[j])
	}
	d.rows++
	d.ends = append(d.ends, int32(len(d.keys)))
}

// finish completes the digest after its last row.
func (d *head) finish() {
	for j := range d.mean.exact {
		d.mean.exact[j] /= float64(d.rows)
	}
	d.keys = slices.Clone(d.keys) // without spare capacity
	d.weights = slices.Clone(d.weights)
	d.ends = slices.Clone(d.ends)
	if !d.short {
		return
	}
	for i := 1; i < len(d.votes); i++ {
		shorter := d.votes[i-1].exact
		for j := range d.votes[i].exact {
			d.votes[i].exact[j] += shorter[j]
		}
	}
	d.mean.shorten()
	for i := range d.votes {
		d.votes[i].shorten()
	}
}

// bytes returns the memory that the digest holds.
func (d *head) bytes() int {
	n := d.mean.bytes()
	for i := range d.votes {
		n += d.votes[i].bytes()
	}
	return n + 8*len(d.keys) + 4*len(d.ends) + 256
}

// ratesOf implements [HeadStats.Rates].
func (d *head) ratesOf(cfg analysis.HitRateConfig) ([]analysis.HeadRate, error) {
	if cfg.Exact || cfg.Generation != analysis.GenerationRows {
		return nil, fmt.Errorf("generation %q, exact %v: a digest rates rows only", cfg.Generation, cfg.Exact)
	}
	significant := map[float64][][]int32{} // by theta
	var out []analysis.HeadRate
	for _, s := range cfg.Settings() {
		at, ok := slices.BinarySearch(d.windows, s.Window)
		if !ok || cfg.Prefix(s, d.length) < 1 {
			continue
		}
		if s.Theta < d.least {
			return nil, fmt.Errorf("theta %g: the digest holds weights above %g", s.Theta, d.least)
		}
		if significant[s.Theta] == nil {
			significant[s.Theta] = d.significant(float32(s.Theta))
		}
		rate, err := d.rate(cfg, s, &d.votes[at], significant[s.Theta])
		if err != nil {
			return nil, err
		}
		out = append(out, rate)
	}
	return out, nil
}

// rate rates one setting with a window's vote.
func (d *head) rate(
	cfg analysis.HitRateConfig, s analysis.Setting, vote *column, significant [][]int32,
) (analysis.HeadRate, error) {
	if d.short {
		return rateShort(cfg, s, vote.short, d.mean.short, significant)
	}
	return cfg.Rate(s, vote.exact, d.mean.exact, significant)
}

// meanRow returns the mean reply row, [prompt].
func (d *head) meanRow() []float64 {
	if !d.short {
		return d.mean.exact
	}
	mean := make([]float64, d.length)
	for i, v := range d.mean.short {
		mean[i] = float64(v)
	}
	return mean
}

// kept measures the selection keep, ascending positions below prefix, as
// [analysis.Methods] does. mass is the weight on the selection, summed over its
// positions and averaged over the reply's rows. For each theta, significant counts the
// weights above it on the prefix, and hits counts how many of these are on the
// selection.
func (d *head) kept(keep []int32, prefix int, thetas []float64) (mass float64, hits, significant []int) {
	hits = make([]int, len(thetas))
	significant = make([]int, len(thetas))
	isKept := make([]bool, prefix)
	for _, at := range keep {
		isKept[at] = true
		mass += d.mean.at(at)
	}
	for i, at := range d.keys {
		if int(at) >= prefix {
			continue
		}
		for t, theta := range thetas {
			if d.weights[i] > float32(theta) {
				significant[t]++
				if isKept[at] {
					hits[t]++
				}
			}
		}
	}
	return mass, hits, significant
}

// significant lists each reply row's positions with a weight above theta.
func (d *head) significant(theta float32) [][]int32 {
	out := make([][]int32, d.rows)
	at := int32(0)
	for r := range out {
		for ; at < d.ends[r]; at++ {
			if d.weights[at] > theta {
				out[r] = append(out[r], d.keys[at])
			}
		}
	}
	return out
}
