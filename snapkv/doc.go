// Package snapkv selects the positions that a compressed KV cache keeps, as in Li et
// al., "SnapKV: LLM Knows What You are Looking for Before Generation",
// arXiv:2404.14469, and by the methods with which it is compared ([Methods]).
//
// # What is selected
//
// A prompt has Len positions. The last Config.Window of them are the observation
// window and are always kept. The positions before it are the prefix, of which each
// head keeps Config.Capacity - Config.Window positions, its budget. A prompt shorter
// than the capacity passes through: nothing is dropped.
//
// A [Method] gives a score to every prefix position of every head of a [Layer], which
// holds attention weights and, if they were recorded, rotated queries and keys, and
// values. snapkv's score is a vote: the weights that the queries of the window give
// the position, summed ([Vote]) and pooled over neighboring positions ([Pool]). The
// positions with the highest scores are kept ([TopK]); of equal scores, the lower
// position. With a [Group], the query heads that share a kv head select together. All
// positions are int32 indices from the start of the prompt, in ascending order.
//
// # Selecting
//
// On one layer, [Method.Select] does everything:
//
//	m, err := snapkv.FindMethod("snapkv")
//	keep, err := m.Select(layer, config, config.Budget())
//
// A [Sweep] selects by many methods and configs on all layers of a prompt. It computes
// scores once for all capacities, and also the budgets of methods that distribute them
// over the layers. [States] repeats the published code operation by operation, with
// rounding, on tensors of queries and keys.
//
// The package reads and writes no files. Layers come from a dump (analysis.ReadLayer)
// or from a cache (analysis/decode).
package snapkv
