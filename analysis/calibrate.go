package analysis

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/attnscope/attnscope/snapkv"
)

// Real is the measured loss of compressed decoding: one line of `attnscope generate`.
type Real struct {
	ID       string         `json:"id"`
	Method   string         `json:"method"`
	Capacity int            `json:"capacity"`
	Window   int            `json:"window"`
	Kernel   int            `json:"kernel"`
	Pooling  snapkv.Pooling `json:"pooling"`
	Group    snapkv.Group   `json:"group"`
	KL       float64        `json:"kl"`
}

// key returns r without its KL: it identifies the cache of a prompt.
func (r Real) key() Real {
	r.KL = 0
	return r
}

// Point is one prompt decoded from one compressed cache.
type Point struct {
	Prompt, Method string
	Capacity       int
	X              float64 // the offline measure
	KL             float64 // the real loss, nats per reply token
}

// CalibrationResult holds the calibrations that [Calibrate] made, the best first.
type CalibrationResult struct {
	Calibrations []Calibration
	Points       [][]Point // to which each calibration was fitted
	Warnings     []Warning
}

// leastPoints is the smallest number of points with which a measure is calibrated.
const leastPoints = 10

// Calibrate joins the offline measures of dumps with the real losses on the same
// prompts, and orders the measures by their rank correlation with the KL, the best
// first. Intervals are bootstrapped over prompts. Bounds such as oracle and full are
// left out because they predict nothing. With fewer than ten points in common,
// Calibrate returns an error; warnings are set even then.
func Calibrate(ctx context.Context, paths []string, cfg MethodConfig, real []Real) (*CalibrationResult, error) {
	cfg.By = []By{ByPrompt}
	cfg.Lenient = true
	cfg.Methods = slices.DeleteFunc(slices.Clone(cfg.Methods), func(m snapkv.Method) bool { return m.Role == snapkv.Bound })
	rows, warnings, err := Methods(ctx, paths, cfg)
	result := &CalibrationResult{Warnings: warnings}
	if err != nil {
		return result, err
	}
	kl := map[Real]float64{}
	for _, r := range real {
		kl[r.key()] = r.KL
	}
	type fitted struct {
		calibration Calibration
		points      []Point
	}
	var list []fitted
	for _, m := range lossMeasures {
		points, model := pointsOf(rows, m, kl)
		if len(points) < leastPoints {
			continue
		}
		c := fit(points)
		c.Measure = m.name
		c.Model = model
		c.SpearmanLow, c.SpearmanHigh = spearmanInterval(points, cfg.Seed)
		list = append(list, fitted{c, points})
	}
	if len(list) == 0 {
		return result, errors.New("the dumps and the lines of generate have fewer than ten prompts, methods and capacities" +
			" in common: use the same prompts, flags and --max-new-tokens for both")
	}
	slices.SortStableFunc(list, func(a, b fitted) int { // an undefined correlation stays in its place
		switch {
		case a.calibration.Spearman > b.calibration.Spearman:
			return -1
		case a.calibration.Spearman < b.calibration.Spearman:
			return 1
		}
		return 0
	})
	for _, f := range list {
		result.Calibrations = append(result.Calibrations, f.calibration)
		result.Points = append(result.Points, f.points)
	}
	return result, nil
}

// pointsOf pairs a measure of the rows with their KL if both are defined and the KL is
// positive. It also returns the model of the last point.
func pointsOf(rows []MethodRow, m lossMeasure, kl map[Real]float64) (points []Point, model string) {
	for i := range rows {
		row := &rows[i]
		v, ok := kl[Real{
			ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
			Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
		}]
		x := m.of(row)
		if ok && v > 0 && !math.IsNaN(x) {
			points = append(points, Point{row.Prompt, row.Method, row.Capacity, x, v})
			model = row.Model
		}
	}
	return points, model
}

// residualQuantiles is the number of quantiles of the residuals that a calibration
// keeps.
const residualQuantiles = 41

// fit returns the least-squares line through the logarithms of measure and KL.
func fit(list []Point) Calibration {
	var xs, ys []float64
	prompts := map[string]bool{}
	for _, p := range list {
		xs = append(xs, math.Log(max(p.X, floor)))
		ys = append(ys, math.Log(max(p.KL, floor)))
		prompts[p.Prompt] = true
	}
	mx := Mean(xs)
	my := Mean(ys)
	sxy := 0.0
	sxx := 0.0
	for i := range xs {
		sxy += (xs[i] - mx) * (ys[i] - my)
		sxx += (xs[i] - mx) * (xs[i] - mx)
	}
	c := Calibration{Points: len(list), Prompts: len(prompts), Spearman: spearman(list)}
	if sxx > 0 {
		c.Slope = sxy / sxx
	}
	c.Intercept = my - c.Slope*mx
	c.Fit = []float64{c.Intercept, c.Slope}
	residuals := make([]float64, len(xs))
	for i := range xs {
		residuals[i] = ys[i] - c.Intercept - c.Slope*xs[i]
	}
	slices.Sort(residuals)
	for i := range residualQuantiles {
		q := residuals[int((float64(i)+0.5)/residualQuantiles*float64(len(residuals)))]
		c.ResidualQuantiles = append(c.ResidualQuantiles, math.Round(q*1e4)/1e4)
	}
	return c
}
