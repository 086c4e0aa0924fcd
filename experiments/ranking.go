package experiments

import (
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
)

// offlineMeasure is a number that a capture gives of a method without decoding. More is
// better.
type offlineMeasure struct {
	name string
	of   func(r *analysis.MethodRow) float64
}

var offlineMeasures = []offlineMeasure{
	{"mass", func(r *analysis.MethodRow) float64 { return r.Mass }},
	{"hit_rate", func(r *analysis.MethodRow) float64 { return r.HitRate }},
	{"recall", func(r *analysis.MethodRow) float64 { return r.Recall }},
	{"output_error", func(r *analysis.MethodRow) float64 { return -r.OutputError }},
}

// decodedResult is a number that decoding from a compressed cache gives. More is better.
type decodedResult struct {
	name string
	of   func(r *decode.Result) float64
}

var decodedResults = []decodedResult{
	{"kl", func(r *decode.Result) float64 { return -float64(r.KL) }},
	{"agreement", func(r *decode.Result) float64 { return float64(r.Agreement) }},
	{"answer_logprob", func(r *decode.Result) float64 { return float64(r.AnswerLogProb) }},
}

// rankRow says how well a measure of the capture orders the methods at a capacity.
type rankRow struct {
	compared string // all methods, or without the baselines
	capacity int
	measure  string
	result   string
	methods  int
	prompts  int
	tau      estimate // Kendall's
	choice   string   // the method that the measure puts first
	best     string   // the method with the best result
	regret   float64  // by how much the result of choice is worse than that of best
}

func (r rankRow) cells() []any {
	head := []any{r.compared, r.capacity, r.measure, r.result, r.methods, r.prompts}
	return slices.Concat(head, r.tau.cells(), []any{r.choice, r.best, r.regret})
}

func rankTable(rows []rankRow) *table.Table {
	return tableOf([]string{
		"compared", "capacity", "measure", "result", "methods", "prompts", "tau", "tau_low", "tau_high",
		"choice", "best", "regret",
	}, rows)
}

// ranking compares the order of methods by measures of a capture, one row per method,
// capacity and prompt, with their order by really decoding the same prompts. Methods
// that one of the two lacks for a prompt, and bounds that cannot be decoded, are left out.
func ranking(kept []analysis.MethodRow, results []decode.Result, seed uint64) []rankRow {
	r := ranked{
		seed:    seed,
		kept:    map[rankKey]*analysis.MethodRow{},
		decoded: map[rankKey]*decode.Result{},
	}
	for i := range kept {
		row := &kept[i]
		r.kept[rankKey{cacheKey{row.Method, row.Capacity}, row.Prompt}] = row
	}
	var capacities []int
	for i := range results {
		row := &results[i]
		if row.Full() {
			continue
		}
		r.decoded[rankKey{cacheKey{row.Method, row.Capacity}, row.ID}] = row
		if !slices.Contains(r.prompts, row.ID) {
			r.prompts = append(r.prompts, row.ID)
		}
		if !slices.Contains(capacities, row.Capacity) {
			capacities = append(capacities, row.Capacity)
		}
	}
	var rows []rankRow
	for _, compared := range []string{"all", "without baselines"} {
		for _, capacity := range capacities {
			methods := r.methodsAt(capacity, compared == "all")
			for _, m := range offlineMeasures {
				for _, d := range decodedResults {
					if row, ok := r.row(methods, capacity, m, d); ok {
						row.compared = compared
						rows = append(rows, row)
					}
				}
			}
		}
	}
	return rows
}

// rankKey is a method at a capacity on a prompt.
type rankKey struct {
	cacheKey
	prompt string
}

// ranked holds both sides of a comparison.
type ranked struct {
	kept    map[rankKey]*analysis.MethodRow
	decoded map[rankKey]*decode.Result
	prompts []string
	seed    uint64
}

// methodsAt returns the methods that have both sides for every prompt at a capacity.
func (r *ranked) methodsAt(capacity int, baselines bool) []string {
	var names []string
	for _, m := range snapkv.Methods {
		if m.Role == snapkv.Bound || m.Role == snapkv.Baseline && !baselines {
			continue
		}
		complete := len(r.prompts) > 0
		for _, id := range r.prompts {
			at := rankKey{cacheKey{m.Name, capacity}, id}
			complete = complete && r.kept[at] != nil && r.decoded[at] != nil
		}
		if complete {
			names = append(names, m.Name)
		}
	}
	return names
}

// row compares one measure with one result. It is false if fewer than three methods can
// be compared, or if the order is undefined.
func (r *ranked) row(methods []string, capacity int, m offlineMeasure, d decodedResult) (rankRow, bool) {
	if len(methods) < 3 {
		return rankRow{}, false
	}
	measures := make([][]float64, len(methods))
	results := make([][]float64, len(methods))
	meanMeasure := make([]float64, len(methods))
	meanResult := make([]float64, len(methods))
	for i, name := range methods {
		for _, id := range r.prompts {
			at := rankKey{cacheKey{name, capacity}, id}
			measures[i] = append(measures[i], m.of(r.kept[at]))
			results[i] = append(results[i], d.of(r.decoded[at]))
		}
		meanMeasure[i] = analysis.Mean(measures[i])
		meanResult[i] = analysis.Mean(results[i])
	}
	tau, low, high := analysis.RankAgreement(measures, results, r.seed)
	if math.IsNaN(tau) {
		return rankRow{}, false
	}
	choice := largest(meanMeasure)
	best := largest(meanResult)
	return rankRow{
		capacity: capacity, measure: m.name, result: d.name, methods: len(methods), prompts: len(r.prompts),
		tau:    estimate{tau, low, high},
		choice: methods[choice], best: methods[best], regret: meanResult[best] - meanResult[choice],
	}, true
}

// largest returns the index of the largest value that is not NaN, the first one of equals.
func largest(x []float64) int {
	at := 0
	for i, v := range x {
		if v > x[at] || math.IsNaN(x[at]) {
			at = i
		}
	}
	return at
}
