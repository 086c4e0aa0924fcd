package analysis

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/attnscope/attnscope/dumps"
)

// LayerSpread says how the significant positions of a pooled rate are spread over layers. A
// pooled rate is mostly that of the layers with the most positions.
type LayerSpread struct {
	Layers []int   // the fewest layers with most of the positions, ascending
	Share  float64 // of the positions that these layers have
	Of     int     // layers
	Mean   float64 // over the layers with enough positions, of their rates; NaN if there are none
	Rated  int     // number of these layers
}

// mostPositions is the share of positions that the layers of a LayerSpread have at least.
const mostPositions = 0.8

// SpreadOf returns the spread of rates by layer, of one model and one setting. A layer with
// fewer than least positions does not count in the mean.
func SpreadOf(rows []HitRateRow, least int) LayerSpread {
	s := LayerSpread{Of: len(rows)}
	total := 0
	var rates []float64
	for i := range rows {
		total += rows[i].Significant
		if rows[i].Significant >= max(1, least) {
			rates = append(rates, rows[i].HitRate)
		}
	}
	s.Mean = Mean(rates)
	s.Rated = len(rates)
	byCount := slices.Clone(rows)
	slices.SortStableFunc(byCount, func(a, b HitRateRow) int { return cmp.Compare(b.Significant, a.Significant) })
	sum := 0
	for i := range byCount {
		if total == 0 || float64(sum) >= mostPositions*float64(total) {
			break
		}
		sum += byCount[i].Significant
		s.Layers = append(s.Layers, byCount[i].Layer)
	}
	slices.Sort(s.Layers)
	if total > 0 {
		s.Share = float64(sum) / float64(total)
	}
	return s
}

// Text says in a sentence where the positions are, and the mean over layers. It is empty if
// there is only one layer or if none has enough positions. positions names them, such as
// "significant positions".
func (s LayerSpread) Text(positions string) string {
	if s.Of < 2 || s.Rated == 0 {
		return ""
	}
	mean := fmt.Sprintf("the mean over the rates of %d of %d layers, those with enough %s, is %.3f", s.Rated, s.Of, positions, s.Mean)
	if s.Rated == s.Of {
		mean = fmt.Sprintf("the mean over the rates of all %d layers is %.3f", s.Of, s.Mean)
	}
	if 2*len(s.Layers) > s.Of {
		return mean + "."
	}
	noun := "layers"
	if len(s.Layers) == 1 {
		noun = "layer"
	}
	return fmt.Sprintf("%.0f %% of the %s are in %s %s, so the pooled rate is mostly theirs; %s.",
		100*s.Share, positions, noun, dumps.Ranges(s.Layers), mean)
}
