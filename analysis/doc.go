// Package analysis answers questions from dumps, without the model. It joins dumps,
// which hold attention weights, with hitrate, which counts, and snapkv, which selects.
//
//	rows, warnings, err := analysis.HitRates(ctx, []string{"run.attn"}, analysis.Paper)
//	err = analysis.HitRateTable(rows).Write(os.Stdout, "tsv")
//
// There are four questions:
//
//   - [HitRates]: of the positions that the reply attends to, which share had the
//     observation window voted for (Li et al., "SnapKV", arXiv:2404.14469v1, section 3)?
//   - [Methods]: what do SnapKV and its rivals keep of a prompt's cache, and what does
//     the reply lose?
//   - [Advise]: how small can the cache be for a given bound on the loss?
//   - [Calibrate]: which offline measure predicts the measured loss best?
//
// Each returns rows, which are structs, and [Warning] values. Each row has a [Key]
// that says what it is about; "*" and -1 mean all prompts, data sets, layers, heads or
// spans. Shares are in [0, 1], losses in nats per reply token, capacities and budgets
// in positions per head. Undefined numbers are NaN. Means are over prompts, with 95 %
// bootstrap intervals; equal seeds give equal intervals. The formulas are in
// docs/MEASURES.md.
//
// A weight and theta are compared as float32, ties between positions go to the lower
// one, and no result depends on the number of threads.
//
// Where to look: hitrates.go goes through the dumps for HitRates, head_rate.go rates one
// head, and hitrate_row.go averages over prompts and lists the columns. For Methods,
// methods.go goes through the dumps, evaluate.go measures selections, measures.go sums
// them, and method_row.go averages and lists the columns.
package analysis
