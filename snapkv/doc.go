// Package snapkv selects the positions that a compressed KV cache keeps, as in Li et
// al., "SnapKV: LLM Knows What You are Looking for Before Generation",
// arXiv:2404.14469, and by the methods that it is compared with ([Methods]).
//
// # What is selected
//
// A prompt has Len positions. The last Config.Window of them are the observation
// window and are always kept. The positions before are the prefix; of these each head
// keeps Config.Capacity - Config.Window, its budget. A shorter prompt passes through:
// nothing is dropped.
//
// A [Method] gives a score to every prefix position of every head of a [Layer], which
// holds attention weights and, if they were recorded, rotated queries and keys, and
// values. snapkv's score is a vote: the weights that the queries of the window give
// the position, summed ([Vote]) and pooled over neighboring positions ([Pool]). The
// highest scores are kept ([TopK]); of equal scores the lower position. With a [Group]
// the query heads that share a kv head select together. All positions are int32
// indices from the start of the prompt, in ascending order.
//
// # Selecting
//
// On one layer, [Method.Select] does everything:
//
//	m, err := snapkv.FindMethod("snapkv")
//	keep, err := m.Select(layer, config, config.Budget())
//
// A [Sweep] selects by many methods and configs on all layers of a prompt. It computes
// scores once for all capacities, and the budgets of methods that share them out over
// the layers. [States] repeats the published code operation by operation, with
// rounding, on tensors of queries and keys.
//
// The package reads and writes no files. Layers come from a dump (analysis.ReadLayer)
// or from a cache (analysis/decode).
package snapkv
