package viz

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
)

// evenTicks divides [lo, hi] into four to nine steps of 1, 2 or 5 times a power of
// ten.
func evenTicks(lo, hi float64) plot.ConstantTicks {
	unit := math.Pow(10, math.Floor(math.Log10(hi-lo))-1)
	step := unit
	for _, m := range []float64{1, 2, 5, 10, 20, 50} {
		if step = m * unit; (hi-lo)/step <= 9 {
			break
		}
	}
	var ticks []plot.Tick
	for n := math.Ceil(lo/step - 1e-9); n*step <= hi+1e-9*step; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: shortNumber(n * step)})
	}
	return ticks
}

// decadeTicks returns 1, 2 and 5 times the powers of ten in [lo, hi].
func decadeTicks(lo, hi float64) plot.ConstantTicks {
	var ticks []plot.Tick
	for e := math.Floor(math.Log10(lo)); e <= math.Log10(hi); e++ {
		for _, m := range []float64{1, 2, 5} {
			if v := m * math.Pow(10, e); v >= lo*(1-1e-9) && v <= hi*(1+1e-9) {
				ticks = append(ticks, plot.Tick{Value: v, Label: shortNumber(v)})
			}
		}
	}
	return ticks
}

// wholeTicks labels whole numbers, at most about fifteen of them.
func wholeTicks(lo, hi float64) plot.ConstantTicks {
	step := 1.0
	for _, s := range []float64{1, 2, 5, 10, 20, 50, 100, 1000} {
		if step = s; (hi-lo)/s <= 15 {
			break
		}
	}
	var ticks []plot.Tick
	for x := math.Ceil(lo/step) * step; x <= hi; x += step {
		ticks = append(ticks, plot.Tick{Value: x, Label: plainNumber(x)})
	}
	return ticks
}

// plainNumber writes a number without an exponent.
func plainNumber(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }

// shortNumber writes a number with at most six digits, which hides rounding errors.
func shortNumber(v float64) string {
	short, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 6, 64), 64)
	return plainNumber(short + 0) // adding 0 turns -0 into 0
}
