package analysis

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/internal/jsonerr"
)

// lossMeasure is an offline measure that may predict the real loss. It is 0 if nothing
// is lost.
type lossMeasure struct {
	name    string // in calibrations
	of      func(r *MethodRow) float64
	oracle  bool // needs the comparison with the best selection
	outputs bool // needs the outputs of the heads
}

var lossMeasures = []lossMeasure{
	{name: "output_error_wo", of: func(r *MethodRow) float64 { return r.OutputErrorWO }, outputs: true},
	{name: "output_error", of: func(r *MethodRow) float64 { return r.OutputError }, outputs: true},
	{name: "lost_mass", of: func(r *MethodRow) float64 { return r.Mass/r.Coverage - r.Mass }},
	{name: "lost_coverage", of: func(r *MethodRow) float64 { return 1 - r.Coverage }},
	{name: "lost_mass_of_oracle", of: func(r *MethodRow) float64 { return 1 - r.MassOfOracle }, oracle: true},
	{name: "missed_hits", of: func(r *MethodRow) float64 { return 1 - r.HitRate }},
	{name: "missed_oracle", of: func(r *MethodRow) float64 { return 1 - r.Recall }, oracle: true},
}

// findLossMeasure returns the measure with the given name.
func findLossMeasure(name string) (m lossMeasure, ok bool) {
	i := slices.IndexFunc(lossMeasures, func(m lossMeasure) bool { return m.name == name })
	if i < 0 {
		return lossMeasure{}, false
	}
	return lossMeasures[i], true
}

// Calibration says how an offline measure x predicts a loss of compressed decoding:
// ln loss = Intercept + Slope ln x, plus one of the residuals.
type Calibration struct {
	Loss              Loss      `json:"loss"` // "" is LossKL
	Measure           string    `json:"measure"`
	Model             string    `json:"model"`         // on which the losses were measured; several are separated by commas
	Spearman          float64   `json:"spearman"`      // rank correlation of measure and loss
	SpearmanLow       float64   `json:"spearman_low"`  // 95 % bootstrap interval over prompts
	SpearmanHigh      float64   `json:"spearman_high"` //
	Points            int       `json:"points"`        // pairs of measure and loss
	Prompts           int       `json:"prompts"`
	Least             float64   `json:"least"` // smaller measures are raised to it
	Intercept, Slope  float64   `json:"-"`
	Fit               []float64 `json:"fit"` // intercept, slope
	ResidualQuantiles []float64 `json:"residual_quantiles"`
}

var (
	//go:embed calibration.json
	shipped []byte
	//go:embed calibration-kv-head.json
	shippedKVHead []byte
)

// Shipped returns the calibrations that ship, for each loss the best first: those made with
// selection by query head, or those with selection by kv head. docs/ADVICE.md says how they
// were made.
func Shipped(byKVHead bool) ([]Calibration, error) {
	if byKVHead {
		return ParseCalibrations(shippedKVHead)
	}
	return ParseCalibrations(shipped)
}

// ParseCalibrations reads what `attnscope advise --calibrate --save` writes.
func ParseCalibrations(text []byte) ([]Calibration, error) {
	var list []Calibration
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, jsonerr.Plain(text, err)
	}
	for i := range list {
		c := &list[i]
		if c.Loss == "" {
			c.Loss = LossKL
		}
		_, known := findLossMeasure(c.Measure)
		if len(c.Fit) != 2 || len(c.ResidualQuantiles) == 0 || !known || !c.Loss.known() {
			return nil, fmt.Errorf(
				"calibration %d (loss %q, measure %q): want fit [intercept, slope], residual_quantiles, a known loss and a known measure",
				i, string(c.Loss), c.Measure)
		}
		c.Intercept = c.Fit[0]
		c.Slope = c.Fit[1]
		c.Least = max(c.Least, smallestMeasure)
	}
	return list, nil
}

// smallestMeasure keeps logarithms finite.
const smallestMeasure = 1e-6

// String returns the measure with its rank correlation, in one line.
func (c *Calibration) String() string {
	return fmt.Sprintf("%s: Spearman %.3f [%.3f, %.3f]", c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh)
}

// Predict returns the expected loss for a value x of the measure: the mean over the
// residuals of exp(Intercept + Slope ln x + residual).
func (c *Calibration) Predict(x float64) float64 { return c.predict([]float64{x}, 1, 0.5).mean }

// prediction describes the loss of a prompt that is drawn at random from some prompts.
type prediction struct {
	mean      float64
	low, high float64 // the loss is lower or higher with the probability risk each
}

// predict predicts the loss from the measures x of the prompts that lose anything, out
// of n prompts. Each prompt's loss is spread like the residuals of the calibration.
func (c *Calibration) predict(x []float64, n int, risk float64) prediction {
	residuals := len(c.ResidualQuantiles)
	values := make([]float64, (n-len(x))*residuals, n*residuals) // the others lose nothing
	sum := 0.0
	for _, v := range x {
		center := c.Intercept + float64(c.Slope*math.Log(max(v, c.Least)))
		for _, r := range c.ResidualQuantiles {
			loss := math.Exp(center + r)
			if c.Loss == LossAgreement {
				loss = min(loss, 1)
			}
			values = append(values, loss)
			sum += loss
		}
	}
	slices.Sort(values)
	last := len(values) - 1
	above := int(risk * float64(len(values))) // values that may exceed the bound
	return prediction{
		mean: sum / float64(len(values)),
		low:  values[min(above, last)],
		high: values[max(last-above, 0)],
	}
}
