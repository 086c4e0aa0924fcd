// Package decode runs a model with compressed caches. It prefills each prompt once,
// compresses a copy of the cache by every selection method, decodes from every cache,
// and compares the replies and the predictions with those of the full cache.
//
//	err := decode.Run(ctx, decode.Config{
//		Model: m, Prompts: list, MaxNewTokens: 64,
//		Methods: snapkv.Methods, Configs: []snapkv.Config{snapkv.Default}, Lenient: true,
//	}, func(r decode.Result) error { results = append(results, r); return nil })
//
// A [Result] is one prompt decoded from one cache, and [Summarize] averages them over
// prompts. Losses are in nats, memory in bytes, speeds in tokens per second.
package decode
