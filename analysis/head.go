package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
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
	votes        map[int][]float64 // by window, [prefix], before pooling
	mean         []float64         // [P]
	least        float64
	keys         []int32 // the prompt positions above least, row by row
	weights      []float32
	ends         []int32 // of each reply row in keys
}

// DigestHead reads one head. Weights up to least are left out: rates for a
// smaller theta cannot be had. Windows that leave no prefix or were not recorded
// are left out too.
//
//	rows  [n, stride]    the recorded prompt rows, P keys each
//	gen   [G, stride]    the rows of the reply
func DigestHead(p *dumps.Prompt, rows []float32, n int, gen []float32, stride int, windows []int, least float64) (*HeadDigest, error) {
	length, count := p.PromptTokens, p.ReplyTokens
	if stride < length || len(rows) < n*stride || len(gen) < count*stride || count == 0 {
		return nil, fmt.Errorf("prompt %q: %d and %d weights in rows of %d, want %d and %d rows of %d or more", p.ID, len(rows), len(gen), stride, n, count, length)
	}
	d := &HeadDigest{length: length, rows: count, votes: map[int][]float64{}, mean: make([]float64, length), least: least, ends: make([]int32, count)}
	for _, w := range windows {
		if w < length && w <= n && d.votes[w] == nil {
			d.votes[w] = snapkv.Vote(rows, n, stride, w, length-w)
		}
	}
	for r := range count {
		for j, w := range gen[r*stride : r*stride+length] {
			d.mean[j] += float64(w)
			if w > float32(least) {
				d.keys, d.weights = append(d.keys, int32(j)), append(d.weights, w)
			}
		}
		d.ends[r] = int32(len(d.keys))
	}
	d.keys, d.weights = slices.Clip(slices.Clone(d.keys)), slices.Clip(slices.Clone(d.weights))
	for j := range d.mean {
		d.mean[j] /= float64(count)
	}
	return d, nil
}

// Bytes is the memory that the digest holds.
func (d *HeadDigest) Bytes() int {
	n := 8 * len(d.mean)
	for _, v := range d.votes {
		n += 8 * len(v)
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
		vote := d.votes[s.window]
		if vote == nil {
			continue
		}
		if s.theta < d.least {
			return nil, fmt.Errorf("theta %g: the digest holds weights above %g", s.theta, d.least)
		}
		if lists[s.theta] == nil {
			lists[s.theta] = d.significant(float32(s.theta))
		}
		c, err := a.rate(s, vote, d.length, lists[s.theta], d.mean)
		if err != nil {
			return nil, err
		}
		out = append(out, HeadRate{s.window, c.k, s.top, s.theta, c.counts, c.chance, c.overlap, c.mass})
	}
	return out, nil
}

// Kept judges a selection of the first prefix positions as [Methods] does: the mean
// over rows of the summed weight on it, and of the weights above theta on the
// prefix how many lie on it.
func (d *HeadDigest) Kept(keep []int32, prefix int, theta float64) (mass float64, hits, significant int) {
	kept := make([]bool, prefix)
	for _, at := range keep {
		kept[at] = true
		mass += d.mean[at]
	}
	for i, at := range d.keys {
		if int(at) < prefix && d.weights[i] > float32(theta) {
			significant++
			if kept[at] {
				hits++
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
