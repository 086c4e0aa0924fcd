package leaderboard

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/decode"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/internal/words"
	"github.com/attnscope/attnscope/snapkv"
)

// AllTasks is the task of a row that covers the prompts of all tasks.
const AllTasks = "*"

// AllLengths is the length of a row that covers the prompts of all lengths.
const AllLengths = -1

// Row is the mean over the prompts of one task and length, of one method at one budget.
// Intervals are 95 % bootstrap intervals over prompts.
type Row struct {
	Run                 int // number of the run in the board, from 1
	Model               string
	Task                string // or AllTasks
	Length              int    // or AllLengths
	Budget              decode.Budget
	Method              string
	Prompts             int
	Score               float64
	ScoreLow, ScoreHigh float64
	Loss                float64 // score of the full cache, or of RowOptions.Against, minus this, prompt by prompt
	LossLow, LossHigh   float64
	P                   float64 // of a sign-flip test of the losses; NaN for the other cache itself
	PHolm               float64 // corrected for all rows of the task and length, by Holm's method
	KL                  float64
	Agreement           float64
	CacheBytes          float64
	CacheRatio          float64
	DecodeTokens        float64 // per second
	ModelSHA256         string
	Program             string // name and version of the program that made the run
	Settings            Settings
}

// bits returns the bits of a number in the cache; 16: it is not quantized.
func (r *Row) bits() int {
	key := cacheKey{r.Method, r.Budget}
	switch {
	case key == fullCache:
		return 16
	case r.Method == snapkv.Full:
		return r.Budget.Bits
	}
	return cmp.Or(r.Settings.KVBits, 16)
}

// RowOptions says how rows are made.
type RowOptions struct {
	Seed    uint64 // of the intervals and tests
	Against string // the method with which others are compared at the same budget; empty: the full cache
}

// Columns lists the columns of [Table].
var Columns = []string{
	"run", "model", "task", "length", "budget", "method", "prompts", "score", "score_low", "score_high",
	"loss", "loss_low", "loss_high", "p", "p_holm", "kl", "agreement", "cache_bytes", "cache_ratio", "decode_tok_s",
	"model_sha256", "program",
}

// Keys lists the columns that identify a row.
var Keys = []string{"run", "model", "task", "length", "budget", "method"}

// optional are the columns that a table has if one of its rows has another value than the
// usual one.
var optional = []struct {
	name  string
	usual any
	of    func(r *Row) any
}{
	{decode.DecodeEveryColumn, 0, func(r *Row) any { return r.Settings.DecodeEvery }},
	{decode.KVBitsColumn, 16, func(r *Row) any { return r.bits() }},
	{decode.CompressAtColumn, string(decode.AtPrompt), func(r *Row) any {
		return string(cmp.Or(r.Settings.CompressAt, decode.AtPrompt))
	}},
}

// Table makes a table of rows, with the columns [Columns] and, if a run has such settings,
// [decode.DecodeEveryColumn], [decode.KVBitsColumn] and [decode.CompressAtColumn].
func Table(rows []Row) *table.Table {
	t := table.New(Columns...)
	for _, r := range rows {
		t.Add(
			r.Run, r.Model, r.Task, r.Length, r.Budget.String(), r.Method, r.Prompts, r.Score, r.ScoreLow, r.ScoreHigh,
			r.Loss, r.LossLow, r.LossHigh, r.P, r.PHolm, r.KL, r.Agreement, r.CacheBytes, r.CacheRatio, r.DecodeTokens,
			r.ModelSHA256, r.Program,
		)
	}
	for _, column := range optional {
		if !slices.ContainsFunc(rows, func(r Row) bool { return column.of(&r) != column.usual }) {
			continue
		}
		t.Columns = append(t.Columns, column.name)
		for i := range rows {
			t.Rows[i] = append(t.Rows[i], column.of(&rows[i]))
		}
	}
	return t
}

// place is a task and length, or all of them.
type place struct {
	task   string
	length int
}

// holds reports whether a place covers an answer.
func (p place) holds(a *Answer) bool {
	return (p.task == AllTasks || p.task == a.Task) && (p.length == AllLengths || p.length == a.Length)
}

// places returns the tasks and lengths of a run: all together first, if there are several.
func (r *BoardRun) places() []place {
	var tasks []string
	var lengths []int
	for _, a := range r.Answers {
		if !slices.Contains(tasks, a.Task) {
			tasks = append(tasks, a.Task)
		}
		if !slices.Contains(lengths, a.Length) {
			lengths = append(lengths, a.Length)
		}
	}
	slices.SortStableFunc(tasks, func(a, b string) int { return cmp.Compare(r.order(a), r.order(b)) })
	slices.Sort(lengths)
	if len(lengths) > 1 {
		lengths = append([]int{AllLengths}, lengths...)
	}
	if len(tasks) > 1 {
		tasks = append([]string{AllTasks}, tasks...)
	}
	var out []place
	for _, task := range tasks {
		for _, length := range lengths {
			out = append(out, place{task, length})
		}
	}
	return out
}

// order returns the place of a task in the plan.
func (r *BoardRun) order(task string) int {
	return slices.IndexFunc(r.Plan, func(p Planned) bool { return p.Task == task })
}

// Rows returns the rows of all runs: by task and length, all of them together first; the
// full cache first, then budgets in their order, and at each the best method first. The
// score of several tasks is the mean over their prompts.
func (b *Board) Rows(o RowOptions) []Row {
	var out []Row
	for i, r := range b.Runs {
		for _, p := range r.places() {
			rows := r.rows(p, o)
			holm(rows)
			slices.SortStableFunc(rows, compareRows)
			for _, row := range rows {
				row.Run = i + 1
				row.ModelSHA256 = r.ModelSHA256
				row.Program = r.Program
				row.Settings = r.Settings
				out = append(out, row)
			}
		}
	}
	return out
}

// compareRows orders the rows of a task and length.
func compareRows(a, b Row) int {
	return cmp.Or(cacheKey{a.Method, a.Budget}.compare(cacheKey{b.Method, b.Budget}), cmp.Compare(b.Score, a.Score))
}

// cacheKey is a method at a budget. The method [snapkv.Full] at a budget in bits is the full
// cache, quantized to these.
type cacheKey struct {
	method string
	budget decode.Budget
}

// fullCache is the key of the full cache without quantization.
var fullCache = cacheKey{method: snapkv.Full}

func (r *Result) key() cacheKey { return cacheKey{r.Method, r.Budget} }

// compare puts the full cache first, and orders others by their budgets.
func (k cacheKey) compare(o cacheKey) int {
	switch {
	case k == fullCache && o != fullCache:
		return -1
	case o == fullCache && k != fullCache:
		return 1
	}
	return k.budget.Compare(o.budget)
}

// reference returns the cache with which one at a budget is compared.
func (o RowOptions) reference(budget decode.Budget) cacheKey {
	if o.Against == "" || o.Against == snapkv.Full {
		return fullCache
	}
	return cacheKey{o.Against, budget}
}

// rows returns a row for each method and budget.
func (r *BoardRun) rows(p place, o RowOptions) []Row {
	values := map[cacheKey][]*Result{}
	losses := map[cacheKey][]float64{}
	var order []cacheKey
	for _, a := range r.Answers {
		if !p.holds(a) {
			continue
		}
		for i := range a.Results {
			result := &a.Results[i]
			key := result.key()
			if values[key] == nil {
				order = append(order, key)
			}
			values[key] = append(values[key], result)
			loss := math.NaN()
			if other := a.find(o.reference(result.Budget)); other != nil {
				loss = other.Score - result.Score
			}
			losses[key] = append(losses[key], loss)
		}
	}
	var out []Row
	for _, key := range order {
		row := newRow(values[key], losses[key], o.Seed)
		row.Model = r.Model
		row.Task = p.task
		row.Length = p.length
		row.Method = key.method
		row.Budget = key.budget
		if key == o.reference(key.budget) {
			row.P = math.NaN()
		}
		out = append(out, row)
	}
	return out
}

// find returns the result of a cache, or nil if there is none.
func (a *Answer) find(key cacheKey) *Result {
	for i := range a.Results {
		if r := &a.Results[i]; r.key() == key {
			return r
		}
	}
	return nil
}

// newRow averages results over prompts.
func newRow(list []*Result, losses []float64, seed uint64) Row {
	column := func(of func(r *Result) float64) []float64 {
		x := make([]float64, len(list))
		for i, r := range list {
			x[i] = of(r)
		}
		return x
	}
	mean := func(of func(r *Result) decode.Float) float64 {
		return analysis.Mean(column(func(r *Result) float64 { return float64(of(r)) }))
	}
	scores := column(func(r *Result) float64 { return r.Score })
	row := Row{
		Prompts: len(list), Score: analysis.Mean(scores), Loss: analysis.Mean(losses),
		P:          analysis.SignFlip(losses, seed),
		KL:         mean(func(r *Result) decode.Float { return r.KL }),
		Agreement:  mean(func(r *Result) decode.Float { return r.Agreement }),
		CacheBytes: mean(func(r *Result) decode.Float { return decode.Float(r.CacheBytes) }),
		CacheRatio: decode.PooledRatio(
			column(func(r *Result) float64 { return float64(r.CacheBytes) }),
			column(func(r *Result) float64 { return float64(r.CacheRatio) })),
		DecodeTokens: mean(func(r *Result) decode.Float { return r.DecodeTokens }),
	}
	row.ScoreLow, row.ScoreHigh = analysis.Interval(scores, seed)
	row.LossLow, row.LossHigh = analysis.Interval(losses, seed)
	return row
}

// holm sets PHolm: the smallest of n p-values times n, the next one times n - 1, and so on,
// but none below the one before and none above 1 (Holm 1979).
func holm(rows []Row) {
	var tested []int
	for i := range rows {
		rows[i].PHolm = math.NaN()
		if !math.IsNaN(rows[i].P) {
			tested = append(tested, i)
		}
	}
	slices.SortStableFunc(tested, func(a, b int) int { return cmp.Compare(rows[a].P, rows[b].P) })
	last := 0.0
	for n, i := range tested {
		last = max(last, min(1, rows[i].P*float64(len(tested)-n)))
		rows[i].PHolm = last
	}
}

// LeastPNote returns a sentence that says how small PHolm can be in the run, task and length
// where it can be least small, or no sentence if it can be 0.05 or smaller in all of them.
func LeastPNote(rows []Row) []string {
	type place struct {
		run    int
		task   string
		length int
	}
	tested := map[place]int{}
	for _, r := range rows {
		if !math.IsNaN(r.P) {
			tested[place{r.Run, r.Task, r.Length}]++
		}
	}
	worst := 0.05
	var note []string
	for _, r := range rows {
		n := tested[place{r.Run, r.Task, r.Length}]
		if least := min(1, float64(n)*analysis.LeastP(r.Prompts)); n > 0 && least > worst {
			worst = least
			note = []string{fmt.Sprintf("With %s and %s of a task and length, the corrected p cannot be below %.3g.",
				words.Count(r.Prompts, "prompt"), words.Count(n, "tested row"), least)}
		}
	}
	return note
}

// PairRow compares two runs prompt by prompt, at one method and budget.
type PairRow struct {
	Task           string
	Length         int
	Budget         decode.Budget
	Method         string
	Prompts        int     // that both runs have answered
	First, Second  float64 // mean scores on these
	Difference     float64 // Second - First
	DifferenceLow  float64
	DifferenceHigh float64
	P              float64
}

// PairColumns lists the columns of [PairTable].
var PairColumns = []string{
	"task", "length", "budget", "method", "prompts", "first", "second", "difference", "difference_low",
	"difference_high", "p",
}

// PairKeys lists the columns that identify a row.
var PairKeys = []string{"task", "length", "budget", "method"}

// PairTable makes a table of rows, with the columns [PairColumns].
func PairTable(rows []PairRow) *table.Table {
	t := table.New(PairColumns...)
	for _, r := range rows {
		t.Add(
			r.Task, r.Length, r.Budget.String(), r.Method, r.Prompts, r.First, r.Second, r.Difference, r.DifferenceLow,
			r.DifferenceHigh, r.P,
		)
	}
	return t
}

// Compare compares two runs on the prompts that both have: of the same task, length and
// number, with the same text and answers.
func Compare(first, second *BoardRun, seed uint64) []PairRow {
	var out []PairRow
	for _, p := range first.places() {
		var order []cacheKey
		scores := map[cacheKey][2][]float64{}
		for _, a := range first.Answers {
			b := second.byKey[a.key()]
			if !p.holds(a) || b == nil || a.PromptSHA256 != b.PromptSHA256 {
				continue
			}
			for _, x := range a.Results {
				key := x.key()
				y := b.find(key)
				if y == nil {
					continue
				}
				both, ok := scores[key]
				if !ok {
					order = append(order, key)
				}
				scores[key] = [2][]float64{append(both[0], x.Score), append(both[1], y.Score)}
			}
		}
		slices.SortStableFunc(order, cacheKey.compare)
		for _, key := range order {
			out = append(out, pairRow(p, key, scores[key], seed))
		}
	}
	return out
}

// pairRow compares the scores of two runs on the same prompts.
func pairRow(p place, key cacheKey, scores [2][]float64, seed uint64) PairRow {
	diff := make([]float64, len(scores[0]))
	for i := range diff {
		diff[i] = scores[1][i] - scores[0][i]
	}
	row := PairRow{
		Task: p.task, Length: p.length, Budget: key.budget, Method: key.method, Prompts: len(diff),
		First: analysis.Mean(scores[0]), Second: analysis.Mean(scores[1]), Difference: analysis.Mean(diff),
		P: analysis.SignFlip(diff, seed),
	}
	row.DifferenceLow, row.DifferenceHigh = analysis.Interval(diff, seed)
	return row
}
