package decode

import (
	"cmp"
	"slices"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
	"github.com/attnscope/attnscope/snapkv"
)

// SummaryRow is the mean of the results of one cache over prompts. Numbers are means
// over the prompts for which they are defined, or NaN if there are none.
type SummaryRow struct {
	Method              string
	Capacity            int // -1 if it depends on the prompt
	Window              int
	Kernel              int
	Pooling             snapkv.Pooling
	Group               snapkv.Group
	DecodeEvery         int // 0 for the full cache
	KVBits              int // of a quantized cache, else 0
	Budget              Budget
	CompressAt          Place
	Prompts             int
	PPL                 float64
	PPLIncrease         float64 // over that of the full cache, relative: 0.05 is 5 %
	PPLIncreaseLow      float64 // 95 % bootstrap interval over prompts
	PPLIncreaseHigh     float64 //
	KL, KLLow, KLHigh   float64 // with the 95 % bootstrap interval over prompts
	Agreement           float64
	AnswerLogProb       float64
	AnswerRank          float64
	Score               float64
	ScoreLow, ScoreHigh float64 // 95 % bootstrap interval over prompts
	ExactMatch          float64
	F1                  float64
	RougeL              float64
	Contains            float64
	PrefillTokens       float64 // per second
	DecodeTokens        float64 // per second
	CacheBytes          float64
	CacheRatio          float64 // over the full cache
	PeakBytes           float64
}

// SummaryKeys lists the columns of [SummaryTable] that identify a row.
var SummaryKeys = []string{"method", "capacity", "window", "kernel", "pooling", "group"}

// SummaryColumns lists the columns of [SummaryTable].
var SummaryColumns = []string{
	"method", "capacity", "window", "kernel", "pooling", "group", "prompts", "ppl",
	"ppl_increase", "ppl_increase_low", "ppl_increase_high", "kl", "kl_low", "kl_high", "agreement",
	"answer_logprob", "answer_rank", "score", "score_low", "score_high", "exact_match", "f1", "rouge_l", "contains",
	"prefill_tok_s", "decode_tok_s", "cache_bytes", "cache_ratio", "peak_bytes",
}

// Summarize averages results over prompts: a row for each cache, in the order in which
// the caches first occur. seed is the seed of the bootstrap.
func Summarize(results []Result, seed uint64) []SummaryRow {
	type cacheKey struct {
		method                   string
		capacity, window, kernel int
		pooling                  snapkv.Pooling
		group                    snapkv.Group
		every, bits              int
		place                    Place
		budget                   Budget
	}
	full := map[string]Float{} // perplexity of the full cache, of each prompt
	for i := range results {
		if r := &results[i]; r.Full() {
			full[r.ID] = r.PPL
		}
	}
	groups := map[cacheKey][]Result{}
	var order []cacheKey
	for _, r := range results {
		key := cacheKey{
			r.Method, r.Capacity, r.Window, r.Kernel, r.Pooling, r.Group, r.DecodeEvery, r.KVBits, r.CompressAt, r.Budget,
		}
		if r.Budget != (Budget{}) {
			key.capacity = 0 // it depends on the prompt
		}
		if r.Method == snapkv.Full {
			key = cacheKey{method: r.Method, bits: r.KVBits}
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	rows := make([]SummaryRow, len(order))
	for i, key := range order {
		rows[i] = summarize(groups[key], full, seed)
	}
	return rows
}

// summarize averages the results of one cache, given the perplexity of the full cache for
// each prompt.
func summarize(list []Result, full map[string]Float, seed uint64) SummaryRow {
	column := func(of func(r *Result) Float) []float64 {
		x := make([]float64, len(list))
		for i := range list {
			x[i] = float64(of(&list[i]))
		}
		return x
	}
	mean := func(of func(r *Result) Float) float64 { return analysis.Mean(column(of)) }
	first := &list[0]
	kl := column(func(r *Result) Float { return r.KL })
	score := column(func(r *Result) Float { return r.Score })
	increase := column(func(r *Result) Float {
		if ppl, ok := full[r.ID]; ok {
			return r.PPL/ppl - 1
		}
		return undefined()
	})
	row := SummaryRow{
		Method: first.Method, Capacity: first.Capacity, Window: first.Window, Kernel: first.Kernel,
		Pooling: first.Pooling, Group: first.Group, DecodeEvery: first.DecodeEvery, KVBits: first.KVBits,
		Budget: first.Budget, CompressAt: first.CompressAt, Prompts: len(list),
		PPL:           mean(func(r *Result) Float { return r.PPL }),
		PPLIncrease:   analysis.Mean(increase),
		KL:            analysis.Mean(kl),
		Agreement:     mean(func(r *Result) Float { return r.Agreement }),
		AnswerLogProb: mean(func(r *Result) Float { return r.AnswerLogProb }),
		AnswerRank:    mean(func(r *Result) Float { return r.AnswerRank }),
		Score:         analysis.Mean(score),
		ExactMatch:    mean(func(r *Result) Float { return r.ExactMatch }),
		F1:            mean(func(r *Result) Float { return r.F1 }),
		RougeL:        mean(func(r *Result) Float { return r.RougeL }),
		Contains:      mean(func(r *Result) Float { return r.Contains }),
		PrefillTokens: mean(func(r *Result) Float { return r.PrefillTokens }),
		DecodeTokens:  mean(func(r *Result) Float { return r.DecodeTokens }),
		CacheBytes:    mean(func(r *Result) Float { return Float(r.CacheBytes) }),
		CacheRatio: PooledRatio(
			column(func(r *Result) Float { return Float(r.CacheBytes) }),
			column(func(r *Result) Float { return r.CacheRatio })),
		PeakBytes: mean(func(r *Result) Float { return r.PeakBytes }),
	}
	row.PPLIncreaseLow, row.PPLIncreaseHigh = analysis.Interval(increase, seed)
	row.KLLow, row.KLHigh = analysis.Interval(kl, seed)
	row.ScoreLow, row.ScoreHigh = analysis.Interval(score, seed)
	for i := range list {
		if list[i].Capacity != first.Capacity {
			row.Capacity = -1
		}
	}
	return row
}

// PooledRatio is the memory of several caches over that of their full caches: the ratio of
// the means, not the mean of the ratios. It takes the bytes of each cache and its own
// ratio to the full cache.
func PooledRatio(bytes, ratios []float64) float64 {
	sum := 0.0
	full := 0.0
	for i := range bytes {
		sum += bytes[i]
		full += bytes[i] / ratios[i]
	}
	return sum / full
}

// These are columns that a [SummaryTable] has if the capacity of a cache follows from a
// budget, or if a cache selects again while it decodes, is quantized, or was compressed at
// the end of the context.
const (
	BudgetColumn      = "budget"
	DecodeEveryColumn = "decode_every"
	KVBitsColumn      = "kv_bits"
	CompressAtColumn  = "compress_at"
)

// SummaryTable makes a table of the rows, with the columns [SummaryColumns] and, if they
// are needed, [BudgetColumn], [DecodeEveryColumn], [KVBitsColumn] and [CompressAtColumn].
func SummaryTable(rows []SummaryRow) *table.Table {
	t := table.New(SummaryColumns...)
	for _, r := range rows {
		t.Add(
			r.Method, r.Capacity, r.Window, r.Kernel, r.Pooling.String(), r.Group.String(), r.Prompts, r.PPL, r.PPLIncrease,
			r.PPLIncreaseLow, r.PPLIncreaseHigh, r.KL, r.KLLow, r.KLHigh, r.Agreement, r.AnswerLogProb,
			r.AnswerRank, r.Score, r.ScoreLow, r.ScoreHigh, r.ExactMatch, r.F1,
			r.RougeL, r.Contains, r.PrefillTokens, r.DecodeTokens, r.CacheBytes, r.CacheRatio, r.PeakBytes,
		)
	}
	addColumn(t, rows, BudgetColumn, Budget{}, func(r *SummaryRow) Budget { return r.Budget })
	addColumn(t, rows, DecodeEveryColumn, 0, func(r *SummaryRow) int { return r.DecodeEvery })
	addColumn(t, rows, KVBitsColumn, 16, func(r *SummaryRow) int { return r.KVBits })
	addColumn(t, rows, CompressAtColumn, AtPrompt, func(r *SummaryRow) Place { return r.CompressAt })
	return t
}

// addColumn adds a column if one of the rows has a value in it; the others have missing.
func addColumn[T int | Place | Budget](t *table.Table, rows []SummaryRow, name string, missing T, of func(r *SummaryRow) T) {
	var none T
	if !slices.ContainsFunc(rows, func(r SummaryRow) bool { return of(&r) != none }) {
		return
	}
	t.Columns = append(t.Columns, name)
	for i := range rows {
		t.Rows[i] = append(t.Rows[i], cell(cmp.Or(of(&rows[i]), missing)))
	}
}

// cell returns a value as tables know it: a place and a budget are text.
func cell(v any) any {
	switch v := v.(type) {
	case Place:
		return string(v)
	case Budget:
		return v.String()
	}
	return v
}
