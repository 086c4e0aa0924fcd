package digest

import (
	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/simd"
	"github.com/attnscope/attnscope/internal/spare"
	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// column holds a number for each position of a prompt, in float64 while it is summed
// and afterwards in float64 or, if short, in float32.
type column struct {
	exact []float64
	short []float32
}

// Memory of columns that were shortened, and of short columns that were pooled.
var (
	exactColumns  spare.Slices[float64]
	pooledColumns spare.Slices[float32]
)

// newColumn returns n zeros. short means that the column will be shortened.
func newColumn(n int, short bool) column {
	if !short {
		return column{exact: make([]float64, n)}
	}
	c := column{exact: exactColumns.Take(n)}
	clear(c.exact)
	return c
}

// shorten rounds the column to float32.
func (c *column) shorten() {
	c.short = make([]float32, len(c.exact))
	for i, v := range c.exact {
		c.short[i] = float32(v)
	}
	exactColumns.Give(c.exact)
	c.exact = nil
}

func (c *column) at(j int32) float64 {
	if c.short == nil {
		return c.exact[j]
	}
	return float64(c.short[j])
}

func (c *column) bytes() int { return 8*len(c.exact) + 4*len(c.short) }

// rateShort is like [analysis.HitRateConfig.Rate] for columns in float32. Instead of
// listing the positions that are kept, it finds the smallest value that is kept.
func rateShort(
	cfg analysis.HitRateConfig, s analysis.Setting, vote, mean []float32, significant [][]int32,
) (analysis.HeadRate, error) {
	length := len(mean)
	prefix := cfg.Prefix(s, length)
	vote = vote[:prefix]
	k := cfg.Kept(s, length)
	if cfg.Kernel > 1 {
		pooled := pooledColumns.Take(len(vote))
		defer pooledColumns.Give(pooled)
		if err := snapkv.PoolNarrow(pooled, vote, cfg.Kernel, cfg.Pooling); err != nil {
			return analysis.HeadRate{}, err
		}
		vote = pooled
	}
	skip := min(cfg.SkipFirst, prefix)
	vote = vote[skip:]
	mean = mean[skip:prefix]
	kept := topk.CutOf(vote, k)
	attended := topk.CutOf(mean, k)
	keeps := func(j int32) bool {
		at := j - int32(skip)
		return kept.Keeps(vote[at], at)
	}
	counts := hitrate.CountKept(significant, keeps, k, skip, prefix)
	common := 0 // kept positions among the k that the reply attends to most
	mass := 0.0
	if kept.Ties || attended.Ties {
		for j, v := range vote {
			if !kept.Keeps(v, int32(j)) {
				continue
			}
			mass += float64(mean[j])
			if attended.Keeps(mean[j], int32(j)) {
				common++
			}
		}
	} else {
		common = simd.CountBoth(vote, mean, kept.Value, attended.Value)
		mass = simd.SumWhere(vote, mean, kept.Value)
	}
	return cfg.NewHeadRate(s, length, counts, common, mass), nil
}
