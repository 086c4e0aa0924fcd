package decode

import (
	"fmt"

	"github.com/attnscope/attnscope/analysis"
	"github.com/attnscope/attnscope/analysis/table"
)

// SummaryColumns are the columns of Summary.
var SummaryColumns = []string{
	"method", "capacity", "window", "kernel", "pooling", "group", "prompts", "ppl", "kl", "kl_low", "kl_high", "agreement",
	"answer_logprob", "answer_rank", "score", "score_low", "score_high", "exact_match", "f1", "rouge_l", "contains", "prefill_tok_s", "decode_tok_s", "cache_bytes", "peak_bytes",
}

// Summary averages results over prompts, a row for each cache in the order they
// came. The capacity of the full cache is -1 where prompts differ in length.
func Summary(results []Result, seed uint64) *table.Table {
	t := table.New(SummaryColumns...)
	groups := map[string][]Result{}
	var order []string
	for _, r := range results {
		key := r.Method
		if !r.Full() {
			key = fmt.Sprint(r.Method, r.Capacity, r.Window, r.Kernel, r.Pooling, r.Group)
		}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], r)
	}
	for _, key := range order {
		list := groups[key]
		column := func(f func(r *Result) number) []float64 {
			x := make([]float64, len(list))
			for i := range list {
				x[i] = float64(f(&list[i]))
			}
			return x
		}
		mean := func(f func(r *Result) number) float64 { return analysis.Mean(column(f)) }
		kl, score := column(func(r *Result) number { return r.KL }), column(func(r *Result) number { return r.Score })
		klLow, klHigh := analysis.Interval(kl, seed)
		scoreLow, scoreHigh := analysis.Interval(score, seed)
		first := list[0]
		for _, r := range list {
			if r.Capacity != first.Capacity {
				first.Capacity = -1
			}
		}
		t.Add(first.Method, first.Capacity, first.Window, first.Kernel, first.Pooling.String(), first.Group.String(), len(list),
			mean(func(r *Result) number { return r.PPL }), analysis.Mean(kl), klLow, klHigh,
			mean(func(r *Result) number { return r.Agreement }), mean(func(r *Result) number { return r.AnswerLogProb }),
			mean(func(r *Result) number { return r.AnswerRank }), analysis.Mean(score), scoreLow, scoreHigh,
			mean(func(r *Result) number { return r.ExactMatch }), mean(func(r *Result) number { return r.F1 }),
			mean(func(r *Result) number { return r.RougeL }), mean(func(r *Result) number { return r.Contains }),
			mean(func(r *Result) number { return r.PrefillTokens }), mean(func(r *Result) number { return r.DecodeTokens }),
			mean(func(r *Result) number { return number(r.CacheBytes) }), mean(func(r *Result) number { return r.PeakBytes }))
	}
	return t
}
