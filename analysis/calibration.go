package analysis

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// lossMeasure is an offline measure that may predict the real loss. It is 0 if nothing
// is lost.
type lossMeasure struct {
	name string // in calibrations
	of   func(r *MethodRow) float64
}

var lossMeasures = []lossMeasure{
	{"output_error_wo", func(r *MethodRow) float64 { return r.OutputErrorWO }},
	{"output_error", func(r *MethodRow) float64 { return r.OutputError }},
	{"lost_mass", func(r *MethodRow) float64 { return r.Mass/r.Coverage - r.Mass }},
	{"lost_coverage", func(r *MethodRow) float64 { return 1 - r.Coverage }},
	{"lost_mass_of_oracle", func(r *MethodRow) float64 { return 1 - r.MassOfOracle }},
	{"missed_hits", func(r *MethodRow) float64 { return 1 - r.HitRate }},
	{"missed_oracle", func(r *MethodRow) float64 { return 1 - r.Recall }},
}

// findLossMeasure returns the measure with the given name.
func findLossMeasure(name string) (m lossMeasure, ok bool) {
	i := slices.IndexFunc(lossMeasures, func(m lossMeasure) bool { return m.name == name })
	if i < 0 {
		return lossMeasure{}, false
	}
	return lossMeasures[i], true
}

// floor keeps logarithms finite: smaller measures and losses are raised to it.
const floor = 1e-6

// Calibration says how an offline measure x predicts the mean KL of compressed
// decoding, in nats per reply token: ln KL = Intercept + Slope ln x, plus one of the
// residuals.
type Calibration struct {
	Measure           string    `json:"measure"`
	Model             string    `json:"model"`         // on which the losses were measured
	Spearman          float64   `json:"spearman"`      // rank correlation of measure and KL
	SpearmanLow       float64   `json:"spearman_low"`  // 95 % bootstrap interval over prompts
	SpearmanHigh      float64   `json:"spearman_high"` //
	Points            int       `json:"points"`        // pairs of measure and KL
	Prompts           int       `json:"prompts"`
	Intercept, Slope  float64   `json:"-"`
	Fit               []float64 `json:"fit"` // intercept, slope
	ResidualQuantiles []float64 `json:"residual_quantiles"`
}

//go:embed calibration.json
var shipped []byte

// Shipped returns the calibrations made on SmolLM2-135M-Instruct, the best first.
// docs/ADVICE.md says how they were made.
func Shipped() ([]Calibration, error) { return ParseCalibrations(shipped) }

// ParseCalibrations reads what `attnscope advise --calibrate --save` writes.
func ParseCalibrations(text []byte) ([]Calibration, error) {
	var list []Calibration
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	for i := range list {
		c := &list[i]
		_, known := findLossMeasure(c.Measure)
		if len(c.Fit) != 2 || len(c.ResidualQuantiles) == 0 || !known {
			return nil, fmt.Errorf(
				"calibration %d (measure %q): want fit [intercept, slope], residual_quantiles and a known measure",
				i, c.Measure)
		}
		c.Intercept = c.Fit[0]
		c.Slope = c.Fit[1]
	}
	return list, nil
}

// String returns the measure with its rank correlation, in one line.
func (c *Calibration) String() string {
	return fmt.Sprintf("%s: Spearman %.3f [%.3f, %.3f]", c.Measure, c.Spearman, c.SpearmanLow, c.SpearmanHigh)
}

// Predict returns the expected KL for a value x of the measure: the mean over the
// residuals of exp(Intercept + Slope ln x + residual).
func (c *Calibration) Predict(x float64) float64 {
	if x <= floor {
		return 0
	}
	sum := 0.0
	for _, r := range c.ResidualQuantiles {
		sum += math.Exp(r)
	}
	return math.Exp(c.Intercept+c.Slope*math.Log(x)) * sum / float64(len(c.ResidualQuantiles))
}

// interval returns the 95 % interval of the mean KL over prompts whose measures are x.
// Prompts are drawn with replacement, each with a residual drawn from the residuals of
// the calibration.
func (c *Calibration) interval(x []float64, seed uint64) (lo, hi float64) {
	r := rand.New(rand.NewPCG(seed, 0xadc1))
	means := make([]float64, resamples)
	for i := range means {
		for range x {
			v := x[r.IntN(len(x))]
			if v > floor {
				residual := c.ResidualQuantiles[r.IntN(len(c.ResidualQuantiles))]
				means[i] += math.Exp(c.Intercept+c.Slope*math.Log(v)+residual) / float64(len(x))
			}
		}
	}
	slices.Sort(means)
	return means[int(0.025*resamples)], means[int(0.975*resamples)-1]
}
