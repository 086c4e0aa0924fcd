package analysis

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/attnscope/attnscope/analysis/table"
)

// Advice says how much of the cache each method needs.
type Advice struct {
	// By is "" if rows are about whole caches, and ByLayer or ByHead if each layer or
	// head has its own rows.
	By          By
	Calibration *Calibration // from which the predictions are computed
	Rows        []AdviceRow
	Warnings    []Warning
}

// AdviceRow is the smallest capacity at which a method keeps the bound.
type AdviceRow struct {
	Layer, Head int // -1 for all
	Method      string
	Capacity    int     // positions per head, the window included; -1 if none keeps the bound
	Budget      int     // capacity - window; -1 if none keeps the bound
	Predicted   float64 // mean KL, nats per reply token; NaN if none keeps the bound
	Low, High   float64 // 95 % interval of Predicted
	Measured    float64 // mean over prompts of the calibration's measure
	Largest     int     // largest capacity that was tried
}

// adviceColumns lists the columns of Advice.Table after the key columns.
var adviceColumns = []string{"method", "capacity", "budget", "predicted", "low", "high", "evidence"}

// Advise finds, for each method, the smallest capacity of cfg.Configs whose predicted
// mean KL per reply token is at most loss. By layer or head, it finds the smallest
// capacity at which the prediction from the measure of that layer or head alone is at
// most loss. It uses the first calibration whose measure is defined for every row of
// [Methods] and returns an error if there is none. Warnings are set even then.
func Advise(ctx context.Context, paths []string, cfg MethodConfig, cals []Calibration, loss float64, by By) (*Advice, error) {
	cfg.By = []By{ByPrompt}
	switch by {
	case ByLayer:
		cfg.By = []By{ByPrompt, ByLayer}
	case ByHead:
		cfg.By = []By{ByPrompt, ByLayer, ByHead}
	case "":
	default:
		return &Advice{}, fmt.Errorf("by %q: want layer or head", string(by))
	}
	measured, warnings, err := Methods(ctx, paths, cfg)
	advice := &Advice{By: by, Warnings: warnings}
	if err != nil {
		return advice, err
	}
	var measure lossMeasure
	if advice.Calibration, measure = bestCalibration(measured, cals); advice.Calibration == nil {
		return advice, noCalibration(cals)
	}
	type candidate struct {
		method      string
		layer, head int
	}
	var order []candidate
	values := map[candidate]map[int][]float64{} // by capacity, of each prompt
	for i := range measured {
		row := &measured[i]
		at := candidate{row.Method, row.Layer, row.Head}
		if values[at] == nil {
			values[at] = map[int][]float64{}
			order = append(order, at)
		}
		values[at][row.Capacity] = append(values[at][row.Capacity], measure.of(row))
	}
	rank := map[string]int{}
	for i, m := range cfg.Methods {
		rank[m.Name] = i
	}
	slices.SortStableFunc(order, func(a, b candidate) int { return rank[a.method] - rank[b.method] })
	for _, at := range order {
		row := smallestCapacity(advice.Calibration, values[at], loss, cfg.Seed)
		row.Layer = at.layer
		row.Head = at.head
		row.Method = at.method
		if row.Capacity >= 0 {
			row.Budget = row.Capacity - cfg.Configs[0].Window
		}
		advice.Rows = append(advice.Rows, row)
	}
	return advice, nil
}

// smallestCapacity finds the smallest capacity that keeps the bound; values holds the
// measures of all prompts by capacity.
func smallestCapacity(c *Calibration, values map[int][]float64, loss float64, seed uint64) AdviceRow {
	var capacities []int
	for capacity := range values {
		capacities = append(capacities, capacity)
	}
	slices.Sort(capacities)
	row := AdviceRow{
		Capacity:  -1,
		Budget:    -1,
		Predicted: math.NaN(),
		Low:       math.NaN(),
		High:      math.NaN(),
		Measured:  math.NaN(),
		Largest:   capacities[len(capacities)-1],
	}
	for _, capacity := range capacities {
		x := values[capacity]
		predicted := 0.0
		for _, v := range x {
			predicted += c.Predict(v) / float64(len(x))
		}
		if predicted <= loss {
			row.Capacity = capacity
			row.Predicted = predicted
			row.Low, row.High = c.interval(x, seed)
			row.Measured = Mean(x)
			break
		}
	}
	return row
}

// bestCalibration returns the first calibration whose measure is defined for every
// row, and that measure. If there is none, the calibration is nil.
func bestCalibration(rows []MethodRow, cals []Calibration) (*Calibration, lossMeasure) {
	for i := range cals {
		m, ok := findLossMeasure(cals[i].Measure)
		if ok && !slices.ContainsFunc(rows, func(r MethodRow) bool { return math.IsNaN(m.of(&r)) }) {
			return &cals[i], m
		}
	}
	return nil, lossMeasure{}
}

func noCalibration(cals []Calibration) error {
	var names []string
	for i := range cals {
		names = append(names, cals[i].Measure)
	}
	return fmt.Errorf("no calibration fits the dumps: none of its measures (%s) is defined for all methods and prompts",
		strings.Join(names, ", "))
}

// Found reports whether any method keeps the bound.
func (a *Advice) Found() bool {
	return slices.ContainsFunc(a.Rows, func(r AdviceRow) bool { return r.Capacity >= 0 })
}

// Table makes a table of the rows. The column layer comes first by layer, and the
// columns layer and head by head.
func (a *Advice) Table() *table.Table {
	var keys []string
	switch a.By {
	case ByLayer:
		keys = []string{"layer"}
	case ByHead:
		keys = []string{"layer", "head"}
	}
	t := table.New(slices.Concat(keys, adviceColumns)...)
	for i := range a.Rows {
		row := &a.Rows[i]
		cells := []any{row.Layer, row.Head}[:len(keys)]
		t.Add(append(cells, row.Method, row.Capacity, row.Budget, row.Predicted, row.Low, row.High, a.evidence(row))...)
	}
	return t
}

// evidence says what a prediction is based on.
func (a *Advice) evidence(row *AdviceRow) string {
	if row.Capacity < 0 {
		return fmt.Sprintf("above the bound up to capacity %d", row.Largest)
	}
	c := a.Calibration
	return fmt.Sprintf("%s %.4g; Spearman %.2f [%.2f, %.2f] with KL on %s, %d points",
		c.Measure, row.Measured, c.Spearman, c.SpearmanLow, c.SpearmanHigh, c.Model, c.Points)
}
