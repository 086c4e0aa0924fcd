package digest

import (
	"math"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/hitrate"
)

// Rates holds the rates of a layer, or of one head, under one setting. Fields have the
// names of the columns in a table of hit rates; see docs/MEASURES.md. Undefined rates
// are NaN.
type Rates struct {
	Significant, Hits   int
	HitRate             float64
	Low, High           float64 // 95 % bootstrap interval of HitRate over prompts
	Chance              float64
	Recent, SinksRecent float64
	Oracle              float64
	Overlap, Mass       float64
}

// JoinHeads pools the rates of heads of one prompt: of a layer, as [analysis.HitRates] does
// by layer, or of all layers, as it does for the whole model. The result has no interval.
func JoinHeads(heads []analysis.HeadRate) Rates {
	var counts hitrate.Counts
	var chance, overlap, mass float64
	for i := range heads {
		counts.Add(heads[i].Counts)
		chance += heads[i].Chance
		overlap += heads[i].Overlap
		mass += heads[i].Mass
	}
	n := float64(len(heads)) // without heads the means are NaN
	return Rates{
		Significant: counts.Significant,
		Hits:        counts.Hits,
		HitRate:     counts.Rate(),
		Low:         math.NaN(),
		High:        math.NaN(),
		Chance:      chance / n,
		Recent:      counts.RateOf(counts.Recent),
		SinksRecent: counts.RateOf(counts.SinksRecent),
		Oracle:      counts.RateOf(counts.Oracle),
		Overlap:     overlap / n,
		Mass:        mass / n,
	}
}

// HeadRates rates the heads of a layer and lists them by window of cfg.
func HeadRates(heads []HeadStats, cfg analysis.HitRateConfig) (map[int][]analysis.HeadRate, error) {
	byWindow := map[int][]analysis.HeadRate{}
	for i := range heads {
		rates, err := heads[i].Rates(cfg)
		if err != nil {
			return nil, err
		}
		for _, rate := range rates {
			byWindow[rate.Window] = append(byWindow[rate.Window], rate)
		}
	}
	return byWindow, nil
}

// MeanOverPrompts averages each rate over the prompts for which it is defined, and
// sums the counts. seed is the seed of the bootstrap.
func MeanOverPrompts(prompts []Rates, seed uint64) Rates {
	mean := func(column func(p *Rates) float64) float64 { return analysis.Mean(columnOf(prompts, column)) }
	hitRates := columnOf(prompts, func(p *Rates) float64 { return p.HitRate })
	r := Rates{
		HitRate:     analysis.Mean(hitRates),
		Chance:      mean(func(p *Rates) float64 { return p.Chance }),
		Recent:      mean(func(p *Rates) float64 { return p.Recent }),
		SinksRecent: mean(func(p *Rates) float64 { return p.SinksRecent }),
		Oracle:      mean(func(p *Rates) float64 { return p.Oracle }),
		Overlap:     mean(func(p *Rates) float64 { return p.Overlap }),
		Mass:        mean(func(p *Rates) float64 { return p.Mass }),
	}
	r.Low, r.High = analysis.Interval(hitRates, seed)
	for i := range prompts {
		r.Significant += prompts[i].Significant
		r.Hits += prompts[i].Hits
	}
	return r
}

func columnOf(prompts []Rates, column func(p *Rates) float64) []float64 {
	values := make([]float64, len(prompts))
	for i := range prompts {
		values[i] = column(&prompts[i])
	}
	return values
}
