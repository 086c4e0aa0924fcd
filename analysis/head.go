package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// HeadRate is what one head gives for one combination of window, budget and
// theta. A layer's rates are those of [JoinRates].
type HeadRate struct {
	Window, Budget int
	Top            float64 // NaN where the budget was given
	Theta          float64
	Counts         hitrate.Counts
	Chance         float64
	Overlap, Mass  float64
}

// HeadDigest holds what the hit rates of one head follow from, so that other
// budgets, thetas and kernels need no second look at the weights: the votes of
// some windows, the mean reply row and the reply's larger weights.
type HeadDigest struct {
	length, rows int
	windows      []int    // ascending
	votes        []column // of each window, [prefix], before pooling
	mean         column   // [P]
	least        float64
	short        bool
	keys         []int32 // the prompt positions above least, row by row
	weights      []float32
	ends         []int32 // of each reply row in keys
}

// column holds float64 numbers, or what is left of them in float32.
type column struct {
	wide   []float64
	narrow []float32
}

func (c *column) shorten() {
	c.narrow = make([]float32, len(c.wide))
	for i, v := range c.wide {
		c.narrow[i] = float32(v)
	}
	sums.Give(c.wide)
	c.wide = nil
}

// sums are what short columns were summed in, pools what they were pooled into.
var (
	sums  spare.Slices[float64]
	pools spare.Slices[float32]
)

// newColumn gives n zeros; short: to be shortened.
func newColumn(n int, short bool) column {
	if !short {
		return column{wide: make([]float64, n)}
	}
	c := column{wide: sums.Take(n)}
	clear(c.wide)
	return c
}

// pooled is the column pooled; done takes its memory back.
func (c *column) pooled(kernel int, pooling snapkv.Pooling) (out *column, done func(), err error) {
	if c.narrow == nil {
		wide, err := snapkv.Pool(c.wide, kernel, pooling)
		return &column{wide: wide}, func() {}, err
	}
	narrow := pools.Take(len(c.narrow))
	err = snapkv.PoolNarrow(narrow, c.narrow, kernel, pooling)
	return &column{narrow: narrow}, func() { pools.Give(narrow) }, err
}

func (c *column) at(j int32) float64 {
	if c.narrow == nil {
		return c.wide[j]
	}
	return float64(c.narrow[j])
}

// top are the k positions from skip to end of the largest numbers in float64,
// ascending.
func (c *column) top(skip, end, k int) []int32 {
	list := topk.Select(c.wide[skip:end], k)
	for i := range list {
		list[i] += int32(skip)
	}
	return list
}

func (c *column) bytes() int { return 8*len(c.wide) + 4*len(c.narrow) }

// NewHeadDigest begins the digest of a head of a prompt; its rows follow in order,
// those of the prompt by [HeadDigest.AddPrompt], those of the reply by
// [HeadDigest.AddReply], then [HeadDigest.Finish]. Windows that leave no prefix or
// were not recorded are left out, and weights up to least: rates for a smaller
// theta cannot be had. With short the votes and the mean row are kept in float32,
// half the memory: positions whose votes differ by less than a float32 tells apart
// count as equal, and the lower one is kept.
func NewHeadDigest(p *dumps.Prompt, windows []int, least float64, short bool) *HeadDigest {
	d := &HeadDigest{length: p.PromptTokens, least: least, short: short, mean: newColumn(p.PromptTokens, short)}
	d.windows = slices.Sorted(slices.Values(windows))
	d.windows = slices.DeleteFunc(slices.Compact(d.windows), func(w int) bool { return w >= p.PromptTokens || w > p.WindowRows })
	d.votes = make([]column, len(d.windows))
	for i, w := range d.windows {
		d.votes[i] = newColumn(d.length-w, short)
	}
	return d
}

// AddPrompt adds a row of the prompt, [P] or longer, back tokens from its end: the
// last is 1.
func (d *HeadDigest) AddPrompt(back int, row []float32) {
	for i, w := range d.windows {
		if w >= back {
			simd.AddWide(d.votes[i].wide, row)
			if d.short { // Finish adds it to the longer windows
				return
			}
		}
	}
}

// AddReply adds a row of the reply, [P] or longer.
func (d *HeadDigest) AddReply(row []float32) {
	row = row[:d.length]
	simd.AddWide(d.mean.wide, row)
	for _, j := range hitrate.Significant(row, 1, d.length, d.length, float32(d.least))[0] {
		d.keys, d.weights = append(d.keys, j), append(d.weights, row[j])
	}
	d.rows++
	d.ends = append(d.ends, int32(len(d.keys)))
}

// Finish ends the digest.
func (d *HeadDigest) Finish() {
	for j := range d.mean.wide {
		d.mean.wide[j] /= float64(d.rows)
	}
	d.keys, d.weights, d.ends = slices.Clone(d.keys), slices.Clone(d.weights), slices.Clone(d.ends)
	if !d.short {
		return
	}
	for i := 1; i < len(d.votes); i++ {
		shorter := d.votes[i-1].wide
		for j := range d.votes[i].wide {
			d.votes[i].wide[j] += shorter[j]
		}
	}
	d.mean.shorten()
	for i := range d.votes {
		d.votes[i].shorten()
	}
}

// Bytes is the memory that the digest holds.
func (d *HeadDigest) Bytes() int {
	n := d.mean.bytes()
	for i := range d.votes {
		n += d.votes[i].bytes()
	}
	return n + 8*len(d.keys) + 4*len(d.ends) + 256
}

// Rates rates the head over all its reply rows, in the order in which HitRates
// lists windows, thetas and budgets. Exact, and the threshold of the mean row,
// need the weights: they are errors.
func (d *HeadDigest) Rates(cfg HitRateConfig) ([]HeadRate, error) {
	if cfg.Exact || cfg.Generation != "rows" {
		return nil, fmt.Errorf("generation %q, exact %v: a digest rates rows only", cfg.Generation, cfg.Exact)
	}
	a := &hitRates{cfg: cfg}
	lists := map[float64][][]int32{}
	var out []HeadRate
	for _, s := range cfg.settings() {
		at, ok := slices.BinarySearch(d.windows, s.window)
		if !ok {
			continue
		}
		if s.theta < d.least {
			return nil, fmt.Errorf("theta %g: the digest holds weights above %g", s.theta, d.least)
		}
		if lists[s.theta] == nil {
			lists[s.theta] = d.significant(float32(s.theta))
		}
		c, err := a.rate(s, &d.votes[at], d.length, lists[s.theta], &d.mean)
		if err != nil {
			return nil, err
		}
		out = append(out, HeadRate{s.window, c.k, s.top, s.theta, c.counts, c.chance, c.overlap, c.mass})
	}
	return out, nil
}

// Mean is the mean reply row over the prompt's positions.
func (d *HeadDigest) Mean() []float64 {
	if d.mean.narrow == nil {
		return d.mean.wide
	}
	wide := make([]float64, d.length)
	for i, v := range d.mean.narrow {
		wide[i] = float64(v)
	}
	return wide
}

// Kept judges a selection of the first prefix positions as [Methods] does: the mean
// over rows of the summed weight on it, and for each theta, of the weights above it on
// the prefix how many lie on the selection.
func (d *HeadDigest) Kept(keep []int32, prefix int, thetas []float64) (mass float64, hits, significant []int) {
	hits, significant = make([]int, len(thetas)), make([]int, len(thetas))
	kept := make([]bool, prefix)
	for _, at := range keep {
		kept[at] = true
		mass += d.mean.at(at)
	}
	for i, at := range d.keys {
		if int(at) >= prefix {
			continue
		}
		for t, theta := range thetas {
			if d.weights[i] > float32(theta) {
				significant[t]++
				if kept[at] {
					hits[t]++
				}
			}
		}
	}
	return mass, hits, significant
}

func (d *HeadDigest) significant(theta float32) [][]int32 {
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

// Rates are the value columns of a prompt's layer, or of one head: see
// docs/MEASURES.md.
type Rates struct {
	Significant, Hits                              int
	HitRate, Chance, Recent, SinksRecent           float64
	Oracle, Overlap, Mass, HitRateLow, HitRateHigh float64
}

// JoinRates pools heads of one prompt, as HitRates does by layer.
func JoinRates(heads []HeadRate) Rates {
	var c hitrate.Counts
	var r Rates
	n := float64(len(heads))
	for i := range heads {
		c.Add(heads[i].Counts)
		r.Chance += heads[i].Chance
		r.Overlap += heads[i].Overlap
		r.Mass += heads[i].Mass
	}
	r.Chance, r.Overlap, r.Mass = r.Chance/n, r.Overlap/n, r.Mass/n // of none: NaN
	r.Significant, r.Hits, r.HitRate = c.Significant, c.Hits, c.Rate()
	r.Recent, r.SinksRecent, r.Oracle = over(c.Recent, c.Significant), over(c.SinksRecent, c.Significant), over(c.Oracle, c.Significant)
	r.HitRateLow, r.HitRateHigh = math.NaN(), math.NaN()
	return r
}

// MeanRates is the mean over prompts, with the interval of the hit rate.
func MeanRates(prompts []Rates, seed uint64) Rates {
	var r Rates
	column := func(f func(p *Rates) float64) []float64 {
		var x []float64
		for i := range prompts {
			x = append(x, f(&prompts[i]))
		}
		return x
	}
	for _, p := range prompts {
		r.Significant, r.Hits = r.Significant+p.Significant, r.Hits+p.Hits
	}
	rates := column(func(p *Rates) float64 { return p.HitRate })
	r.HitRate = Mean(rates)
	r.HitRateLow, r.HitRateHigh = Interval(rates, seed)
	r.Chance = Mean(column(func(p *Rates) float64 { return p.Chance }))
	r.Recent = Mean(column(func(p *Rates) float64 { return p.Recent }))
	r.SinksRecent = Mean(column(func(p *Rates) float64 { return p.SinksRecent }))
	r.Oracle = Mean(column(func(p *Rates) float64 { return p.Oracle }))
	r.Overlap = Mean(column(func(p *Rates) float64 { return p.Overlap }))
	r.Mass = Mean(column(func(p *Rates) float64 { return p.Mass }))
	return r
}

// settings are all combinations of windows, thetas and budgets.
func (cfg *HitRateConfig) settings() []setting {
	var list []setting
	for _, w := range cfg.Windows {
		for _, theta := range cfg.Thetas {
			for _, top := range cfg.Tops {
				list = append(list, setting{w, 0, top, theta})
			}
			for _, k := range cfg.Budgets {
				list = append(list, setting{w, k, math.NaN(), theta})
			}
		}
	}
	return list
}
