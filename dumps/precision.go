package dumps

import (
	"math"
)

// Precision says how far the numbers of a dump are rounded. Each precision promises
// a bound on the error of weights ([Precision.Bound]); all other roundings follow
// from it. The zero value means Fine.
type Precision string

// The precisions of a dump, from the most exact to the smallest file.
const (
	Exact  Precision = "exact"  // float32 throughout
	Fine   Precision = "fine"   // weights within 1e-4 + 5e-4 of the weight
	Coarse Precision = "coarse" // weights within 3e-3
)

// Precisions lists the precisions, from the most exact to the coarsest.
func Precisions() []Precision { return []Precision{Exact, Fine, Coarse} }

// ParsePrecision returns the precision that a word names. Any other word is an
// error that lists the precisions.
func ParsePrecision(word string) (Precision, error) {
	return parseWord("precision", word, Precisions())
}

// float32Bits is the number of mantissa bits of a float32: nothing is rounded.
const float32Bits = 23

// overviewBits is the number of mantissa bits of an overview at every precision.
const overviewBits = 10

// rules holds everything that depends on a precision.
type rules struct {
	bound   string    // the promise in words
	weights *Rounding // of weights in the rows form; nil: they stay float32

	// Mantissa bits of a float32.
	queryBits int
	valueBits int
	sumBits   int // of sums over queries and of logits

	// keyError is the most that rounding keys may move a score; 0: keys are not
	// rounded.
	keyError float64

	// Verify accepts rows of weights whose sum differs from 1 by up to sumTolerance
	// and log-sum-exps that differ from the recomputed ones by up to lseTolerance.
	sumTolerance float64
	lseTolerance float64

	// Size in the file, measured on SmolLM2-135M.
	bitsPerWeight float64
	bitsPerState  float64 // of queries, keys and values
}

var exactRules = rules{
	bound:     "float32; weights within 1e-6",
	queryBits: float32Bits, valueBits: float32Bits, sumBits: float32Bits,
	sumTolerance: 1e-4, lseTolerance: 1e-3,
	bitsPerWeight: 28, bitsPerState: 30,
}

var fineRules = rules{
	bound:     "weights within 1e-4 + 5e-4 of the weight",
	weights:   newRounding(0.95e-4, 4.9e-4, 6),
	queryBits: 20, valueBits: 12, sumBits: 16,
	keyError:     1e-3,
	sumTolerance: 0.03, lseTolerance: 0.02,
	bitsPerWeight: 6.3, bitsPerState: 21,
}

var coarseRules = rules{
	bound:     "weights within 3e-3",
	weights:   newRounding(2.9e-3, 0, 4),
	queryBits: 16, valueBits: 8, sumBits: 16,
	keyError:     8e-3,
	sumTolerance: 0.1, lseTolerance: 0.1,
	bitsPerWeight: 5, bitsPerState: 14,
}

// rules returns the rules of a precision. Readers and writers reject unknown ones.
func (p Precision) rules() *rules {
	switch p {
	case Exact:
		return &exactRules
	case Coarse:
		return &coarseRules
	}
	return &fineRules
}

// Bound states in words the largest error that the precision allows.
func (p Precision) Bound() string { return p.rules().bound }

// Rounding returns how weights of the rows form are rounded, or nil if they stay
// float32.
func (p Precision) Rounding() *Rounding { return p.rules().weights }

// SumBits returns the number of mantissa bits of sums over queries: 16 bits keep a sum
// within 2^-17 of its value, 23 keep the whole float32.
func (p Precision) SumBits() int { return p.rules().sumBits }

// keyBits returns the number of mantissa bits, 10 to 23, that keeps the rounding of keys
// from moving a score by more than the precision allows. A score's error is about
// scale·|q|·|k|·2^-bits/√dim, and a weight moves by at most a quarter of it. maxQ is the
// largest scale·|q| of the layers that read the keys, maxK the length of the longest key
// and dim the number of its elements.
func (p Precision) keyBits(dim int, maxQ, maxK float64) int {
	allowed := p.rules().keyError
	if allowed == 0 {
		return float32Bits
	}
	moved := maxQ * maxK / math.Sqrt(float64(dim))
	bits := int(math.Ceil(math.Log2(moved / allowed)))
	return min(float32Bits, max(10, bits))
}

// Rounding says how weights in [0, 1] become half floats. Indexed by the exponent
// field of the weight as a float32, it holds how many low bits of the float32 are
// rounded off: to the nearest value and, halfway between two, to the even one. Below
// 2^-14, where half floats have a fixed step, a weight becomes the nearest half float.
type Rounding [256]uint8

// newRounding keeps as few mantissa bits as the error allows: absolute plus relative
// times the weight. It never keeps fewer than least bits, so that the order of small
// weights survives.
func newRounding(absolute, relative float64, least int) *Rounding {
	drop := &Rounding{}
	for e := range drop {
		unit := math.Ldexp(1, e-127) // weights in [unit, 2 unit)
		m := 10
		for m > least && unit*math.Ldexp(1, -m) <= absolute+float64(relative*unit) { // error at m-1 bits
			m--
		}
		drop[e] = uint8(13 + 10 - m)
	}
	return drop
}
