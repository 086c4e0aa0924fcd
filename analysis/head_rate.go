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
}

// Rate rates one head under one setting. It returns an error for an invalid kernel or
// pooling.
//
//	vote         [prefix]  weight summed over the window's rows, before pooling
//	mean         [length]  the mean reply row over the prompt's positions
//	significant  [rows][]  significant positions of each reply row, ascending
func (cfg *HitRateConfig) Rate(s Setting, vote, mean []float64, significant [][]int32) (HeadRate, error) {
	length := len(mean)
	prefix := length - s.Window
	kept := cfg.Kept(s, length)
	if cfg.Kernel > 1 {
		var err error
		if vote, err = snapkv.Pool(vote, cfg.Kernel, cfg.Pooling); err != nil {
			return HeadRate{}, err
		}
	}
	skip := min(cfg.SkipFirst, prefix)
	keep := topFrom(vote[:prefix], skip, kept)
	attended := topFrom(mean[:prefix], skip, kept)
	rate := HeadRate{
		Window:  s.Window,
		Budget:  kept,
		Top:     s.Top,
		Theta:   s.Theta,
		Counts:  hitrate.Count(significant, keep, kept, skip, prefix),
		Chance:  float64(kept) / float64(prefix),
		Overlap: math.NaN(),
	}
	if kept > 0 {
		rate.Overlap = float64(hitrate.Overlap(keep, attended)) / float64(kept)
	}
	for _, j := range keep {
		rate.Mass += mean[j]
	}
	return rate, nil
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
