package analysis

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/snapkv"
)

// Real is the measured loss of compressed decoding: one line of `attnscope generate`.
type Real struct {
	Model    string         `json:"model"`
	ID       string         `json:"id"`
	Method   string         `json:"method"`
	Capacity int            `json:"capacity"`
	Window   int            `json:"window"`
	Kernel   int            `json:"kernel"`
	Pooling  snapkv.Pooling `json:"pooling"`
	Group    snapkv.Group   `json:"group"`
	KL       Measured       `json:"kl"`
	PPL      Measured       `json:"ppl"`
	// Agreement is the share of the reply's tokens for which the most probable token is
	// that of the full cache.
	Agreement Measured `json:"agreement"`
}

// Measured is a number of a result. It is NaN if the result lacks it or has null.
type Measured float64

// UnmarshalJSON reads null as NaN.
func (m *Measured) UnmarshalJSON(text []byte) error {
	v := math.NaN()
	if string(text) != "null" {
		if err := json.Unmarshal(text, &v); err != nil {
			return err
		}
	}
	*m = Measured(v)
	return nil
}

// UnmarshalJSON sets the measures that the text lacks to NaN.
func (r *Real) UnmarshalJSON(text []byte) error {
	type plain Real
	nan := Measured(math.NaN())
	line := plain{KL: nan, PPL: nan, Agreement: nan}
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	*r = Real(line)
	return nil
}

// key returns r without its measures: it identifies the cache of a prompt.
func (r Real) key() Real {
	r.KL = 0
	r.PPL = 0
	r.Agreement = 0
	return r
}

// Point is one prompt decoded from one compressed cache.
type Point struct {
	Prompt, Method string // the prompt's name begins with its model's if the dumps have several
	Capacity       int
	X              float64 // the offline measure
	Y              float64 // the real loss
}

// CalibrationResult holds the calibrations that [Calibrate] made: for each loss, the
// best first.
type CalibrationResult struct {
	Calibrations []Calibration
	Points       [][]Point // to which each calibration was fitted
	Warnings     []Warning
}

// leastPoints is the smallest number of points with which a measure is calibrated.
const leastPoints = 10

// Calibrate joins the offline measures of dumps with the real losses on the same
// prompts, and of the same models if the dumps have several. For each way to state the
// loss, it orders the measures by their rank correlation with it, the best first. Intervals
// are bootstrapped over prompts. Bounds such as oracle and full are left out because they
// predict nothing. With fewer than ten points in common, Calibrate returns an error;
// warnings are set even then.
func Calibrate(ctx context.Context, paths []string, cfg MethodConfig, real []Real) (*CalibrationResult, error) {
	cfg.By = []By{ByPrompt}
	cfg.Lenient = true
	cfg.Methods = slices.DeleteFunc(slices.Clone(cfg.Methods), func(m snapkv.Method) bool { return m.Role == snapkv.Bound })
	rows, warnings, err := Methods(ctx, paths, cfg)
	result := &CalibrationResult{Warnings: warnings}
	if err != nil {
		return result, err
	}
	models := modelsOf(rows)
	if len(models) > 1 {
		at := slices.IndexFunc(real, func(r Real) bool { return r.Model == "" })
		if at >= 0 {
			return result, fmt.Errorf("the dumps have %d models (%s), and line %d of generate names none: add its model, or calibrate each model alone",
				len(models), strings.Join(models, ", "), at+1)
		}
	} else { // it may have different names in the dumps and in the lines
		real = slices.Clone(real)
		for i := range real {
			real[i].Model = ""
		}
		for i := range rows {
			rows[i].Model = ""
		}
	}
	for _, loss := range losses {
		result.fit(loss, rows, lossesOf(loss, real), cfg.Seed)
	}
	for i := range result.Calibrations {
		result.Calibrations[i].Model = strings.Join(models, ", ")
	}
	if len(result.Calibrations) == 0 {
		return result, errors.New("the dumps and the lines of generate have fewer than ten prompts, methods and capacities" +
			" in common: use the same prompts, flags and --max-new-tokens for both")
	}
	return result, nil
}

// modelsOf lists the models of rows.
func modelsOf(rows []MethodRow) []string {
	var list []string
	for i := range rows {
		if !slices.Contains(list, rows[i].Model) {
			list = append(list, rows[i].Model)
		}
	}
	return list
}

// lossesOf computes the loss of each compressed cache.
func lossesOf(loss Loss, real []Real) map[Real]float64 {
	type prompt struct{ model, id string }
	full := map[prompt]float64{} // perplexity of the full cache
	for i := range real {
		if real[i].Method == snapkv.Full {
			full[prompt{real[i].Model, real[i].ID}] = float64(real[i].PPL)
		}
	}
	list := map[Real]float64{}
	for i := range real {
		base, ok := full[prompt{real[i].Model, real[i].ID}]
		if !ok {
			base = math.NaN()
		}
		list[real[i].key()] = loss.of(&real[i], base)
	}
	return list
}

// fit adds the calibrations of all measures for one loss, the best first.
func (r *CalibrationResult) fit(loss Loss, rows []MethodRow, real map[Real]float64, seed uint64) {
	type fitted struct {
		calibration Calibration
		points      []Point
	}
	var list []fitted
	for _, m := range lossMeasures {
		points := pointsOf(rows, m, real)
		if len(points) < leastPoints {
			continue
		}
		c := fit(loss, points)
		c.Measure = m.name
		c.SpearmanLow, c.SpearmanHigh = spearmanInterval(points, seed)
		list = append(list, fitted{c, points})
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
		r.Calibrations = append(r.Calibrations, f.calibration)
		r.Points = append(r.Points, f.points)
	}
}

// pointsOf pairs a measure of the rows with their loss if both are defined and
// something is dropped.
func pointsOf(rows []MethodRow, m lossMeasure, real map[Real]float64) []Point {
	var points []Point
	for i := range rows {
		row := &rows[i]
		y, ok := real[Real{
			Model: row.Model, ID: row.Prompt, Method: row.Method, Capacity: row.Capacity, Window: row.Window,
			Kernel: row.Kernel, Pooling: row.Pooling, Group: row.Group,
		}]
		x := m.of(row)
		if ok && float64(row.Capacity) < row.PromptTokens && !math.IsNaN(y) && !math.IsNaN(x) {
			prompt := strings.TrimPrefix(row.Model+" "+row.Prompt, " ")
			points = append(points, Point{prompt, row.Method, row.Capacity, x, y})
		}
	}
	return points
}

// residualQuantiles is the number of quantiles of the residuals that a calibration
// keeps.
const residualQuantiles = 41

// fit returns the least-squares line through the logarithms of measure and loss.
// Points whose measure is below Least count only for the residuals.
func fit(loss Loss, list []Point) Calibration {
	c := Calibration{Loss: loss, Points: len(list), Spearman: spearman(list)}
	c.Least = leastMeasure(list)
	var xs, ys []float64 // of the points that the line is fitted to
	prompts := map[string]bool{}
	for _, p := range list {
		prompts[p.Prompt] = true
		if p.X >= c.Least {
			xs = append(xs, math.Log(p.X))
			ys = append(ys, math.Log(max(p.Y, loss.least())))
		}
	}
	c.Prompts = len(prompts)
	mx := Mean(xs)
	my := Mean(ys)
	sxy := 0.0
	sxx := 0.0
	for i := range xs {
		sxy += float64((xs[i] - mx) * (ys[i] - my))
		sxx += float64((xs[i] - mx) * (xs[i] - mx))
	}
	if sxx > 0 {
		c.Slope = sxy / sxx
	}
	c.Intercept = my - float64(c.Slope*mx)
	c.Fit = []float64{c.Intercept, c.Slope}
	residuals := make([]float64, len(list))
	for i, p := range list {
		residuals[i] = math.Log(max(p.Y, loss.least())) - c.Intercept - float64(c.Slope*math.Log(max(p.X, c.Least)))
	}
	slices.Sort(residuals)
	for i := range residualQuantiles {
		q := residuals[int((float64(i)+0.5)/residualQuantiles*float64(len(residuals)))]
		c.ResidualQuantiles = append(c.ResidualQuantiles, math.Round(q*1e4)/1e4)
	}
	return c
}

// measureNoise is the size of measures that are nothing but rounding: dumps keep weights
// within 1e-4.
const measureNoise = 1e-4

// leastMeasure returns the value that 2 % of the measures above the noise are below. There
// is too little data to tell smaller values apart.
func leastMeasure(list []Point) float64 {
	var above []float64
	for _, p := range list {
		if p.X > measureNoise {
			above = append(above, p.X)
		}
	}
	if len(above) == 0 {
		return smallestMeasure
	}
	slices.Sort(above)
	return above[len(above)/50]
}
