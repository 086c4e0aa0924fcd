// Package capture runs a model over a prompt set and records, into a dump, what
// its heads attend to: the last rows of each prompt one by one, sums over all
// its rows, and every row of the reply. A full prompt x prompt map is never
// held: each tile of a few queries is reduced as soon as it is normalised.
//
//	summary, err := capture.Run(ctx, capture.Config{
//		Model: m, Prompts: list, Out: "run.attn", Header: header,
//	})
package capture
