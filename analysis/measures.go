package analysis

import "math"

// tally sums numbers about the selections of several heads, layers and reply spans of
// one prompt. docs/MEASURES.md has the formulas of the measures computed from it.
type tally struct {
	cells       int     // number of heads, over layers and spans, that were added up
	mass        float64 // weight of a mean reply row on the kept positions of the prefix
	best        float64 // the same for the best selection of the same size
	prefix      float64 // the same for the whole prefix
	hits        int     // significant positions that are kept
	significant int
	recall      float64
	jaccard     float64
	error       float64 // relative error of the head's output, mean over rows
	errorWO     float64 // relative error after the output projection
	bytes       float64 // of kept keys and values
	full        float64 // bytes of the full cache's keys and values
	kept        float64 // share of the prompt's positions that are kept
	sink        float64 // share of learned sinks in a mean reply row
	sinks       int     // cells of heads with learned sinks
	cache       float64 // weight of a mean reply row on all positions that are still in the cache; only of a replay
}

func (t *tally) add(o tally) {
	t.cells += o.cells
	t.mass += o.mass
	t.best += o.best
	t.prefix += o.prefix
	t.hits += o.hits
	t.significant += o.significant
	t.recall += o.recall
	t.jaccard += o.jaccard
	t.error += o.error
	t.errorWO += o.errorWO
	t.bytes += o.bytes
	t.full += o.full
	t.kept += o.kept
	t.sink += o.sink
	t.sinks += o.sinks
	t.cache += o.cache
}

// measures holds the numbers of one prompt behind a [MethodRow]. The bytes are a sum
// over cells; the others are ratios of sums or means over cells.
type measures struct {
	mass          float64
	massOfOracle  float64
	hitRate       float64
	recall        float64
	jaccard       float64
	coverage      float64
	outputError   float64
	outputErrorWO float64
	cacheBytes    float64
	kept          float64
	sink          float64
	cacheMass     float64
}

func (t *tally) measures() measures {
	n := float64(t.cells)
	return measures{
		mass:          t.mass / n,
		massOfOracle:  ratio(t.mass, t.best),
		hitRate:       ratio(float64(t.hits), float64(t.significant)),
		recall:        t.recall / n,
		jaccard:       t.jaccard / n,
		coverage:      ratio(t.mass, t.prefix),
		outputError:   t.error / n,
		outputErrorWO: t.errorWO / n,
		cacheBytes:    t.bytes,
		kept:          t.kept / n,
		sink:          ratio(t.sink, float64(t.sinks)),
		cacheMass:     t.cache / n,
	}
}

// ratio returns a/b, or NaN if b is 0.
func ratio(a, b float64) float64 {
	if b == 0 {
		return math.NaN()
	}
	return a / b
}
