package analysis

import (
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/dumps"
	"github.com/attnscope/attnscope/hitrate"
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

// RateHead rates one head over all its reply rows, in the order in which
// HitRates lists windows, thetas and budgets; windows that leave no prefix or
// were not recorded are left out.
//
//	rows  [n, P]    the recorded prompt rows
//	gen   [G, P+G]  the rows of the reply
func RateHead(p *dumps.Prompt, rows []float32, n int, gen []float32, cfg HitRateConfig) ([]HeadRate, error) {
	if keys := p.PromptTokens + p.ReplyTokens; len(rows) < n*p.PromptTokens || len(gen) < p.ReplyTokens*keys {
		return nil, fmt.Errorf("prompt %q: %d prompt and %d reply weights, want %d and %d", p.ID, len(rows), len(gen), n*p.PromptTokens, p.ReplyTokens*keys)
	}
	cfg.By = slices.DeleteFunc(slices.Clone(cfg.By), func(s string) bool { return s == "span" })
	a := &hitRates{cfg: cfg, sets: cfg.settings()}
	spans, err := a.head(p, rows, n, gen, p.PromptTokens+p.ReplyTokens)
	if err != nil {
		return nil, err
	}
	var out []HeadRate
	for i, c := range spans[0] {
		if c != nil {
			s := a.sets[i]
			out = append(out, HeadRate{s.window, c.k, s.top, s.theta, c.counts, c.chance, c.overlap, c.mass})
		}
	}
	return out, nil
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
