package analysis

import (
	"math"

	"github.com/attnscope/attnscope/hitrate"
	"github.com/attnscope/attnscope/internal/topk"
	"github.com/attnscope/attnscope/snapkv"
)

// HeadRate is the result of one head of one prompt for one [Setting].
type HeadRate struct {
	Window, Budget int     // Budget is the number of positions that were kept
	Top            float64 // NaN if the budget was given
	Theta          float64
	Counts         hitrate.Counts
	Chance         float64 // hit rate expected of random positions
	Overlap        float64 // share of kept positions that the reply attends to most; NaN if none is kept
	Mass           float64 // weight of the mean reply row on kept positions
	Sink           float64 // share of the head's learned sink in the mean reply row; NaN: it has none
}

// Rate rates one head under one setting. It returns an error for an invalid kernel or
// pooling.
//
//	vote         [prefix]  weight summed over the window's rows, before pooling; may be longer
//	mean         [length]  the mean reply row over the prompt's positions
//	significant  [rows][]  significant positions of each reply row, ascending
func (cfg *HitRateConfig) Rate(s Setting, vote, mean []float64, significant [][]int32) (HeadRate, error) {
	length := len(mean)
	prefix := cfg.Prefix(s, length)
	vote = vote[:prefix]
	kept := cfg.Kept(s, length)
	if cfg.Kernel > 1 {
		var err error
		if vote, err = snapkv.Pool(vote, cfg.Kernel, cfg.Pooling); err != nil {
			return HeadRate{}, err
		}
	}
	skip := min(cfg.SkipFirst, prefix)
	keep := topFrom(vote, skip, kept)
	attended := topFrom(mean[:prefix], skip, kept)
	counts := hitrate.Count(significant, keep, kept, skip, prefix)
	mass := 0.0
	for _, j := range keep {
		mass += mean[j]
	}
	return cfg.NewHeadRate(s, length, counts, hitrate.Overlap(keep, attended), mass), nil
}

// NewHeadRate returns the rate of a head of a prompt of length positions. common is
// the number of kept positions among the equally many that the reply attends to most,
// and mass the weight of the mean reply row on kept positions.
func (cfg *HitRateConfig) NewHeadRate(s Setting, length int, counts hitrate.Counts, common int, mass float64) HeadRate {
	kept := cfg.Kept(s, length)
	rate := HeadRate{
		Window:  s.Window,
		Budget:  kept,
		Top:     s.Top,
		Theta:   s.Theta,
		Counts:  counts,
		Chance:  float64(kept) / float64(cfg.Prefix(s, length)),
		Overlap: math.NaN(),
		Mass:    mass,
		Sink:    math.NaN(),
	}
	if kept > 0 {
		rate.Overlap = float64(common) / float64(kept)
	}
	return rate
}

// topFrom returns the positions of the k largest of the values from skip on,
// ascending. Ties go to the lower position.
func topFrom(values []float64, skip, k int) []int32 {
	list := topk.Select(values[skip:], k)
	for i := range list {
		list[i] += int32(skip)
	}
	return list
}
