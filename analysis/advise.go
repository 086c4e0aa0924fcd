package analysis

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/attnscope/attnscope/analysis/table"
)

// losses are the offline measures that may predict the real loss, each 0 where
// nothing is lost.
var losses = []lossMeasure{
	{"output_error_wo", func(r *MethodRow) float64 { return r.OutputErrorWO }},
	{"output_error", func(r *MethodRow) float64 { return r.OutputError }},
	{"lost_mass", func(r *MethodRow) float64 { return r.Mass/r.Coverage - r.Mass }},
	{"lost_coverage", func(r *MethodRow) float64 { return 1 - r.Coverage }},
	{"lost_mass_of_oracle", func(r *MethodRow) float64 { return 1 - r.MassOfOracle }},
	{"missed_hits", func(r *MethodRow) float64 { return 1 - r.HitRate }},
	{"missed_oracle", func(r *MethodRow) float64 { return 1 - r.Recall }},
}

// lossMeasure is an offline measure and its name in calibrations.
type lossMeasure struct {
	name string
	of   func(r *MethodRow) float64
}

// floor keeps logarithms finite.
const floor = 1e-6

// Calibration says how an offline measure x predicts the mean KL of compressed
// decoding: ln KL = Intercept + Slope ln x, with the residuals' quantiles.
type Calibration struct {
	Measure           string    `json:"measure"`
	Model             string    `json:"model"`
	Spearman          float64   `json:"spearman"`
	SpearmanLow       float64   `json:"spearman_low"`
	SpearmanHigh      float64   `json:"spearman_high"`
	Points            int       `json:"points"`
	Prompts           int       `json:"prompts"`
	Intercept, Slope  float64   `json:"-"`
	Fit               []float64 `json:"fit"` // intercept, slope
	ResidualQuantiles []float64 `json:"residual_quantiles"`
}

//go:embed calibration.json
var shipped []byte

// Shipped are the calibrations made on SmolLM2-135M-Instruct, the best first;
// docs/ADVICE.md tells how.
func Shipped() ([]Calibration, error) { return ParseCalibrations(shipped) }

// ParseCalibrations reads what `attnscope advise --calibrate` writes.
func ParseCalibrations(text []byte) ([]Calibration, error) {
	var list []Calibration
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	for i := range list {
		c := &list[i]
		if len(c.Fit) != 2 || len(c.ResidualQuantiles) == 0 || !slices.ContainsFunc(losses, func(l lossMeasure) bool { return l.name == c.Measure }) {
			return nil, fmt.Errorf("calibration %d (measure %q): want fit [intercept, slope], residual_quantiles and a known measure", i, c.Measure)
		}
		c.Intercept, c.Slope = c.Fit[0], c.Fit[1]
	}
	return list, nil
}

// Predict is the expected KL for a value of the measure.
func (c *Calibration) Predict(x float64) float64 {
	if x <= floor {
		return 0
	}
	smear := 0.0
	for _, r := range c.ResidualQuantiles {
		smear += math.Exp(r)
	}
	return math.Exp(c.Intercept+c.Slope*math.Log(x)) * smear / float64(len(c.ResidualQuantiles))
}

// interval is the 95 % range of the mean KL over prompts with values x, each
// with a residual drawn from the calibration's.
func (c *Calibration) interval(x []float64, seed uint64) (lo, hi float64) {
	r := rand.New(rand.NewPCG(seed, 0xadc1))
	means := make([]float64, Resamples)
	for i := range means {
		for range x {
			v := x[r.IntN(len(x))]
			if v > floor {
				means[i] += math.Exp(c.Intercept+c.Slope*math.Log(v)+c.ResidualQuantiles[r.IntN(len(c.ResidualQuantiles))]) / float64(len(x))
			}
		}
	}
	slices.Sort(means)
	return means[int(0.025*Resamples)], means[int(0.975*Resamples)-1]
}

// AdviceColumns are the columns of Advise; by layer or head they follow those
// keys.
var AdviceColumns = []string{"method", "capacity", "budget", "predicted", "low", "high", "evidence"}

// Advise names, for each method, the smallest capacity of cfg.Configs whose
// predicted mean KL per reply token stays under loss. By "layer" or "head" it
// names the smallest capacity of each whose own measure stays under the value
// that predicts the bound. found is false where no method keeps it.
func Advise(ctx context.Context, paths []string, cfg MethodConfig, cals []Calibration, loss float64, by string) (t *table.Table, warnings []Warning, found bool, err error) {
	keys := []By{ByPrompt}
	columns := AdviceColumns
	if by != "" {
		keys, columns = []By{ByPrompt, ByLayer}, slices.Concat([]string{"layer"}, AdviceColumns)
	}
	if by == "head" {
		keys, columns = []By{ByPrompt, ByLayer, ByHead}, slices.Concat([]string{"layer", "head"}, AdviceColumns)
	}
	cfg.By = keys
	measured, warnings, err := Methods(ctx, paths, cfg)
	if err != nil {
		return nil, warnings, false, err
	}
	cal, value := bestCalibration(measured, cals)
	if cal == nil {
		return nil, warnings, false, fmt.Errorf("no calibration fits what the dumps hold: measures %v", slices.Concat(KeyColumns, MethodColumns))
	}
	type place struct {
		method      string
		layer, head int
	}
	var order []place
	values := map[place]map[int][]float64{}
	for i := range measured {
		row := &measured[i]
		p := place{row.Method, row.Layer, row.Head}
		if values[p] == nil {
			values[p] = map[int][]float64{}
			order = append(order, p)
		}
		values[p][row.Capacity] = append(values[p][row.Capacity], value(row))
	}
	slices.SortStableFunc(order, func(a, b place) int {
		return slices.Index(methodOrder(cfg), a.method) - slices.Index(methodOrder(cfg), b.method)
	})
	t = table.New(columns...)
	window := cfg.Configs[0].Window
	for _, p := range order {
		var capacities []int
		for c := range values[p] {
			capacities = append(capacities, c)
		}
		slices.Sort(capacities)
		capacity, predicted := -1, math.NaN()
		for _, c := range capacities {
			sum := 0.0
			for _, x := range values[p][c] {
				sum += cal.Predict(x) / float64(len(values[p][c]))
			}
			if sum <= loss {
				capacity, predicted = c, sum
				break
			}
		}
		var keys []any
		if by != "" {
			keys = append(keys, p.layer)
		}
		if by == "head" {
			keys = append(keys, p.head)
		}
		if capacity < 0 {
			last := capacities[len(capacities)-1]
			t.Add(append(keys, p.method, -1, -1, math.NaN(), math.NaN(), math.NaN(), fmt.Sprintf("above the bound up to capacity %d", last))...)
			continue
		}
		found = true
		lo, hi := cal.interval(values[p][capacity], cfg.Seed)
		t.Add(append(keys, p.method, capacity, capacity-window, predicted, lo, hi,
			fmt.Sprintf("%s %.4g; Spearman %.2f [%.2f, %.2f] with KL on %s, %d points", cal.Measure, Mean(values[p][capacity]), cal.Spearman, cal.SpearmanLow, cal.SpearmanHigh, cal.Model, cal.Points))...)
	}
	return t, warnings, found, nil
}

func methodOrder(cfg MethodConfig) []string {
	var names []string
	for _, m := range cfg.Methods {
		names = append(names, m.Name)
	}
	return names
}

// bestCalibration returns the first calibration whose measure is defined for every
// row, and that measure; nil if there is none.
func bestCalibration(rows []MethodRow, cals []Calibration) (*Calibration, func(r *MethodRow) float64) {
	for i := range cals {
		for _, l := range losses {
			if l.name != cals[i].Measure {
				continue
			}
			if !slices.ContainsFunc(rows, func(r MethodRow) bool { return math.IsNaN(l.of(&r)) }) {
				return &cals[i], l.of
			}
		}
	}
	return nil, nil
}
