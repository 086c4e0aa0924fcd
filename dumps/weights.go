package dumps

import (
	"fmt"
	"math"
)

// maxWeight is the largest number that is taken for a weight: rounding may add a little
// to 1.
const maxWeight = 1.001

// sumLimit returns the largest number that is taken for a sum of the weights of a number
// of queries.
func sumLimit(queries int) float32 { return float32(maxWeight * float64(max(1, queries))) }

// outside returns the index of the first number that is not in [0, most], or -1. NaN is
// in no interval.
func outside(x []float32, most float32) int {
	// The bits of a number in [0, most] are at most those of most; those of negative
	// numbers, larger ones and NaN are above.
	top := uint32(0)
	for _, v := range x {
		top = max(top, math.Float32bits(v))
	}
	if top <= math.Float32bits(most) {
		return -1
	}
	for i, v := range x {
		if !(v >= 0 && v <= most) {
			return i
		}
	}
	return -1 // there are only negative zeros
}

// weightPlace says where rows of weights are: row names row i.
type weightPlace struct {
	prompt, layer, head int
	row                 func(i int) string
}

// badWeight returns an error that names the first number in w, rows of keys weights, that
// is no weight: it is not a number, or not in [0, 1].
func (r *Reader) badWeight(w []float32, keys int, place weightPlace) error {
	at := outside(w, maxWeight)
	if r.unchecked || at < 0 {
		return nil
	}
	return fmt.Errorf("%s: prompt %q, layer %d, head %d, %s, key %d: weight %g, want 0 to 1: %w", r.path,
		r.prompts[place.prompt].ID, place.layer, place.head, place.row(at/keys), at%keys, w[at], ErrCorrupt)
}

// checkBlock returns an error if a block of weights holds a number that is no weight.
func (r *Reader) checkBlock(rec *record, x []float32, prompt int, ph Phase) error {
	at := outside(x, maxWeight)
	if r.unchecked || at < 0 {
		return nil
	}
	keys := int(rec.Keys)
	return fmt.Errorf("%s: prompt %q, layer %d, head %d, %s, key %d: weight %g, want 0 to 1: %w", r.path,
		r.prompts[prompt].ID, rec.Layer, rec.Head0, phaseRow(ph, int(rec.Row0)+at/keys), int(rec.Key0)+at%keys, x[at],
		ErrCorrupt)
}

// phaseRow names a row of a phase.
func phaseRow(ph Phase, row int) string { return fmt.Sprintf("%s row %d", ph, row) }
