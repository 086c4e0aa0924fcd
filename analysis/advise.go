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
// nothing is lost. They read a row of MethodColumns.
var losses = []struct {
	name string
	of   func(column func(string) float64) float64
}{
	{"output_error_wo", func(c func(string) float64) float64 { return c("output_error_wo") }},
	{"output_error", func(c func(string) float64) float64 { return c("output_error") }},
	{"lost_mass", func(c func(string) float64) float64 { return c("mass")/c("coverage") - c("mass") }},
	{"lost_coverage", func(c func(string) float64) float64 { return 1 - c("coverage") }},
	{"lost_mass_of_oracle", func(c func(string) float64) float64 { return 1 - c("mass_of_oracle") }},
	{"missed_hits", func(c func(string) float64) float64 { return 1 - c("hit_rate") }},
	{"missed_oracle", func(c func(string) float64) float64 { return 1 - c("recall") }},
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
		if len(c.Fit) != 2 || len(c.ResidualQuantiles) == 0 || !slices.ContainsFunc(losses, func(l struct {
			name string
			of   func(func(string) float64) float64
		},
		) bool {
			return l.name == c.Measure
		}) {
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
		return nil, warnings, false, fmt.Errorf("no calibration fits what the dumps hold: measures %v", measured.Columns)
	}
	type place struct {
		method      string
		layer, head int
	}
	at := func(row []any, name string) any { return row[measured.Column(name)] }
	var order []place
	values := map[place]map[int][]float64{}
	for _, row := range measured.Rows {
		p := place{at(row, "method").(string), at(row, "layer").(int), at(row, "head").(int)}
		if values[p] == nil {
			values[p] = map[int][]float64{}
			order = append(order, p)
		}
		capacity := at(row, "capacity").(int)
		values[p][capacity] = append(values[p][capacity], value(row))
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

// bestCalibration is the first calibration whose measure the table has for
// every row.
func bestCalibration(t *table.Table, cals []Calibration) (*Calibration, func(row []any) float64) {
	for i := range cals {
		for _, l := range losses {
			if l.name != cals[i].Measure {
				continue
			}
			value := func(row []any) float64 {
				return l.of(func(name string) float64 { return row[t.Column(name)].(float64) })
			}
			if !slices.ContainsFunc(t.Rows, func(row []any) bool { return math.IsNaN(value(row)) }) {
				return &cals[i], value
			}
		}
	}
	return nil, nil
}
