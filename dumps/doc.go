// Package dumps reads and writes attention dumps. A dump is a file that records what a
// model attended to: for each prompt and each recorded layer and head, the attention
// weights of the last rows of the prompt and of every row of the reply, sums of the
// weights over earlier queries, and optionally values, logits and a picture of the
// whole map. FORMAT.md describes the file byte by byte.
//
// [Open] and [Reader.Weights] read a dump; [Create], [Writer.Begin] and
// [PromptWriter.Rows] write one; [Verify], [Repair] and [Merge] check, complete and
// join dumps:
//
//	r, err := dumps.Open("run.attn")
//	...
//	a, err := r.Weights(0, 3, dumps.Decode) // prompt 0, layer 3, rows of the reply
//	...
//	row := a.Head(5)[2*a.Keys:][:a.Keys] // head 5, third token of the reply
//
// # Axes
//
// Axes are always in the order layer, head, query, key. Layers and heads are named by
// their true ids in the model; a [Plan] lists those that were recorded. P is the
// number of tokens of a prompt, G of its reply, R the number of recorded rows at the
// end of the prompt. A row is a query: the rows of the prompt ([Prefill]) see the keys
// 0 to P-1, the rows of the reply ([Decode]) the keys 0 to P+G-1. A weight is a number
// in [0, 1] after the softmax; keys after the query have weight zero.
//
// # Forms and precision
//
// A prompt is stored as rows of weights or as factors: queries and keys from which the
// reader rebuilds the weights ([Store]). [Precision] says how far numbers are rounded;
// [Precision.Bound] states the largest error of a weight. Readers return float32 in
// either case.
//
// # Errors
//
// Errors name the file, the place in it, what was found and what was expected. They
// wrap [ErrCorrupt] if the file is damaged, [ErrAbsent] if the plan leaves out the
// requested data, and [ErrComplete] if there is nothing to resume. The complete
// prompts of a cut or damaged dump can still be read; see [Reader.Warnings].
//
// # Where to look
//
// writer.go begins and ends a file, and resume.go continues one. prompt_writer.go takes
// the values of a prompt, encoding.go rounds them as precision.go says, and queue.go
// writes them and keeps the first error. reader.go finds the prompts of a file, and
// layer_reader.go and attention.go return their weights.
package dumps

import "errors"

// ErrCorrupt is wrapped by every error that a damaged or cut dump causes.
var ErrCorrupt = errors.New("corrupt dump")

// ErrComplete says that there is nothing to resume: the dump is complete.
var ErrComplete = errors.New("dump is complete")

// ErrAbsent is wrapped by errors about data that the plan leaves out.
var ErrAbsent = errors.New("not recorded")
